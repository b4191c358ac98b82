# pip install "hello-tornado[postgresql]"
import asyncio
from tornado.netutil import bind_sockets
from tornado.httpserver import HTTPServer
from tornado.process import fork_processes
from tornado.web import Application
from hello_tornado.sessions import SessionHandler, SessionManager

SECRET = "a long random text of yours, from the environment"

class Home(SessionHandler):
    def get(self):
        self.write(f"Visit {self.session.increment('visits')}")

async def main():
    async with SessionManager("postgresql://postgres@127.0.0.1/H") as manager:  # makes its one table
        app = Application([("/", Home)], cookie_secret=SECRET, session_manager=manager)
        HTTPServer(app).add_sockets(sockets)
        await asyncio.Event().wait()

sockets = bind_sockets(8888)
fork_processes(2)
asyncio.run(main())

import asyncio
from tornado.web import Application
from hello_tornado.sessions import SessionHandler, SessionManager

SECRET = "a long random text of yours, from the environment"

class Home(SessionHandler):
    def get(self):
        self.write(f"Visit {self.session.increment('visits')}")

async def main():
    async with SessionManager("sqlite:///sessions.db") as manager:
        Application([("/", Home)], cookie_secret=SECRET, session_manager=manager).listen(8888)
        await asyncio.Event().wait()

asyncio.run(main())

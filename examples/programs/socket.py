import asyncio
from tornado.web import Application
from hello_tornado.sessions import SessionHandler, SessionManager, SessionWebSocketHandler

SECRET = "a long random text of yours, from the environment"

class Login(SessionHandler):
    def post(self):
        self.session.login(self.get_body_argument("user"))

class Socket(SessionWebSocketHandler):
    async def on_message(self, message):
        async with self.session_transaction() as session:
            self.write_message(f"{session.user_id} {session.increment('messages')}")

async def main():
    async with SessionManager("sqlite:///sessions.db") as manager:
        Application([("/login", Login), ("/ws", Socket)], cookie_secret=SECRET, session_manager=manager).listen(8888)
        await asyncio.Event().wait()

asyncio.run(main())

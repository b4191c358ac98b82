import asyncio
from datetime import timedelta
from tornado.web import Application
from hello_tornado.sessions import Lifetimes, SessionHandler, SessionManager

SECRET = "a long random text of yours, from the environment"

class Login(SessionHandler):
    def post(self):
        self.session.login(self.get_body_argument("user"),
                           remember=bool(self.get_body_argument("remember", None)))
        self.write(str(self.session.expires_in))

async def main():
    async with SessionManager("sqlite:///sessions.db",
                              lifetimes=Lifetimes(remembered=timedelta(days=30))) as manager:
        Application([("/login", Login)], cookie_secret=SECRET, session_manager=manager).listen(8888)
        await asyncio.Event().wait()

asyncio.run(main())

import asyncio
from tornado.web import Application
from hello_tornado.sessions import SessionHandler, SessionManager

SECRET = "a long random text of yours, from the environment"

class Login(SessionHandler):
    def post(self):
        self.session.login(self.get_body_argument("user"))

class SignOutEverywhere(SessionHandler):
    def post(self):
        self.session.logout(everywhere=True)
        self.redirect("/login")

async def main():
    async with SessionManager("sqlite:///sessions.db") as manager:
        Application([("/login", Login), ("/everywhere", SignOutEverywhere)], cookie_secret=SECRET, session_manager=manager).listen(8888)
        await asyncio.Event().wait()

asyncio.run(main())

import asyncio
from tornado.web import Application, authenticated
from hello_tornado.sessions import SessionHandler, SessionManager

SECRET = "a long random text of yours, from the environment"

class Login(SessionHandler):
    def get(self):
        self.write('<form method=post><input name=user><button>Log in</button></form>')

    def post(self):
        self.session.login(self.get_body_argument("user"))
        self.redirect("/")

class Logout(SessionHandler):
    def post(self):
        self.session.logout()
        self.redirect("/login")

class Home(SessionHandler):
    @authenticated
    def get(self):
        self.write(f"Hello {self.current_user}")

async def main():
    async with SessionManager("sqlite:///sessions.db") as manager:
        Application([("/", Home), ("/login", Login), ("/logout", Logout)], cookie_secret=SECRET, session_manager=manager, login_url="/login").listen(8888)
        await asyncio.Event().wait()

asyncio.run(main())

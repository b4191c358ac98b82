import asyncio
from tornado.web import Application
from hello_tornado.sessions import SessionHandler, SessionManager

SECRET = "a long random text of yours, from the environment"

class Home(SessionHandler):
    def get(self):
        for flash in self.session.flashes():
            self.write(f"<p class={flash.category}>{flash.message}</p>")

    def post(self):
        self.session.flash("Saved", "success")
        self.redirect("/")

async def main():
    async with SessionManager("sqlite:///sessions.db") as manager:
        Application([("/", Home)], cookie_secret=SECRET, session_manager=manager).listen(8888)
        await asyncio.Event().wait()

asyncio.run(main())

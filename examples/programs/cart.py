import asyncio
from tornado.web import Application
from hello_tornado.sessions import SessionHandler, SessionManager

SECRET = "a long random text of yours, from the environment"

class Cart(SessionHandler):
    def get(self):
        self.write(self.session.get("cart", {}))

    def post(self):
        self.session.increment("cart", self.get_body_argument("item"))
        self.redirect("/")

async def main():
    async with SessionManager("sqlite:///sessions.db") as manager:
        Application([("/", Cart)], cookie_secret=SECRET, session_manager=manager).listen(8888)
        await asyncio.Event().wait()

asyncio.run(main())

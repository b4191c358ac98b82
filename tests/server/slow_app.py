"""An application whose requests hold their session for as long as a test wants.

    python slow_app.py URL

prints its port, then the name of each request that holds a session, and lets it go when a line
comes in.
"""

import asyncio
import sys
from datetime import timedelta

from tornado.web import Application, RequestHandler

from hello_tornado.sessions import SessionManager, SessionMixin, open_store


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Login(SessionMixin, RequestHandler):
    def post(self) -> None:
        self.session.login("ada")


class Logout(SessionMixin, RequestHandler):
    def post(self) -> None:
        self.session.destroy()


class Slow(SessionMixin, RequestHandler):
    """Reads the session, waits, and does to it what the path says."""

    async def post(self, deed: str) -> None:
        assert self.session.user_id == "ada"
        say(deed)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        match deed:
            case "write":
                self.session["cart"] = ["tea"]
            case "increment":
                self.session.increment("n")
            case "renew":
                self.session.renew()
            case "login":
                self.session.login("ada")
            case "touch":
                self.session.touch()
            case "save":
                self.session["cart"] = ["tea"]
                await self.save_session()
        self.write({"user": self.session.user_id})


class Exclusive(SessionMixin, RequestHandler):
    """Has its session to itself, and does in two steps what must not be done twice."""

    session_exclusive = True
    session_lease = timedelta(seconds=2)

    def initialize(self) -> None:
        self.session_wait = timedelta(seconds=float(self.get_query_argument("wait", "30")))

    async def post(self, deed: str) -> None:
        n = self.session.get("n", 0)
        if deed == "hold":
            say("holds it")
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        else:
            await asyncio.sleep(0)
        self.session["n"] = n + 1
        self.write({"n": n + 1})


class Who(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.write({"user": self.session.user_id, "data": dict(self.session)})


async def main(url: str) -> None:
    app = Application(
        [
            ("/login", Login),
            ("/logout", Logout),
            ("/slow/(.*)", Slow),
            ("/exclusive/(.*)", Exclusive),
            ("/who", Who),
        ],
        cookie_secret="of the tests, and of no one else",
        session_manager=SessionManager(open_store(url)),
    )
    server = app.listen(0, "127.0.0.1")
    (listening,) = server._sockets.values()
    say(str(listening.getsockname()[1]))
    await asyncio.Event().wait()


asyncio.run(main(sys.argv[1]))

"""The application under test: `python -m bench.faults.app STORE PORT [PORT] [options]`.

It does to a session what visitors ask for, and answers with the session as JSON: 200 for a session
that is known, 401 for one that is not.
"""

import argparse
import asyncio
import time

from tornado.httpserver import HTTPServer
from tornado.process import fork_processes
from tornado.web import Application, RequestHandler

from bench.faults.broken import BROKEN
from hello_tornado.sessions import SessionManager, SessionMixin, open_store

PURGE_SECONDS = 1


class Page(SessionMixin, RequestHandler):
    """A page that shows the session after the request has done its part."""

    def write_session(self) -> None:
        session = self.session
        if session.user_id is None:
            self.set_status(401)
        self.write(
            {
                "user": session.user_id,
                "owner": session.get("owner"),
                "count": session.get("count", 0),
                "marks": session.get("marks", []),
                "lanes": session.get("lanes", {}),
                "left": session.get("left"),
                "right": session.get("right"),
            }
        )

    def is_signed_in(self) -> bool:
        """Whether there is a session to write to; an unknown cookie never begins one."""
        return self.session.user_id is not None


class Begin(Page):
    """An anonymous session."""

    def post(self) -> None:
        self.session["owner"] = self.get_argument("owner")
        self.session["lanes"] = {}
        self.session["padding"] = "x" * self.settings["padding"]
        self.write({"owner": self.session["owner"]})


class Login(Page):
    def post(self) -> None:
        owner = self.session.get("owner")
        if owner is not None:  # else the anonymous session is not known any more
            self.session.login(owner)
        self.write_session()


class Increment(Page):
    def post(self) -> None:
        if self.is_signed_in():
            self.session.increment("count")
        self.write_session()


class Append(Page):
    def post(self) -> None:
        if self.is_signed_in():
            self.session.append("marks", self.get_argument("mark"))
        self.write_session()


class Set(Page):
    """Two keys that belong together, and a key of the visitor's lane in a nested dict."""

    def post(self) -> None:
        if self.is_signed_in():
            lane, value = self.get_argument("lane"), int(self.get_argument("value"))
            self.session["left"] = self.session["right"] = f"{lane}:{value}"
            self.session["lanes"][lane] = value
        self.write_session()


class Read(Page):
    def get(self) -> None:
        self.write_session()


class Logout(Page):
    def post(self) -> None:
        self.session.destroy()
        self.write({})


def application(manager: SessionManager, padding: int) -> Application:
    pages = (Begin, Login, Increment, Append, Set, Read, Logout)
    return Application(
        [(f"/{page.__name__.lower()}", page) for page in pages],
        cookie_secret="of the fault campaign, and of nothing else",
        session_manager=manager,
        padding=padding,
    )


async def serve(manager: SessionManager, padding: int, port: int) -> None:
    HTTPServer(application(manager, padding)).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


async def use_once(manager: SessionManager) -> None:
    """Make the manager open its connections."""
    session = await manager.open(None)
    session["owner"] = "the parent process"
    await manager.commit(session)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faults.app")
    parser.add_argument("store", metavar="STORE", help="a URL")
    parser.add_argument("ports", metavar="PORT", type=int, nargs="+", help="each forks a process")
    parser.add_argument("--ahead", type=float, default=0, help="seconds that the clock is ahead")
    parser.add_argument("--padding", type=int, default=0, help="bytes more in each session")
    parser.add_argument("--broken", choices=[*BROKEN], help="how the store is broken")
    given = parser.parse_args()
    store = open_store(given.store)
    if given.broken:
        store = BROKEN[given.broken](store)
    ahead = int(given.ahead * 1_000_000)
    manager = SessionManager(
        store, clock=lambda: time.time_ns() // 1_000 + ahead, purge_every=PURGE_SECONDS
    )
    place = 0
    if len(given.ports) > 1:
        asyncio.run(use_once(manager))
        place = fork_processes(len(given.ports), max_restarts=0)
    asyncio.run(serve(manager, given.padding, given.ports[place]))


if __name__ == "__main__":
    main()

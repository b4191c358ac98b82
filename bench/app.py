"""The application that is measured: `python bench/app.py STORE` says its port and serves.

STORE is a store's URL, or "bare": Tornado alone, with the same routes and the same answers.
"""

import asyncio
import json
import sys
from typing import Any, ClassVar

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from hello_tornado.sessions import SessionManager, SessionMixin, open_store

GREETING = "Hello Ada"


class Bare(RequestHandler):
    """Every route of Tornado alone."""

    def get(self) -> None:
        self.write(GREETING)


class Read(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.write(f"Hello {self.session.get('username', 'you')}")


class Write(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.session.increment("visits")
        self.write(GREETING)


class Login(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.session.login("ada")
        self.session["username"] = "Ada"
        self.write(GREETING)


class Counts(RequestHandler):
    """How often each verb of the store was called so far."""

    calls: ClassVar[dict[str, int]] = {}

    def get(self) -> None:
        self.write(json.dumps(self.calls))


def counting(store: Any) -> Any:
    """*store*, whose loads, saves and touches are counted."""

    def counted(verb: str) -> Any:
        function = getattr(store, verb)
        Counts.calls[verb] = 0

        def call(*args: Any) -> Any:
            Counts.calls[verb] += 1
            return function(*args)

        return call

    for verb in ("load", "save", "touch"):
        setattr(store, verb, counted(verb))
    return store


def application(kind: str) -> Application:
    if kind == "bare":
        return Application([("/counts", Counts), ("/.*", Bare)])
    return Application(
        [("/read", Read), ("/write", Write), ("/login", Login), ("/counts", Counts)],
        cookie_secret="of the benchmark",
        session_manager=SessionManager(counting(open_store(kind)), hooks=()),
    )


async def main(kind: str) -> None:
    server = HTTPServer(application(kind))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    print(sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

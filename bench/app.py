"""The application that is measured: `python bench/app.py STORE PORT`, STORE being a store's URL.

It runs as our server does: on uvloop where that is installed, and with its garbage collector.
"""

import asyncio
import json
import sys
from typing import Any, ClassVar

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from hello_tornado import runtime
from hello_tornado.sessions import SessionManager, SessionMixin, open_store
from hello_tornado.sessions.records.ids import SessionId, key_of
from hello_tornado.sessions.records.record import Swap

GREETING = "Hello Ada"


class Bare(RequestHandler):
    """Tornado alone."""

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


class Set(SessionMixin, RequestHandler):
    """A key that is set a while after the session was read."""

    async def get(self) -> None:
        await asyncio.sleep(int(self.get_argument("after")) / 1_000)
        self.session[self.get_argument("key")] = 1
        self.write(GREETING)


class Logout(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.session.destroy()
        self.write("Goodbye")


class Show(SessionMixin, RequestHandler):
    """The session's values."""

    def get(self) -> None:
        self.write(dict(self.session))


class Plain(RequestHandler):
    """By hand, one statement for each request: a signed cookie, a load, and maybe a save."""

    async def get(self, verb: str) -> None:
        store = self.settings["session_manager"].store
        key = key_of(SessionId((self.get_signed_cookie("session") or b"").decode()))
        record = (await store.load([key]))[key]
        document = json.loads(record.data)
        if verb == "write":
            document["data"]["visits"] = document["data"].get("visits", 0) + 1
            data = json.dumps(document).encode()
            await store.save([Swap(record, record._replace(version=record.version + 1, data=data))])
        self.write(f"Hello {document['data']['username']}")


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


def application(url: str) -> Application:
    return Application(
        [
            ("/bare", Bare),
            ("/read", Read),
            ("/write", Write),
            ("/login", Login),
            ("/set", Set),
            ("/logout", Logout),
            ("/session", Show),
            ("/plain-(read|write)", Plain),
            ("/counts", Counts),
        ],
        cookie_secret="of the benchmark",
        session_manager=SessionManager(counting(open_store(url)), log=False),
    )


async def main(url: str, port: str) -> None:
    HTTPServer(application(url)).listen(int(port), "127.0.0.1")
    runtime.spare_requests()
    await asyncio.Event().wait()


if __name__ == "__main__":
    runtime.fastest_loop().run(main(*sys.argv[1:]))

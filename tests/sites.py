"""An application in this process on a store of choice, and visitors who keep their cookies."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from typing import Any, Self

from fakes import SECRET
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from hello_tornado.sessions import SessionManager, SessionMixin, Store
from hello_tornado.sessions.events import SessionEvent


class Show(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.write({"user": self.session.user_id, "data": dict(self.session)})


class Login(SessionMixin, RequestHandler):
    def post(self) -> None:
        self.session.login(self.get_argument("user", "ada"))


class Jar(dict[str, str]):
    """A visitor's cookies."""

    def take(self, response: HTTPResponse) -> HTTPResponse:
        for header in response.headers.get_list("Set-Cookie"):
            for name, cookie in SimpleCookie(header).items():
                if cookie["max-age"] == "0":
                    self.pop(name, None)
                else:
                    self[name] = cookie.value
        return response

    def copy(self) -> Self:
        return type(self)(self)

    def __str__(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.items())


class Site:
    """An application that listens; `events` has what its sessions told."""

    def __init__(
        self,
        manager: SessionManager,
        port: int,
        events: list[SessionEvent],
        settings: dict[str, Any],
    ) -> None:
        self.manager = manager
        self.settings = settings
        self.port = port
        self.events = events
        self.client = AsyncHTTPClient()

    async def ask(
        self,
        jar: Jar,
        path: str,
        method: str = "GET",
        body: str | None = None,
        *,
        take: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> HTTPResponse:
        """Send a request with the jar's cookies; *take* those of the response into it."""
        sent = {**(headers or {}), **({"Cookie": str(jar)} if jar else {})}
        body = "" if body is None and method in {"POST", "PUT"} else body
        url = f"http://127.0.0.1:{self.port}{path}"
        request = HTTPRequest(url, method, sent, body, follow_redirects=False, request_timeout=15)
        response = await self.client.fetch(request, raise_error=False)
        return jar.take(response) if take else response

    async def show(self, jar: Jar) -> Any:
        return json.loads((await self.ask(jar, "/show")).body)

    async def data(self, jar: Jar) -> Any:
        return (await self.show(jar))["data"]

    async def user(self, jar: Jar) -> Any:
        return (await self.show(jar))["user"]

    async def logged_in(self, user: str = "ada") -> Jar:
        jar = Jar()
        await self.ask(jar, f"/login?user={user}", "POST")
        assert jar
        return jar


Routes = Sequence[Any]


@asynccontextmanager
async def site(
    store: Store, routes: Routes, *, settings: Any = None, **options: Any
) -> AsyncIterator[Site]:
    """Serve *routes*, `/show` and `/login` from *store*."""
    events: list[SessionEvent] = []
    manager = SessionManager(store, hooks=[events.append], **options)
    application = Application(
        [*routes, ("/show", Show), ("/login", Login)],
        session_manager=manager,
        **{"cookie_secret": SECRET, **(settings or {})},
    )
    server = HTTPServer(application)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield Site(manager, sockets[0].getsockname()[1], events, application.settings)
    finally:
        server.stop()
        await server.close_all_connections()
        await manager.aclose()

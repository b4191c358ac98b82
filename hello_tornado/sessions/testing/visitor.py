"""A visitor for tests of an application: logged in at once, with a browser's memory for cookies."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast
from urllib.parse import urljoin, urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.testing import bind_unused_port
from tornado.web import Application

from hello_tornado.sessions.carriers.carrier import carrier_of
from hello_tornado.sessions.carriers.signing import Keyring
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.manager.actions import Issue
from hello_tornado.sessions.manager.manager import SessionManager
from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.web.door import SessionDoor

REDIRECTS: Final = (301, 302, 303, 307, 308)
MOST_REDIRECTS: Final = 5


async def session_headers(
    app: Application,
    user_id: str | None = None,
    url: str = "http://127.0.0.1/",
    /,
    **data: Any,
) -> dict[str, str]:
    """Begin a session in the store of *app*; returns the headers of a request that has it.

    It is *user_id*'s, or nobody's, and holds *data*. *url* is where the request goes: a cookie may
    depend on its path, and on whether it is https.
    """
    manager = manager_of(app)
    if user_id is None and not data:
        raise ValueError("a session that is nobody's and holds nothing is not stored")
    session = await manager.open(None)
    if user_id is not None:
        session.login(user_id)
    session.update(data)
    action = cast("Issue", await manager.commit(session))
    carrier = carrier_of(manager.cookie, _request(url, {}))
    keyring, https = Keyring.of(app.settings), urlsplit(url).scheme == "https"
    header = carrier.issue(keyring, action.session_id, None, manager.now(), https=https)
    return {carrier.request_header: header.partition(";")[0]}


def manager_of(app: Application) -> SessionManager:
    """The manager of an application; `ConfigurationError` when it has none."""
    manager = app.settings.get("session_manager")
    if not isinstance(manager, SessionManager):
        raise ConfigurationError("the application has no setting session_manager")
    return manager


class Visitor:
    """Somebody who visits *app* at *url*, and keeps cookies as a browser does.

    `visiting()` makes one for an async test. `cookies` has their cookies by name.

    - *app*: the application, which has a setting `session_manager`.
    - *url*: where it listens, such as "http://127.0.0.1:8888/".
    - *client*: what sends the requests; by default a client of Tornado for this visitor alone.
    """

    def __init__(self, app: Application, url: str, client: AsyncHTTPClient | None = None) -> None:
        self._app = app
        self.url = url
        self._client = client or AsyncHTTPClient(force_instance=True)
        self._token: dict[str, str] = {}
        self.cookies: dict[str, str] = {}

    async def login(self, user_id: str | None = None, /, **data: Any) -> None:
        """From now on they have a session of *user_id* (None: nobody's) that holds *data*.

        No page is asked for it. `ValueError` for a session that is nobody's and holds nothing.
        """
        headers = await session_headers(self._app, user_id, self.url, **data)
        cookie = headers.pop("Cookie", None)
        self._token = headers  # of a TokenPolicy
        if cookie is not None:
            name, _, value = cookie.partition("=")
            self.cookies[name] = value

    async def fetch(
        self,
        path: str,
        *,
        follow_redirects: bool = True,
        raise_error: bool = False,
        **options: Any,
    ) -> HTTPResponse:
        """The response to a request with their cookies, which keeps those that come back.

        - *path*: below the visitor's URL, or a whole URL.
        - *follow_redirects*: go on to where a redirect leads, at most five times.
        - *raise_error*: raise `HTTPClientError` for a response that is an error.
        - *options*: those of Tornado's `HTTPRequest`: method, body, headers, …
        """
        url = urljoin(self.url, path)
        for _ in range(MOST_REDIRECTS):
            response = await self._fetch_one(url, **options)
            where = response.headers.get("Location")
            if not follow_redirects or response.code not in REDIRECTS or where is None:
                break
            url = urljoin(url, where)
            if response.code not in {307, 308} and options.get("method", "GET") != "HEAD":
                options |= {"method": "GET", "body": None}
        if raise_error:
            response.rethrow()
        return response

    async def session(self) -> Session | None:
        """Their session as it is stored now, to look at; None without a living one."""
        settings = self._app.settings
        door = SessionDoor(
            manager_of(self._app),
            cookie_secret=settings["cookie_secret"],
            key_version=settings.get("key_version"),
        )
        session = await door.open(_request(self.url, self._sent()))
        return None if session.is_new else session

    def close(self) -> None:
        """Close the client's connections."""
        self._client.close()

    def _sent(self) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return self._token | ({"Cookie": cookies} if cookies else {})

    async def _fetch_one(self, url: str, **options: Any) -> HTTPResponse:
        headers = HTTPHeaders(options.pop("headers", None) or {})
        for name, value in self._sent().items():
            headers.setdefault(name, value)
        response = await self._client.fetch(
            url, raise_error=False, headers=headers, follow_redirects=False, **options
        )
        for header in response.headers.get_list("Set-Cookie"):
            self._take(header)
        return response

    def _take(self, header: str) -> None:
        pair, *others = header.split(";")
        name, _, value = pair.strip().partition("=")
        attributes = {
            key.strip().lower(): text for key, _, text in (o.partition("=") for o in others)
        }
        if _is_over(attributes):
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value


@asynccontextmanager
async def visiting(app: Application) -> AsyncIterator[Visitor]:
    """A visitor of *app*, which listens on a free port of this machine until the block ends.

        async with visiting(app) as visitor:
            await visitor.login("ada")
            response = await visitor.fetch("/")

    Works in any async test, whichever plug-in runs it. The sessions' manager is closed in the end.
    """
    listening, port = bind_unused_port()
    server = HTTPServer(app)
    server.add_socket(listening)
    visitor = Visitor(app, f"http://127.0.0.1:{port}/")
    try:
        yield visitor
    finally:
        visitor.close()
        server.stop()
        await server.close_all_connections()
        await manager_of(app).aclose()


def _request(url: str, headers: Mapping[str, str]) -> HTTPServerRequest:
    scheme, host, path, *_ = urlsplit(url)
    start = RequestStartLine("GET", path, "HTTP/1.1")
    request = HTTPServerRequest(start_line=start, headers=HTTPHeaders({"Host": host, **headers}))
    request.protocol = scheme
    return request


def _is_over(attributes: Mapping[str, str]) -> bool:
    """Whether a cookie with these attributes is to be forgotten."""
    if "max-age" in attributes:
        return int(attributes["max-age"]) <= 0
    if "expires" not in attributes:
        return False
    return parsedate_to_datetime(attributes["expires"]) <= datetime.now(UTC)

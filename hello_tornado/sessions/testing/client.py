"""A visitor for tests of an application: logged in at once, with a browser's memory for cookies."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast
from urllib.parse import urljoin, urlsplit

from tornado.httpclient import HTTPResponse
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application

from hello_tornado.sessions.carriers.carrier import carrier_of
from hello_tornado.sessions.carriers.signing import Keyring
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.manager.actions import Issue
from hello_tornado.sessions.manager.manager import SessionManager

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
    manager = app.settings.get("session_manager")
    if not isinstance(manager, SessionManager):
        raise ConfigurationError("the application has no setting session_manager")
    if user_id is None and not data:
        raise ValueError("a session that is nobody's and holds nothing is not stored")
    session = await manager.open(None)
    if user_id is not None:
        session.login(user_id)
    session.update(data)
    action = cast("Issue", await manager.commit(session))
    scheme, host, path, *_ = urlsplit(url)
    start = RequestStartLine("GET", path, "HTTP/1.1")
    request = HTTPServerRequest(start_line=start, headers=HTTPHeaders({"Host": host}))
    carrier = carrier_of(manager.cookie, request)
    keyring, https = Keyring.of(app.settings), scheme == "https"
    header = carrier.issue(keyring, action.session_id, None, manager.now(), https=https)
    return {carrier.request_header: header.partition(";")[0]}


class SessionTestCase(AsyncHTTPTestCase):
    """Tornado's `AsyncHTTPTestCase` with one visitor, who keeps cookies as a browser does.

    `login()` begins their session without any page; `fetch()` sends their cookies, keeps those that
    come back, also with redirects, and forgets those that are cleared. `cookies` has them by name.
    For https, derive from Tornado's `AsyncHTTPSTestCase`, too.
    """

    def setUp(self) -> None:
        """Tornado's, for a visitor without cookies."""
        super().setUp()
        self.cookies: dict[str, str] = {}
        self._session_headers: dict[str, str] = {}

    def login(self, user_id: str | None = None, /, **data: Any) -> None:
        """From now on the visitor has a session of *user_id* (None: nobody's) that holds *data*."""
        headers = self.io_loop.run_sync(
            lambda: session_headers(self._app, user_id, self.get_url("/"), **data)
        )
        cookie = headers.pop("Cookie", None)
        self._session_headers = headers  # of a TokenPolicy
        if cookie is not None:
            name, _, value = cookie.partition("=")
            self.cookies[name] = value

    def fetch(self, path: str, raise_error: bool = False, **kwargs: Any) -> HTTPResponse:
        """Tornado's `fetch()`, with the visitor's cookies."""
        follows = kwargs.pop("follow_redirects", True)
        for _ in range(MOST_REDIRECTS):
            response = self._fetch_one(path, **kwargs)
            where = response.headers.get("Location")
            if not follows or response.code not in REDIRECTS or where is None:
                break
            path = urljoin(response.effective_url, where)
            if response.code not in {307, 308} and kwargs.get("method", "GET") != "HEAD":
                kwargs |= {"method": "GET", "body": None}
        if raise_error:
            response.rethrow()
        return response

    def _fetch_one(self, path: str, **kwargs: Any) -> HTTPResponse:
        headers = HTTPHeaders(kwargs.pop("headers", None) or {})
        for name, value in self._session_headers.items():
            headers.setdefault(name, value)
        if self.cookies and "Cookie" not in headers:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        response = super().fetch(path, headers=headers, follow_redirects=False, **kwargs)
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


def _is_over(attributes: Mapping[str, str]) -> bool:
    """Whether a cookie with these attributes is to be forgotten."""
    if "max-age" in attributes:
        return int(attributes["max-age"]) <= 0
    if "expires" not in attributes:
        return False
    return parsedate_to_datetime(attributes["expires"]) <= datetime.now(UTC)

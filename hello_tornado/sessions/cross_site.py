"""Tornado's checks of requests from other sites, bound to the session and closed where they gaped.

With the application setting `xsrf_cookies`, Tornado compares a form's token with a cookie that
holds the same token; whoever can set a cookie (a sibling host, say) can forge both. Here the token
of a visitor with a session is made from the session's id, and a login or logout voids it. Without a
session it is Tornado's own. `cross_origin_protection` is Tornado's, but for origins that are none.
"""

import hashlib
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import urlsplit

from tornado.web import HTTPError, RequestHandler

from hello_tornado.sessions.ids import SessionId


class CrossSiteMixin(RequestHandler):
    """What `SessionMixin` does against other sites; most of it before the session is loaded."""

    _xsrf_checked_for: SessionId | None = None

    def _session_ids(self) -> list[SessionId]:
        """The ids that this request may be about: several, until the session is loaded."""
        raise NotImplementedError

    def prepare(self) -> Awaitable[None] | None:
        """Refuse a token that is not that of the session which turned out to be the right one."""
        if self._xsrf_checked_for is not None and [self._xsrf_checked_for] != self._session_ids():
            self._forbidden("xsrf")
            raise HTTPError(403, "the XSRF token is that of another session")
        return super().prepare()

    def check_xsrf_cookie(self) -> None:
        """Tornado's hook: raise unless the request carries the token of its session."""
        ids: list[SessionId | None] = [*self._session_ids()]
        *others, last = ids or [None]
        for session_id in others:
            with suppress(HTTPError):
                return self._check_xsrf_for(session_id)
        try:
            return self._check_xsrf_for(last)
        except HTTPError:
            self._forbidden("xsrf")
            raise

    def _forbidden(self, reason: str) -> None:
        """Called before a request is refused for this reason."""

    def _check_cross_origin(self, check: Callable[[str], bool]) -> str | None:
        refusal = super()._check_cross_origin(check)
        if refusal is not None:
            self._forbidden("origin")
        return refusal

    def _check_xsrf_for(self, session_id: SessionId | None) -> None:
        self._xsrf_checked_for = session_id
        super().check_xsrf_cookie()

    def _get_raw_xsrf_token(self) -> tuple[int | None, bytes, float]:
        ids = self._session_ids()
        session_id = ids[0] if len(ids) == 1 else self._xsrf_checked_for
        if session_id is None:
            return super()._get_raw_xsrf_token()
        return 2, hashlib.sha256(b"xsrf token of " + session_id.encode()).digest(), time.time()

    def _origin_matches_host(self, origin: str) -> bool:
        try:
            return bool(urlsplit(origin).netloc) and super()._origin_matches_host(origin)
        except ValueError:  # an Origin such as https://[bad
            return False

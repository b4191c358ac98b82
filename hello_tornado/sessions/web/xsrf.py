"""Tornado's checks of requests from other sites, bound to the session and closed where they gaped.

With the application setting `xsrf_cookies`, Tornado compares a form's token with a cookie that
holds the same token. An attacker who can set a cookie (from a sibling host, say) can forge both. So
the token of a visitor with a session is made from the session's id, and the cookie only brings it
to the page's scripts. A login makes another id, and so another token. A visitor without a session
has Tornado's own token; a session that begins on a page with a form that has such a token remembers
it, until a login. `cross_origin_protection` is Tornado's, but refuses origins that are none.
"""

import hashlib
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from tornado.web import HTTPError, RequestHandler

from hello_tornado.sessions.records.ids import SessionId


class XsrfMixin(RequestHandler):
    """What `SessionMixin` does against other sites; most of it before the session is loaded."""

    _xsrf_id: SessionId | None = None  # whose token Tornado works with; None: its own
    _xsrf_matches: frozenset[SessionId | None] | None = None

    def _presented_ids(self) -> list[SessionId]:
        """The ids of the request that we have signed, living or not."""
        raise NotImplementedError

    def _living_id(self) -> SessionId | None:
        """The id of the request's living session; None without one, and before it is loaded."""
        raise NotImplementedError

    def _id_after_response(self, *, is_needed: bool) -> SessionId | None:
        """The id that the browser has after this response.

        When that is not certain yet, because the session may still begin: the id that it would get
        if *is_needed*, else None.
        """
        raise NotImplementedError

    def _is_remembered(self, token: bytes) -> bool:
        """Whether the living session began on a page whose form had Tornado's own *token*."""
        raise NotImplementedError

    def _may_set_xsrf_cookie(self) -> bool:
        """Whether the response may bring a token in a cookie: not if it could replace a newer."""
        raise NotImplementedError

    def _forbidden(self, reason: str) -> None:
        """Called before a request is refused for this reason."""

    def _check_token_again(self) -> None:
        """Refuse a token that fits none but other ids than that of the session that lives."""
        matches = self._xsrf_matches
        if matches is None or (living := self._living_id()) is None or living in matches:
            return
        if None not in matches or not self._has_remembered_token():
            self._forbidden("xsrf")
            raise HTTPError(403, "the XSRF token is that of another session")

    @property
    def xsrf_token(self) -> bytes:
        """Tornado's token for forms and scripts; good with the cookies that this response sets."""
        session_id = self._id_after_response(is_needed=not self._has_xsrf_cookie())
        if session_id == self._living_id() and self._has_remembered_token():
            session_id = None
        if session_id != self._xsrf_id:
            self._xsrf_id = session_id
            if hasattr(self, "_xsrf_token"):
                del self._xsrf_token
        return super().xsrf_token

    def check_xsrf_cookie(self) -> None:
        """Tornado's hook: raise unless the request carries the token of its session.

        Until the session is loaded, the token of each id that the request presents may be the right
        one. That of an id which is no longer good counts as long as no session lives: a form that
        is sent twice shows no error.
        """
        living = self._living_id()
        candidates: list[SessionId | None] = [*self._presented_ids(), None]
        if living is not None:
            candidates = [living, None] if self._has_remembered_token() else [living]
        matches, refusal, rendered_for = set(), HTTPError(403), self._xsrf_id
        for self._xsrf_id in candidates:
            try:
                super().check_xsrf_cookie()
            except HTTPError as error:
                refusal = error
            else:
                matches.add(self._xsrf_id)
        self._xsrf_id = rendered_for
        if not matches:
            self._forbidden("xsrf")
            try:
                raise refusal
            finally:
                del refusal  # or it would refer to itself, and with it the handler
        self._xsrf_matches = frozenset(matches)

    def refuse_other_origins(self) -> None:
        """Raise a 403 for a request that another site has sent, whatever the settings are."""
        error = self._check_cross_origin(self.check_trusted_origin)
        if error is not None:
            raise HTTPError(403, error)

    def _own_xsrf_token(self) -> bytes | None:
        """Tornado's own token, if a form of this response has it."""
        is_own = self._xsrf_id is None and hasattr(self, "_xsrf_token")
        return self._xsrf_cookie_token() if is_own else None

    def _has_remembered_token(self) -> bool:
        token = self._xsrf_cookie_token()
        return token is not None and self._is_remembered(token)

    def _renew_xsrf_cookie(self) -> None:
        """With a new id goes a new token, for scripts that read it in the cookie."""
        if self.settings.get("xsrf_cookies") and self._has_xsrf_cookie():
            self.xsrf_token  # noqa: B018 - makes Tornado set its cookie

    def _has_xsrf_cookie(self) -> bool:
        return self._xsrf_cookie_token() is not None

    def _xsrf_cookie_token(self) -> bytes | None:
        cookie = self.get_cookie(self.settings.get("xsrf_cookie_name", "_xsrf"))
        return self._decode_xsrf_token(cookie)[1] if cookie else None

    def _get_raw_xsrf_token(self) -> tuple[int | None, bytes, float]:
        if self._xsrf_id is None:
            return super()._get_raw_xsrf_token()
        token = hashlib.sha256(b"xsrf token of " + self._xsrf_id.encode()).digest()
        # Without a version, Tornado sends its cookie: when the browser has another token in it.
        is_there = not self._may_set_xsrf_cookie() or self._xsrf_cookie_token() == token
        return 2 if is_there else None, token, time.time()

    def _check_cross_origin(self, check: Callable[[str], bool]) -> str | None:
        refusal = super()._check_cross_origin(check)
        if refusal is not None:
            self._forbidden("origin")
        return refusal

    def _origin_matches_host(self, origin: str) -> bool:
        try:
            return bool(urlsplit(origin).netloc) and super()._origin_matches_host(origin)
        except ValueError:  # an Origin such as https://[bad
            return False

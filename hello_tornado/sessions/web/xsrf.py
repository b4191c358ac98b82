"""Tornado's protection against cross-site requests, bound to the session and with gaps closed.

With the application setting `xsrf_cookies`, Tornado compares a form's token with a cookie that
contains the same token. An attacker who can set a cookie (for example from a sibling host) can
forge both. Therefore the token of a visitor with a session is derived from the session id, and the
cookie only passes it to the page's scripts. A login changes the id and so the token.

A visitor without a session gets Tornado's own token. If a session begins on a page with a form that
has such a token, the session stores it until a login. `cross_origin_protection` is Tornado's, but
invalid origins are refused.
"""

import hashlib
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from tornado.web import HTTPError, RequestHandler

from hello_tornado.sessions.records.ids import SessionId


class XsrfMixin(RequestHandler):
    """The part of `SessionMixin` against cross-site requests. Most checks precede the loading."""

    _xsrf_id: SessionId | None = None  # the id of the token in use; None: Tornado's own token
    _xsrf_matches: frozenset[SessionId | None] | None = None

    def _presented_ids(self) -> list[SessionId]:
        """Return the ids of the request with a valid signature, also those of ended sessions."""
        raise NotImplementedError

    def _living_id(self) -> SessionId | None:
        """Return the id of the request's valid session; None if there is none or not yet."""
        raise NotImplementedError

    def _id_after_response(self, *, is_needed: bool) -> SessionId | None:
        """Return the id that the browser has after this response.

        If it is uncertain whether the session begins, return the id that it would get if
        *is_needed*, else None.
        """
        raise NotImplementedError

    def _is_remembered(self, token: bytes) -> bool:
        """Whether the session began on a page with a form that had Tornado's own *token*."""
        raise NotImplementedError

    def _may_set_xsrf_cookie(self) -> bool:
        """Whether the response may set the token's cookie: not if it could replace a newer one."""
        raise NotImplementedError

    def _forbidden(self, reason: str) -> None:
        """Called before a request is refused for this reason."""

    def _check_token_again(self) -> None:
        """After loading, refuse a token that is only valid for other ids than the session's."""
        matches = self._xsrf_matches
        if matches is None or (living := self._living_id()) is None or living in matches:
            return
        if None not in matches or not self._has_remembered_token():
            self._forbidden("xsrf")
            raise HTTPError(403, "the XSRF token belongs to another session")

    @property
    def xsrf_token(self) -> bytes:
        """Tornado's token for forms and scripts, valid with the cookies of this response."""
        session_id = self._id_after_response(is_needed=not self._has_xsrf_cookie())
        if session_id == self._living_id() and self._has_remembered_token():
            session_id = None
        if session_id != self._xsrf_id:
            self._xsrf_id = session_id
            if hasattr(self, "_xsrf_token"):
                del self._xsrf_token
        return super().xsrf_token

    def check_xsrf_cookie(self) -> None:
        """Raise a 403 unless the request has the token of its session; called by Tornado.

        Before the session is loaded, the token of each id in the request is accepted. The token of
        an ended id is accepted if there is no valid session, so that sending a form twice causes no
        error.
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
                del refusal  # otherwise a reference cycle keeps the handler alive
        self._xsrf_matches = frozenset(matches)

    def refuse_other_origins(self) -> None:
        """Raise a 403 if another site has sent the request, regardless of the settings."""
        error = self._check_cross_origin(self.check_trusted_origin)
        if error is not None:
            raise HTTPError(403, error)

    def _own_xsrf_token(self) -> bytes | None:
        """Return Tornado's own token if a form of this response has it."""
        is_own = self._xsrf_id is None and hasattr(self, "_xsrf_token")
        return self._xsrf_cookie_token() if is_own else None

    def _has_remembered_token(self) -> bool:
        token = self._xsrf_cookie_token()
        return token is not None and self._is_remembered(token)

    def _renew_xsrf_cookie(self) -> None:
        """Set the cookie of the new token after a new id, for scripts that read it."""
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
        # If the version is None, Tornado sets its cookie; needed if the browser has another token.
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

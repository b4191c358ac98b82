"""The session's id in a header of its own, for clients that are no browsers and keep no cookies.

A header is opt-in, and takes the place of the cookie: where one is read, the other one is not.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tornado.httputil import HTTPServerRequest

from hello_tornado.sessions import options
from hello_tornado.sessions.carriers.carrier import NOT_OURS, NOTHING_PRESENTED, PresentedIds
from hello_tornado.sessions.carriers.signing import Keyring
from hello_tornado.sessions.records.ids import SessionId

TAKEN: Final = ("cookie", "set-cookie", "host", "origin", "referer", "content-type")
CHECKS: Final = {
    "header": options.text(
        re.compile(rf"(?!(?:{'|'.join(TAKEN)})\Z)[A-Z][A-Z0-9-]{{0,63}}", re.IGNORECASE),
        "the name of a header that has no other meaning, such as X-Session-Token",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPolicy:
    """The session in a header instead of a cookie: `SessionManager(…, cookie=TokenPolicy())`.

    A response that begins or renews a session carries its token in this header, and the client
    sends it back in the same one. An empty token means that the session is over.
    """

    header: str = "X-Session-Token"

    def __post_init__(self) -> None:
        options.check_fields(self, CHECKS)

    @property
    def request_header(self) -> str:
        """The header itself."""
        return self.header

    @property
    def response_header(self) -> str:
        """The same one."""
        return self.header

    def read(
        self,
        request: HTTPServerRequest,
        keyring: Keyring,
        now: int,
        *,
        https: bool,
    ) -> PresentedIds:
        """The id in the request's header, of which there may be one."""
        return self.ids_in(request.headers.get_list(self.header), keyring, now, https=https)

    def ids_in(
        self,
        values: Sequence[str],
        keyring: Keyring,
        now: int,
        *,
        https: bool,  # noqa: ARG002 - it may travel over http as well
    ) -> PresentedIds:
        """The id in the *values* of the header."""
        if not any(values):
            return NOTHING_PRESENTED
        if len(values) > 1:
            return PresentedIds(rejected="too_many")
        signed = keyring.verify(self.header, values[0], now)
        return NOT_OURS if signed is None else PresentedIds((signed,))

    def issue(
        self,
        keyring: Keyring,
        session_id: SessionId,
        _expires_at: int | None,
        now: int,
        *,
        https: bool,  # noqa: ARG002 - it may travel over http as well
    ) -> str:
        """The token for *session_id*."""
        return keyring.sign(self.header, session_id, now)

    def clear(self, *, https: bool) -> str:  # noqa: ARG002 - the same
        """No token."""
        return ""

    def persists(self, _remember: bool | None) -> bool:
        """Never: a token says nothing of its end."""
        return False

    def refuses(self, _request: HTTPServerRequest, *, https: bool) -> str | None:  # noqa: ARG002
        """Never."""
        return None

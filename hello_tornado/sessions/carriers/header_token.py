"""The session id in a header instead of a cookie, for clients other than browsers.

The header is opt-in. Either the header or the cookie of a request is read, never both.
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
    """Sends the session id in a header instead of a cookie.

    Use it as `SessionManager(…, cookie=TokenPolicy())`. A response that begins or renews a session
    has a token in the header, and the client sends it back in the same header. An empty token means
    that the session has ended.

    Args:
        header: The name of the header ("X-Session-Token").

    Raises:
        ConfigurationError: `header` is not a name of a header or has another meaning.

    """

    header: str = "X-Session-Token"

    def __post_init__(self) -> None:
        options.check_fields(self, CHECKS)

    @property
    def request_header(self) -> str:
        """The name of the header in requests."""
        return self.header

    @property
    def response_header(self) -> str:
        """The name of the header in responses; the same."""
        return self.header

    def read(
        self,
        request: HTTPServerRequest,
        keyring: Keyring,
        now: int,
        *,
        https: bool,
    ) -> PresentedIds:
        """Return the id in the request's header; more than one header is rejected."""
        return self.ids_in(request.headers.get_list(self.header), keyring, now, https=https)

    def ids_in(
        self,
        values: Sequence[str],
        keyring: Keyring,
        now: int,
        *,
        https: bool,  # noqa: ARG002 - it is also accepted over http
    ) -> PresentedIds:
        """Return the id in the *values* of the header."""
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
        https: bool,  # noqa: ARG002 - it is also sent over http
    ) -> str:
        """Return the token for *session_id*."""
        return keyring.sign(self.header, session_id, now)

    def clear(self, *, https: bool) -> str:  # noqa: ARG002 - the same
        """Return an empty token."""
        return ""

    def persists(self, _remember: bool | None) -> bool:
        """Return False: a token has no expiry time."""
        return False

    def refuses(self, _request: HTTPServerRequest, *, https: bool) -> str | None:  # noqa: ARG002
        """Return None: a token can be sent with every response."""
        return None

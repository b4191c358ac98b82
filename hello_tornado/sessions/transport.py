"""How a session's signed id travels to the client and back: in a cookie, or in a header."""

from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from tornado.httputil import HTTPServerRequest

from hello_tornado.sessions import options
from hello_tornado.sessions.ids import SessionId
from hello_tornado.sessions.keyring import Keyring, SignedId


class Reading(NamedTuple):
    """What a request says: the different ids that verify, or why none of them is used."""

    signed: tuple[SignedId, ...] = ()
    rejected: str | None = None

    @property
    def readable(self) -> tuple[SignedId, ...]:
        """The ids whose sessions may be opened. A logout ends those of all that are signed."""
        return self.signed if self.rejected is None else ()


class Transport(Protocol):
    """What the application's `session_cookie` is: a `CookiePolicy`, or a `TokenPolicy`."""

    @property
    def request_header(self) -> str:
        """The header that requests carry."""

    @property
    def response_header(self) -> str:
        """The header that responses carry."""

    def read(self, request: HTTPServerRequest, keyring: Keyring, now: int) -> Reading:
        """The ids in the request."""

    def issue(
        self,
        request: HTTPServerRequest,
        keyring: Keyring,
        session_id: SessionId,
        expires_at: int | None,
        now: int,
    ) -> str:
        """The response's header for *session_id*.

        The client may forget the id at the moment *expires_at*; None: when the browser is closed.
        """

    def clear(self, request: HTTPServerRequest) -> str:
        """The response's header that makes the client forget the id."""

    def persists(self, remember: bool | None) -> bool:
        """Whether the client keeps the id until a moment that `issue` tells it.

        *remember* is what the session's login was told.
        """

    def address(self, request: HTTPServerRequest) -> str:
        """Whose request it is: an address."""

    def refuses(self, request: HTTPServerRequest) -> str | None:
        """Why no id could be sent in answer to this request, and the cure; None when it could."""


def transport_of(setting: Any, request: HTTPServerRequest) -> Transport:
    """The transport that the application setting `session_cookie` says for this request."""
    is_function = callable(setting) and not isinstance(setting, type)
    transport: Transport = setting(request) if is_function else setting
    if not _is_transport(type(transport)):
        options.refuse(
            "the application setting session_cookie",
            "a CookiePolicy, a TokenPolicy, or a function from the request to one",
            options.kind_of(transport),
        )
    return transport


@lru_cache(maxsize=64)
def _is_transport(kind: type) -> bool:
    """Whether the objects of a class are transports; asked with each request, found out once."""
    return all(hasattr(kind, name) for name in vars(Transport) if not name.startswith("_"))

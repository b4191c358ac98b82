"""How a session's signed id travels to the client and back: in a cookie, or in a header."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol, TypeAlias, TypeGuard, cast

from tornado.httputil import HTTPServerRequest

from hello_tornado.sessions import options
from hello_tornado.sessions.carriers.signing import Keyring, SignedId
from hello_tornado.sessions.records.ids import SessionId
from hello_tornado.sessions.records.immutable import immutable


@immutable
class PresentedIds:
    """What a request says: the different ids that verify, or why none of them is used."""

    signed: tuple[SignedId, ...] = ()
    rejected: str | None = None

    @property
    def readable(self) -> tuple[SignedId, ...]:
        """The ids whose sessions may be opened. A logout ends those of all that are signed."""
        return self.signed if self.rejected is None else ()


NOTHING_PRESENTED: Final = PresentedIds()
NOT_OURS: Final = PresentedIds(rejected="not_ours")


class IdCarrier(Protocol):
    """What the manager's `cookie` is: a `CookiePolicy`, or a `TokenPolicy`."""

    @property
    def request_header(self) -> str:
        """The header that requests carry."""

    @property
    def response_header(self) -> str:
        """The header that responses carry."""

    def read(
        self, request: HTTPServerRequest, keyring: Keyring, now: int, *, https: bool
    ) -> PresentedIds:
        """The ids in the request, which came over https or not."""

    def ids_in(
        self, values: Sequence[str], keyring: Keyring, now: int, *, https: bool
    ) -> PresentedIds:
        """The ids in *values* of the `request_header`, wherever they were sent to."""

    def issue(
        self,
        keyring: Keyring,
        session_id: SessionId,
        expires_at: int | None,
        now: int,
        *,
        https: bool,
    ) -> str:
        """The response's header for *session_id*.

        The client may forget the id at the moment *expires_at*; None: when the browser is closed.
        """

    def clear(self, *, https: bool) -> str:
        """The response's header that makes the client forget the id."""

    def persists(self, remember: bool | None) -> bool:
        """Whether the client keeps the id until a moment that `issue` tells it.

        *remember* is what the session's login was told.
        """

    def refuses(self, request: HTTPServerRequest, *, https: bool) -> str | None:
        """Why no id could be sent in answer to this request, and the cure; None when it could."""


Choice: TypeAlias = IdCarrier | Callable[[Any], IdCarrier]
"""One carrier for all requests, or a function from the request to one."""

WANTED: Final = "a CookiePolicy, a TokenPolicy, or a function from the request to one"


def choice(name: str, given: Any) -> Any:
    """The check of an option that is a `Choice`."""
    if is_carrier(given):
        return given
    if not callable(given) or isinstance(given, type):
        options.refuse(name, WANTED, options.kind_of(given))
    return options.function(1, "lambda request: CookiePolicy()")(name, given)


def carrier_of(chosen: Choice, request: HTTPServerRequest) -> IdCarrier:
    """The carrier for this request."""
    if is_carrier(chosen):
        return chosen
    carrier = cast("Callable[[Any], object]", chosen)(request)
    if not is_carrier(carrier):
        what = "a function from the request to a CookiePolicy or a TokenPolicy"
        options.refuse("SessionManager(cookie=…)", what, f"one to {options.kind_of(carrier)}")
    return carrier


def is_carrier(given: Any) -> TypeGuard[IdCarrier]:
    """Whether *given* is a carrier, and no function that makes one."""
    kind: type = type(given)
    return _makes_carriers(kind)


@lru_cache(maxsize=64)
def _makes_carriers(kind: type) -> bool:
    """Whether the objects of a class are carriers; asked with each request, found out once."""
    return all(hasattr(kind, name) for name in vars(IdCarrier) if not name.startswith("_"))

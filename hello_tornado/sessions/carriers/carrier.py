"""The interface of carriers, which send signed session ids to the client and read them."""

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
    """The session ids in a request.

    - `signed`: the different ids with a valid signature.
    - `rejected`: why none of them is used, or None.
    """

    signed: tuple[SignedId, ...] = ()
    rejected: str | None = None

    @property
    def readable(self) -> tuple[SignedId, ...]:
        """The ids whose sessions may be opened; a logout ends the sessions of all `signed` ids."""
        return self.signed if self.rejected is None else ()


NOTHING_PRESENTED: Final = PresentedIds()
NOT_OURS: Final = PresentedIds(rejected="not_ours")


class IdCarrier(Protocol):
    """The type of the manager's option `cookie`: a `CookiePolicy` or a `TokenPolicy`."""

    @property
    def request_header(self) -> str:
        """The name of the header in requests."""

    @property
    def response_header(self) -> str:
        """The name of the header in responses."""

    def read(
        self, request: HTTPServerRequest, keyring: Keyring, now: int, *, https: bool
    ) -> PresentedIds:
        """Return the ids in a request.

        Args:
            request: The request.
            keyring: The secrets that verify signatures.
            now: The present moment, in microseconds since 1970.
            https: Whether the request came over https.

        """

    def ids_in(
        self, values: Sequence[str], keyring: Keyring, now: int, *, https: bool
    ) -> PresentedIds:
        """Return the ids in *values* of the `request_header`, for any path and host."""

    def issue(
        self,
        keyring: Keyring,
        session_id: SessionId,
        expires_at: int | None,
        now: int,
        *,
        https: bool,
    ) -> str:
        """Return the value of the `response_header` that sends *session_id*.

        The client keeps the id until the moment *expires_at*; None: until the browser is closed.
        """

    def clear(self, *, https: bool) -> str:
        """Return the value of the `response_header` that makes the client delete the id."""

    def persists(self, remember: bool | None) -> bool:
        """Whether the client keeps the id until a moment, not until the browser is closed.

        *remember* is the argument of the session's `login()`.
        """

    def refuses(self, request: HTTPServerRequest, *, https: bool) -> str | None:
        """Return why no id can be sent with the response and what to do, or None if it can."""


Choice: TypeAlias = IdCarrier | Callable[[Any], IdCarrier]
"""A carrier for all requests, or a function that returns one for a request."""

WANTED: Final = "a CookiePolicy, a TokenPolicy, or a function from the request to one"


def choice(name: str, given: Any) -> Any:
    """Check an option that is a `Choice`."""
    if is_carrier(given):
        return given
    if not callable(given) or isinstance(given, type):
        options.refuse(name, WANTED, options.kind_of(given))
    return options.function(1, "lambda request: CookiePolicy()")(name, given)


def carrier_of(chosen: Choice, request: HTTPServerRequest) -> IdCarrier:
    """Return the carrier for a request."""
    if is_carrier(chosen):
        return chosen
    carrier = cast("Callable[[Any], object]", chosen)(request)
    if not is_carrier(carrier):
        what = "a function from the request to a CookiePolicy or a TokenPolicy"
        options.refuse("SessionManager(cookie=…)", what, f"one to {options.kind_of(carrier)}")
    return carrier


def is_carrier(given: Any) -> TypeGuard[IdCarrier]:
    """Whether *given* is a carrier, not a function that returns one."""
    kind: type = type(given)
    return _makes_carriers(kind)


@lru_cache(maxsize=64)
def _makes_carriers(kind: type) -> bool:
    """Whether the objects of a class are carriers; cached because each request needs it."""
    return all(hasattr(kind, name) for name in vars(IdCarrier) if not name.startswith("_"))

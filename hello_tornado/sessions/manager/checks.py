"""The checks of the options of a `SessionManager`."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final, Protocol, TypeAlias

from hello_tornado.sessions import options
from hello_tornado.sessions.carriers.carrier import choice
from hello_tornado.sessions.carriers.proxies import network
from hello_tornado.sessions.events import SessionEvent
from hello_tornado.sessions.manager.codec import Cipher
from hello_tornado.sessions.records.ids import new_session_id
from hello_tornado.sessions.records.lifetimes import Lifetimes
from hello_tornado.sessions.records.serializers import Serializer
from hello_tornado.sessions.stores import Store

Clock: TypeAlias = Callable[[], int]
"""Returns the present moment in microseconds since 1970."""

SHORTEST_INTERVAL: Final = timedelta(milliseconds=1)  # between two purges


class Metrics(Protocol):
    """Counts events, and the calls to a store."""

    def __call__(self, event: SessionEvent, /) -> None:
        """Count *event*."""

    def observed(self, store: Store, /) -> Store:
        """Return a store that passes all calls to *store* and counts them."""


def random_id(_request: object) -> str:
    """Return a new session id; the default of `genid`."""
    return new_session_id()


HOOK: Final = options.function(1, "print")
CHECKS: Final[Mapping[str, options.Check]] = {
    "lifetimes": options.optional(
        options.instance_of(Lifetimes, "Lifetimes(idle=timedelta(hours=1))")
    ),
    "cookie": options.optional(choice),
    "serializer": options.optional(options.implements(Serializer, "JsonSerializer()")),
    "cipher": options.optional(options.implements(Cipher, "AesGcm([key])")),
    "resave": options.flag,
    "save_uninitialized": options.flag,
    "rolling": options.flag,
    "unset": options.one_of("keep", "destroy"),
    "genid": options.function(1, "lambda request: secrets.token_urlsafe(27)"),
    "touch_interval": options.duration(least=timedelta(0)),
    "remember_ended": options.duration(least=timedelta(0)),
    "max_sessions_per_user": options.optional(options.count),
    "max_bytes": options.count,
    "purge_every": options.optional(options.duration(least=SHORTEST_INTERVAL)),
    "purge_batch": options.count,
    "trusted_proxies": options.optional(options.several(network)),
    "metrics": options.optional(options.implements(Metrics, "SessionMetrics()")),
    "hooks": options.several(HOOK),
    "log": options.flag,
    "clock": options.clock,
}

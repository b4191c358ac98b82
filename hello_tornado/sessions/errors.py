"""What nobody expected. Conflicts, dead ids and forged cookies are values, not errors.

SessionError
 ├─ ConfigurationError    an option or a URL that cannot work
 ├─ SessionNotLoaded      the session was read before `prepare()` had loaded it
 ├─ SessionEnded          a write to a session that is over
 ├─ ReadOnly              a write to a session that can only be read here
 ├─ SessionBusy           another request had the session to itself for too long
 ├─ ResponseStarted       a change that can no longer reach the browser or the store
 ├─ NoResponse            a new id outside of a request: no cookie could carry it
 ├─ SerializationError    a value that cannot be stored, or bytes that cannot be read
 ├─ SessionTooLarge       more data than `max_bytes`
 └─ StoreError            the store answered with an error
     ├─ StoreMisconfigured  waiting does not help: no schema, no such database, a wrong option
     └─ StoreUnavailable  the store did not answer: 503, and whether it wrote is unknown
         ├─ StoreTimeout  it took too long, and whoever waits behind need not wait as long
         └─ SessionUnreadable  the store has the session, and its bytes cannot be read
"""

from collections.abc import Mapping


class SessionError(Exception):
    """The root of all errors of this library."""


class ConfigurationError(SessionError, ValueError):
    """An option or a URL that cannot work; the message names the cure."""


class SessionNotLoaded(SessionError):
    """The session was read before it was loaded: in `initialize()`, for instance."""


class SessionEnded(SessionError):
    """A write to a session that is over."""


class ReadOnly(SessionError):
    """A write to a session that can only be read here; the message says how to write."""


class SessionBusy(SessionError):
    """Another request had the session to itself for longer than this one could wait: 503."""


class ResponseStarted(SessionError):
    """The headers have left: no new cookie can follow them."""


class NoResponse(SessionError):
    """A change that gives the session a new id, outside of a request: no cookie could carry it."""


class SerializationError(SessionError):
    """A value that cannot be stored (the message names its key), or bytes that cannot be read."""


class SessionTooLarge(SessionError):
    """The session's data would exceed `max_bytes`; nothing was stored."""

    def __init__(self, size: int, limit: int, biggest: Mapping[str, int]) -> None:
        keys = ", ".join(f"{key!r} ({length:,})" for key, length in biggest.items())
        super().__init__(
            f"the session would hold {size:,} bytes; max_bytes is {limit:,}. "
            f"The biggest keys, in bytes: {keys}"
        )
        self.size = size
        self.limit = limit
        self.biggest = biggest


class StoreError(SessionError):
    """The store answered with an error; nothing of the call was written."""


class StoreMisconfigured(StoreError):
    """The store cannot be used as it is set up, however long one waits; the message says why."""


class StoreUnavailable(StoreError):
    """The store did not answer; whether it wrote is unknown. The driver's error is the cause."""


class StoreTimeout(StoreUnavailable, TimeoutError):
    """The store took too long. Whoever waits behind is told at once: a limit is a limit."""


class SessionUnreadable(StoreUnavailable):
    """The store has the session, but its bytes cannot be read: 503.

    An encryption key is missing, or another program has written them.
    """

"""The errors of this library. Conflicts, ended ids and forged cookies are values, not errors.

SessionError
 ├─ ConfigurationError    an invalid option or URL
 ├─ SessionNotLoaded      the session was used before it was loaded
 ├─ SessionEnded          a write to a session that has ended
 ├─ ReadOnly              a write to a session that is read-only here
 ├─ SessionBusy           another request locked the session for too long: 503
 ├─ ResponseStarted       a change that is too late for the cookie or for the store
 ├─ NoResponse            a new session id outside a request
 ├─ SerializationError    a value that cannot be stored, or data that cannot be read
 ├─ SessionTooLarge       more data than `max_bytes`
 └─ StoreError            the store returned an error
     ├─ StoreMisconfigured  no schema, no such database, a wrong option
     └─ StoreUnavailable  the store did not answer: 503; it is unknown whether it wrote
         ├─ StoreTimeout  the store took too long
         └─ SessionUnreadable  the data of the session cannot be read
"""

from collections.abc import Mapping


class SessionError(Exception):
    """The base class of all errors of this library."""


class ConfigurationError(SessionError, ValueError):
    """An option or a URL is invalid; the message says what to do."""


class SessionNotLoaded(SessionError):
    """The session was used before it was loaded, for example in `initialize()`."""


class SessionEnded(SessionError):
    """The session has ended and cannot be written to."""


class ReadOnly(SessionError):
    """The session is read-only here; the message says how to change it."""


class SessionBusy(SessionError):
    """Another request locked the session for longer than this one could wait: 503."""


class ResponseStarted(SessionError):
    """The headers were sent, so no cookie can be set; or the session was stored already."""


class NoResponse(SessionError):
    """A change needs a new session id outside a request, where no cookie can be set."""


class SerializationError(SessionError):
    """A value cannot be stored (the message has its key), or stored data cannot be read."""


class SessionTooLarge(SessionError):
    """The session's data would exceed `max_bytes`; nothing was stored.

    - `size`: the size of the data, in bytes.
    - `limit`: `max_bytes`.
    - `biggest`: the biggest keys and their sizes, in bytes.
    """

    def __init__(self, size: int, limit: int, biggest: Mapping[str, int]) -> None:
        keys = ", ".join(f"{key!r} ({length:,})" for key, length in biggest.items())
        super().__init__(
            f"the session would have {size:,} bytes; max_bytes is {limit:,}. "
            f"The biggest keys, in bytes: {keys}"
        )
        self.size = size
        self.limit = limit
        self.biggest = biggest


class StoreError(SessionError):
    """The store returned an error; nothing of the call was written."""


class StoreMisconfigured(StoreError):
    """The store or its URL must be set up differently; the message says why."""


class StoreUnavailable(StoreError):
    """The store did not answer: 503. It is unknown whether it wrote.

    The driver's error is the cause.
    """


class StoreTimeout(StoreUnavailable, TimeoutError):
    """The store took too long. Calls that wait for this one get the error at once, too."""


class SessionUnreadable(StoreUnavailable):
    """The store has the session, but its data cannot be read: 503.

    An encryption key is missing, or another program wrote the data.
    """

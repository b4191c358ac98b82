"""The errors of store calls: whether the call was done, and what happens to the connection.

| error | was it written? | the connection |
|---|---|---|
| `Taken`, `TakenBack`, `RowHeld` | no | is in a known state and is kept |
| `ConnectionLost`, `ServerRefuses` | unknown | is closed, as are all others to this server |
| any other | unknown | is closed |
"""

from hello_tornado.sessions.errors import StoreError, StoreMisconfigured, StoreUnavailable


class Taken(StoreError):
    """A constraint was violated; nearly always, a new key already exists."""


class TakenBack(StoreUnavailable):
    """The database rolled the transaction back, for example because of a deadlock; repeat it."""


class RowHeld(TakenBack):
    """A row was locked by another transaction for too long."""


class ConnectionLost(StoreUnavailable):
    """The connection broke."""


class ServerRefuses(StoreUnavailable):
    """This server cannot serve now: it is read-only, full, starting or stopping.

    The address of the store may lead to another server now.
    """


HARMLESS = (Taken, TakenBack)
ABOUT_ALL = (StoreUnavailable, StoreMisconfigured)  # any other error may be about one question


def failed(kind: type[StoreError], why: str, cause: BaseException | None) -> StoreError:
    """Return an error of a kind with the reason *why*.

    Pass None as the *cause* if its message may quote the data of sessions.
    """
    error = kind(f"the session store failed: {why}")
    error.__cause__ = cause
    error.__suppress_context__ = True
    return error

"""What the error of a call means for the connection, and for whoever called.

| error | was it written? | the connection |
|---|---|---|
| `Taken`, `TakenBack`, `RowHeld` | no | is as we left it, and is kept |
| `ConnectionLost`, `ServerRefuses` | unknown | is closed, as are all others to this server |
| any other | unknown | is closed |
"""

from hello_tornado.sessions.errors import StoreError, StoreUnavailable


class Taken(StoreError):
    """A constraint was broken: nearly always, a key that was to be new stands already."""


class TakenBack(StoreUnavailable):
    """The database took the transaction back, to end a deadlock say: it may be repeated."""


class RowHeld(TakenBack):
    """Somebody else holds a row for too long."""


class ConnectionLost(StoreUnavailable):
    """The connection broke."""


class ServerRefuses(StoreUnavailable):
    """This server cannot serve now: it is read-only, full, starting or stopping.

    The store's address may lead to another server by now.
    """


HARMLESS = (Taken, TakenBack)


def failed(kind: type[StoreError], why: str, cause: BaseException | None) -> StoreError:
    """An error that says *why*, and shows its *cause*, unless that may quote what sessions hold."""
    error = kind(f"the session store failed: {why}")
    error.__cause__ = cause
    error.__suppress_context__ = True
    return error

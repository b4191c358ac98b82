"""Classification of the errors of SQL databases, by the codes of their servers.

If an error's message may quote the data of a session, the message and the cause are omitted and
only the code is shown, because errors are logged.
"""

import re
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
)

from hello_tornado.sessions.errors import (
    StoreError,
    StoreMisconfigured,
    StoreTimeout,
    StoreUnavailable,
)
from hello_tornado.sessions.stores.failures import (
    HARMLESS,
    ConnectionLost,
    RowHeld,
    ServerRefuses,
    Taken,
    TakenBack,
    failed,
)
from hello_tornado.sessions.stores.sql.transactions import RollbackFailed

Kind = type[StoreError]

TOO_LARGE: Final = 1153  # of MariaDB; about one record, and not about its neighbours
TOO_LARGE_CURE: Final = ": it is larger than max_allowed_packet; raise that, or lower max_bytes"
SQLSTATES: Final[Mapping[str, Kind]] = {
    "40001": TakenBack,
    "40P01": TakenBack,
    "55P03": RowHeld,
    "57014": StoreTimeout,  # a statement took longer than statement_timeout
    "25006": ServerRefuses,  # read-only
    **dict.fromkeys(("57P01", "57P02", "57P05", "25P03"), ConnectionLost),  # ended by the server
    "3D000": StoreMisconfigured,  # no such database
    "3F000": StoreMisconfigured,  # no such schema
    "42P01": StoreMisconfigured,  # no such table
    "42703": StoreMisconfigured,  # no such column
    "42804": StoreMisconfigured,  # a column has another type
    "42883": StoreMisconfigured,  # no such operator for columns of these types
    "42501": StoreMisconfigured,  # insufficient privilege
}
SQLSTATE_CLASSES: Final[Mapping[str, Kind]] = {
    "08": ConnectionLost,
    "23": Taken,
    "28": StoreUnavailable,  # wrong password
    "53": ServerRefuses,  # out of connections, memory or disk space
    "57": ServerRefuses,  # starting or stopping
    "58": ServerRefuses,  # disk failure
}
MARIADB: Final[Mapping[int, Kind]] = {
    **dict.fromkeys((1213, 1020), TakenBack),  # deadlock, or a certification failure of Galera
    **dict.fromkeys((1050, 1061, 1684), TakenBack),  # another node is creating the same table
    1205: RowHeld,
    **dict.fromkeys((1969, 3024), StoreTimeout),  # max_statement_time, max_execution_time
    **dict.fromkeys((1290, 1792, 1836, 1223), ServerRefuses),  # read-only
    **dict.fromkeys((1040, 1203, 1226), ServerRefuses),  # too many connections
    **dict.fromkeys((1021, 1114, 1026, 1030, 1037, 1038, 1041, 1180), ServerRefuses),  # full
    **dict.fromkeys((1047, 1317), ServerRefuses),  # the node is not ready
    **dict.fromkeys((1053, 1158, 1159, 1160, 1161, 1927, 4031), ConnectionLost),
    **dict.fromkeys((2002, 2003, 2006, 2013, 2055), ConnectionLost),
    **dict.fromkeys((1049, 1054, 1146, 1142, 1143, 1044, 1665), StoreMisconfigured),
    TOO_LARGE: StoreError,
    1045: StoreUnavailable,  # wrong password
}
SQLITE: Final[Mapping[int, Kind]] = {
    sqlite3.SQLITE_BUSY: StoreTimeout,
    sqlite3.SQLITE_LOCKED: StoreTimeout,
    sqlite3.SQLITE_CONSTRAINT: Taken,
    sqlite3.SQLITE_ERROR: StoreMisconfigured,  # no such table or column
    **dict.fromkeys((sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT), StoreMisconfigured),
}
# These errors name columns, tables and databases, but never the data of a session.
TOLD_BY_THE_DRIVER: Final = (StoreUnavailable, StoreMisconfigured)
ROLLBACK_FAILED: Final = "a transaction could not be rolled back"
WITHOUT_CODE: Final[Mapping[str, Kind]] = {  # messages of psycopg while it connects
    r'invalid connection option|FATAL: +database ".*" does not exist': StoreMisconfigured,
    r"FATAL: +(sorry, too many clients|remaining connection slots|the database system is)": (
        ServerRefuses
    ),
}


def judge(error: Exception) -> Exception:
    """Return the error to raise instead of an error of a driver."""
    match error:
        case DBAPIError():
            return _judge_driver(error)
        case RollbackFailed():
            judged = judge(error.reason)
            is_lost = isinstance(judged, HARMLESS)
            return failed(ConnectionLost, ROLLBACK_FAILED, None) if is_lost else judged
        case PendingRollbackError():
            return failed(ConnectionLost, "the connection broke", None)
        case OSError():
            return failed(ConnectionLost, _first_line(error), error)
    return error


def _judge_driver(error: DBAPIError) -> StoreError:
    code = _code(error.orig)
    kind = _kind(error, code)
    if issubclass(kind, StoreTimeout):
        return failed(kind, "it did not answer in time", error)
    if issubclass(kind, TOLD_BY_THE_DRIVER):
        return failed(kind, _first_line(error.orig), error)
    what = type(error.orig).__name__ if code is None else f"{type(error.orig).__name__} {code}"
    cure = TOO_LARGE_CURE if code == TOO_LARGE else ""
    return failed(kind, f"the database refused a value or a statement ({what}){cure}", None)


def _kind(error: DBAPIError, code: str | int | None) -> Kind:
    known: Kind | None = None
    if isinstance(code, str):
        known = SQLSTATES.get(code) or SQLSTATE_CLASSES.get(code[:2])
    elif isinstance(error.orig, sqlite3.Error) and code is not None:
        known = SQLITE.get(code & 0xFF)
    elif code is not None:
        known = MARIADB.get(code)
    if known is not None and not (error.connection_invalidated and issubclass(known, HARMLESS)):
        return known
    if isinstance(error, IntegrityError):
        return Taken
    for words, kind in WITHOUT_CODE.items():
        if re.search(words, str(error.orig)):
            return kind
    if error.connection_invalidated:
        return ConnectionLost
    if isinstance(error, OperationalError | InterfaceError):
        return StoreUnavailable
    return StoreError


def _code(error: Any) -> str | int | None:
    """Return the SQLSTATE of a PostgreSQL error, or the number of a MariaDB or SQLite error."""
    arguments = getattr(error, "args", ())
    if arguments and isinstance(arguments[0], int):
        return arguments[0]
    code = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorcode", None)
    return code if isinstance(code, str | int) else None


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0]

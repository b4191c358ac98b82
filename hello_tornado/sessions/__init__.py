"""Server-side sessions for Tornado: a signed cookie contains an id, and a store has the data.

Import all documented names from here. Names that need an optional package are loaded when they are
used. Errors, events and test utilities are in the modules `errors`, `events` and `testing`; the
types for writing a store are in `stores`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hello_tornado.sessions.carriers.cookies import CookiePolicy
from hello_tornado.sessions.carriers.header_token import TokenPolicy
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.events import EndedReason
from hello_tornado.sessions.manager.manager import SessionManager
from hello_tornado.sessions.records.lifetimes import Lifetimes
from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.session.state import Flash
from hello_tornado.sessions.stores import Store, open_store
from hello_tornado.sessions.web.account.handlers import account_routes
from hello_tornado.sessions.web.door import SessionDoor
from hello_tornado.sessions.web.mixin import SessionHandler, SessionMixin
from hello_tornado.sessions.web.websocket import SessionWebSocketHandler, WebSocketSessionMixin

if TYPE_CHECKING:
    from hello_tornado.sessions.encryption import AesGcm, new_encryption_key
    from hello_tornado.sessions.metrics import SessionMetrics
    from hello_tornado.sessions.stores.redis.store import RedisStore
    from hello_tornado.sessions.stores.sql.store import SqlStore

__all__ = [
    "AesGcm",
    "CookiePolicy",
    "EndedReason",
    "Flash",
    "Lifetimes",
    "RedisStore",
    "Session",
    "SessionDoor",
    "SessionHandler",
    "SessionManager",
    "SessionMetrics",
    "SessionMixin",
    "SessionWebSocketHandler",
    "SqlStore",
    "Store",
    "TokenPolicy",
    "WebSocketSessionMixin",
    "account_routes",
    "new_encryption_key",
    "open_store",
]

WITH_AN_EXTRA = {
    "AesGcm": "encryption",
    "RedisStore": "redis",
    "SessionMetrics": "metrics",
    "SqlStore": "sql",
    "new_encryption_key": "encryption",
}
MODULES = {
    "encryption": "encryption",
    "metrics": "metrics",
    "redis": "stores.redis.store",
    "sql": "stores.sql.store",
}

if not TYPE_CHECKING:  # so that type checkers report unknown names

    def __getattr__(name: str) -> Any:
        if name not in WITH_AN_EXTRA:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        extra = WITH_AN_EXTRA[name]
        try:
            return getattr(import_module(f"{__name__}.{MODULES[extra]}"), name)
        except ModuleNotFoundError as missing:
            raise ConfigurationError(
                f"{name} needs the package {missing.name}: pip install 'hello-tornado[{extra}]'"
            ) from missing

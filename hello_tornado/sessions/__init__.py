"""Server-side sessions for Tornado: a signed cookie carries an id, a store carries the data."""

from hello_tornado.sessions.cookies import CookiePolicy
from hello_tornado.sessions.lifetimes import Lifetimes
from hello_tornado.sessions.manager import SessionManager
from hello_tornado.sessions.session import Session
from hello_tornado.sessions.stores import Store, open_store
from hello_tornado.sessions.web import SessionMixin
from hello_tornado.sessions.websocket import WebSocketSessionMixin

__all__ = [
    "CookiePolicy",
    "Lifetimes",
    "Session",
    "SessionManager",
    "SessionMixin",
    "Store",
    "WebSocketSessionMixin",
    "open_store",
]

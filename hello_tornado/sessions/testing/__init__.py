"""For tests: of an application with sessions, and of a store of your own.

    class Test(SessionTestCase):
        def get_app(self):
            manager = SessionManager("memory://", clock=self.clock)
            return Application([("/", Home)], cookie_secret=SECRET, session_manager=manager)

        def test_home(self):
            self.login("ada", n=3)
            assert self.fetch("/").body == b"Hello ada, 3"

`visiting` is for async tests, `hello_tornado.sessions.testing.pytest_plugin` has fixtures, and
`StoreContract` the tests of a store.
"""

from hello_tornado.sessions.testing.client import SessionTestCase
from hello_tornado.sessions.testing.clock import Clock
from hello_tornado.sessions.testing.contract import (
    HOUR,
    NOW,
    StoreContract,
    make_record,
    newer,
    renewed,
)
from hello_tornado.sessions.testing.faults import FaultyStore
from hello_tornado.sessions.testing.visitor import Visitor, session_headers, visiting

__all__ = [
    "HOUR",
    "NOW",
    "Clock",
    "FaultyStore",
    "SessionTestCase",
    "StoreContract",
    "Visitor",
    "make_record",
    "newer",
    "renewed",
    "session_headers",
    "visiting",
]

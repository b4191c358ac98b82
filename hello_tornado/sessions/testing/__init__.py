"""For tests: of an application with sessions, and of a store of one's own.

class Test(SessionTestCase):
def get_app(self):
manager = SessionManager("memory://")
return Application([("/", Home)], cookie_secret=SECRET, session_manager=manager)

def test_home(self):
self.login("ada", n=3)
assert self.fetch("/").body == b"Hello ada, 3"
"""

from hello_tornado.sessions.testing.client import SessionTestCase, session_headers
from hello_tornado.sessions.testing.contract import (
    HOUR,
    NOW,
    StoreContract,
    make_record,
    newer,
    renewed,
)

__all__ = [
    "HOUR",
    "NOW",
    "SessionTestCase",
    "StoreContract",
    "make_record",
    "newer",
    "renewed",
    "session_headers",
]

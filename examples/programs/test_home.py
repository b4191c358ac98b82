from tornado.web import Application, authenticated
from hello_tornado.sessions import SessionHandler, SessionManager
from hello_tornado.sessions.testing import SessionTestCase

class Home(SessionHandler):
    @authenticated
    def get(self):
        self.write(f"Hello {self.current_user}, {self.session['n']}")

class Test(SessionTestCase):
    def get_app(self):
        manager = SessionManager("memory://")
        return Application([("/", Home)], cookie_secret="x" * 40, session_manager=manager)

    def test_home(self):
        self.login("ada", n=3)
        assert self.fetch("/").body == b"Hello ada, 3"

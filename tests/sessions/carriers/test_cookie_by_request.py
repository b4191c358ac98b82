"""A manager's `cookie` that is a function: the cookie follows the request."""

from fakes import SECRET
from tornado.httputil import HTTPServerRequest
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application, RequestHandler

from hello_tornado.sessions import CookiePolicy, SessionManager, SessionMixin
from hello_tornado.sessions.stores.memory import MemoryStore


class ByPath(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.session.increment("n")
        self.write(f"{self.session['n']}")


def policy_by_path(request: HTTPServerRequest) -> CookiePolicy:
    area = request.path.split("/")[1]
    return CookiePolicy(name=f"session-{area}", path=f"/{area}", samesite="strict")


class TestACookieByRequest(AsyncHTTPTestCase):
    def get_app(self) -> Application:
        return Application(
            [("/(?:shop|admin)/.*", ByPath)],
            cookie_secret=SECRET,
            session_manager=SessionManager(MemoryStore(), cookie=policy_by_path),
        )

    def test_each_request_has_the_cookie_of_its_area(self) -> None:
        jar = []
        for area in ("shop", "admin"):
            given = self.fetch(f"/{area}/").headers["Set-Cookie"]
            assert given.startswith(f"session-{area}=")
            assert f"; Path=/{area};" in given
            jar.append(given.partition(";")[0])
        cookies = {"Cookie": "; ".join(jar)}
        assert self.fetch("/shop/cart", headers=cookies).body == b"2"
        assert self.fetch("/shop/cart", headers=cookies).body == b"3"
        assert self.fetch("/admin/", headers=cookies).body == b"2"

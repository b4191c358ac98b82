"""Whether a request to another program comes from somebody who has logged in here."""

from typing import Final
from urllib.parse import quote, urlencode

from hello_tornado.handlers.base import LOCAL_PATH, BaseHandler

ASKED_FOR: Final = ("X-Original-URI", "X-Forwarded-Uri")  # nginx by our example; Traefik and Caddy
LEFT_AS_THEY_ARE: Final = "!#$&'()*+,/:;=?@[]-._~"  # in a user's id that goes into a header


class CheckHandler(BaseHandler):
    """GET /auth/check: a proxy asks it before it lets a request through to another program.

    200 with the user's id in `X-Auth-User`, or 401 with the way to the login in `X-Auth-Login`.
    With the query `?redirect` a page that a browser wants to show is sent to the login instead.
    """

    is_routine = True

    def get(self) -> None:
        """The answer, without a body."""
        user_id = self.session.user_id
        if user_id is not None:
            self.set_header("X-Auth-User", quote(user_id, safe=LEFT_AS_THEY_ARE))
            return
        self.set_header("X-Auth-Login", self._login())
        if "redirect" in self.request.query_arguments and self._wants_a_page():
            self.redirect(self._login(), status=303)
        else:
            self.set_status(401)
            self.is_told = True  # it is no event that somebody has not logged in yet

    def _login(self) -> str:
        """The address of the login, and with it the page that was asked for, if it is ours."""
        headers, login = self.request.headers, self.settings["login_url"]
        back = next((headers[name] for name in ASKED_FOR if name in headers), "")
        target = f"{login}?{urlencode({'next': back})}"
        return target if all(map(LOCAL_PATH.fullmatch, (back, target))) else str(login)

    def _wants_a_page(self) -> bool:
        headers = self.request.headers
        if headers.get("X-Forwarded-Method", "GET") not in {"GET", "HEAD"}:
            return False
        mode = headers.get("Sec-Fetch-Mode")  # which browsers send over https
        return "text/html" in headers.get("Accept", "") if mode is None else mode == "navigate"

"""Handlers that several files of these tests use, and a client that keeps its cookie.

Each file of tests has its routes in `ROUTES`; those of `SHARED` are there in all of them.
"""

import json
from typing import Any

from tornado import gen
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.web import RequestHandler, authenticated

from hello_tornado.sessions import SessionMixin

Routes = dict[str, type[RequestHandler]]


class Counting(SessionMixin, RequestHandler):
    """Counts, and answers in the style that a subclass shows."""

    def count(self) -> int:
        return self.session.increment("n")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.finish(f"error {status_code}")


class Write(Counting):
    def get(self) -> None:
        self.write(f"n={self.count()}")

    def head(self) -> None:
        self.get()


class AwaitFinish(Counting):
    async def get(self) -> None:
        self.count()
        await self.finish("done")
        self.application.settings["after_finish"].append(self.application.settings["store"].calls)


class AwaitRender(Counting):
    async def get(self) -> None:
        await self.render("page.html", n=self.count())


class Redirect(Counting):
    def get(self) -> None:
        self.count()
        self.redirect("/elsewhere")


class AwaitFlush(Counting):
    async def get(self) -> None:
        self.count()
        self.write("first ")
        await self.flush()
        self.write("second")


class Coroutine(Counting):
    @gen.coroutine
    def get(self) -> Any:
        self.count()
        yield gen.moment
        yield self.finish("old style")


class Reading(Counting):
    def get(self) -> None:
        self.finish({"data": dict(self.session), "user": self.current_user})


class Untouched(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.write("no session needed")


class Login(Counting):
    def get(self) -> None:
        self.session.login("ada")
        self.redirect("/read")


class Logout(Counting):
    def get(self) -> None:
        self.session.destroy()
        self.redirect("/read")


class Private(Counting):
    @authenticated
    def get(self) -> None:
        self.write(f"private to {self.current_user}")


SHARED: Routes = {
    "/write": Write,
    "/await-finish": AwaitFinish,
    "/await-render": AwaitRender,
    "/redirect": Redirect,
    "/await-flush": AwaitFlush,
    "/coroutine": Coroutine,
    "/read": Reading,
    "/untouched": Untouched,
    "/login": Login,
    "/logout": Logout,
    "/private": Private,
}


class Browser:
    """A client that keeps its cookie, and follows nothing."""

    def __init__(self, client: AsyncHTTPClient, base_url: str) -> None:
        self._client = client
        self.base_url = base_url
        self.cookie: str | None = None

    async def get(self, path: str, method: str = "GET", **headers: str) -> HTTPResponse:
        if self.cookie is not None:
            headers["Cookie"] = self.cookie
        response = await self._client.fetch(
            HTTPRequest(self.base_url + path, method, headers, follow_redirects=False),
            raise_error=False,
        )
        for cookie in response.headers.get_list("Set-Cookie"):
            self.cookie = None if "Max-Age=0" in cookie else cookie.partition(";")[0]
        return response

    async def data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((await self.get("/read")).body)["data"]
        return data

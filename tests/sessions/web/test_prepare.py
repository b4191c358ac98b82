"""The session is there in whichever `prepare()` a handler has."""

import asyncio
import gc
import weakref
from typing import Any

import pytest
from sites import Jar, site
from tornado import gen
from tornado.web import RequestHandler

from hello_tornado.sessions import SessionHandler
from hello_tornado.sessions.stores.memory import MemoryStore


class Prepared(SessionHandler):
    """Each way in which a handler may have a `prepare()` of its own."""

    def get(self) -> None:
        self.write(str(self.session["prepared"]))


class Plainly(Prepared):
    def prepare(self) -> None:
        self.session.increment("prepared")


class PlainlyAndCalling(Prepared):
    def prepare(self) -> None:
        super().prepare()
        self.session.increment("prepared")


class Coroutine(Prepared):
    async def prepare(self) -> None:
        await asyncio.sleep(0)
        self.session.increment("prepared")


class CoroutineAndAwaiting(Coroutine):
    async def prepare(self) -> None:
        await super().prepare()


class CoroutineAndAwaitingFirst(Prepared):
    async def prepare(self) -> None:
        await super().prepare()
        self.session.increment("prepared")


class Generator(Prepared):
    @gen.coroutine
    def prepare(self) -> Any:
        yield super().prepare()
        self.session.increment("prepared")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "kind",
    [
        Plainly,
        PlainlyAndCalling,
        Coroutine,
        CoroutineAndAwaiting,
        CoroutineAndAwaitingFirst,
        Generator,
    ],
)
async def test_whichever_prepare_a_handler_has_its_session_is_there(
    kind: type[RequestHandler],
) -> None:
    async with site(MemoryStore(), [("/", kind)]) as here:
        jar = Jar()
        for count in (b"1", b"2", b"3"):
            assert (await here.ask(jar, "/")).body == count


class Uniting(SessionHandler):
    def get(self) -> None:
        self.session |= {"a": 1}
        self.write(self.session.copy())


@pytest.mark.gen_test
async def test_a_handler_may_unite_its_session_with_a_dict() -> None:
    async with site(MemoryStore(), [("/", Uniting)]) as here:
        jar = Jar()
        assert (await here.ask(jar, "/")).body == b'{"a": 1}'
        assert await here.data(jar) == {"a": 1}


@pytest.mark.gen_test
async def test_a_handler_that_has_answered_is_freed_at_once() -> None:
    """It refers to itself while the request is under way."""
    handlers: list[weakref.ref[RequestHandler]] = []

    class Noted(Plainly):
        def initialize(self) -> None:
            handlers.append(weakref.ref(self))

    settings = {"xsrf_cookies": True}
    async with site(MemoryStore(), [("/", Noted)], settings=settings) as here:
        gc.disable()
        try:
            for method, code in (("GET", 200), ("POST", 403), ("OPTIONS", 405)):
                assert (await here.ask(Jar(), "/", method)).code == code
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            assert [one() for one in handlers] == [None] * 3
        finally:
            gc.enable()

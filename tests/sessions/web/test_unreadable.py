"""A record that cannot be read is a 503, and no anonymous visitor; its user can end it."""

import logging
from typing import Any

import pytest
from sites import Jar, site
from tornado.web import RequestHandler

from hello_tornado.sessions import SessionManager, SessionMixin, Store
from hello_tornado.sessions.encryption import AesGcm, new_encryption_key
from hello_tornado.sessions.events import RecordUnreadable
from hello_tornado.sessions.records.record import Saved, Swap
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.web.account.handlers import account_routes

pytestmark = pytest.mark.gen_test

OLD, NEW = new_encryption_key(), new_encryption_key()


class Public(SessionMixin, RequestHandler):
    session_required = False

    def get(self) -> None:
        self.write({"user": self.session.user_id})

    def post(self) -> None:
        self.session["n"] = 1


ROUTES: Any = [("/public", Public), *account_routes("/account")]


async def test_a_lost_key_is_a_503_and_the_cookie_stays(any_store: Store) -> None:
    manager = SessionManager(any_store, cipher=AesGcm([OLD]), log=False)
    async with site(any_store, ROUTES, cipher=AesGcm([NEW])) as app:
        lost = app.settings["session_manager"]
        app.settings["session_manager"] = manager
        jar = await app.logged_in()
        app.settings["session_manager"] = lost
        for path in ("/show", "/show", "/account/sessions"):
            answer = await app.ask(jar, path)
            assert (answer.code, answer.headers.get_list("Set-Cookie")) == (503, [])
        login = await app.ask(jar, "/login", "POST")
        assert (login.code, login.headers.get_list("Set-Cookie")) == (503, [])
        public = await app.ask(jar, "/public")
        assert (public.code, public.body) == (200, b'{"user": null}')
        assert public.headers.get_list("Set-Cookie") == []
        assert (await app.ask(jar, "/public", "POST")).code == 503
        assert {type(event) for event in app.events} == {RecordUnreadable}
        app.settings["session_manager"] = manager
        assert await app.user(jar) == "ada", "the key is back"


async def test_its_user_can_end_it_from_another_device(any_store: Store) -> None:
    manager = SessionManager(any_store, cipher=AesGcm([OLD]), log=False)
    async with site(any_store, ROUTES, cipher=AesGcm([NEW])) as app:
        lost = app.settings["session_manager"]
        app.settings["session_manager"] = manager
        old = await app.logged_in()
        app.settings["session_manager"] = lost
        jar = await app.logged_in()
        newest, unreadable = await lost.sessions_of("ada")
        assert (unreadable.user_id, dict(unreadable)) == ("ada", {})
        assert await lost.find(unreadable.handle) is None
        assert await lost.find(newest.handle) is not None
        page = await app.ask(jar, "/account/sessions")
        assert unreadable.handle in page.body.decode()
        path = f"/account/sessions/{unreadable.handle}/revoke"
        assert (await app.ask(jar, path, "POST")).code == 303
        assert len(await lost.sessions_of("ada")) == 1
        assert (await app.ask(old, "/show")).code == 200
        eve = await app.logged_in("eve")
        path = f"/account/sessions/{newest.handle}/revoke"
        assert (await app.ask(eve, path, "POST")).code == 404


JUNK: list[bytes] = [
    b"",
    b"[]",
    b'{"data": []}',
    b'{"meta": 7}',
    *(
        b'{"meta": {%s}}' % member
        for member in (
            b'"device": "a phone"',
            b'"device": {"user_agent": 1, "address": "::1"}',
            b'"device": {"user_agent": "a phone"}',
            b'"ends_at": "tomorrow"',
            b'"ends_at": 1e300',
            b'"ends_at": 400000000000000000',
            b'"expiries": ["a"]',
            b'"expiries": {"a": null}',
            b'"flashes": {"a": "Saved"}',
            b'"flashes": {"a": ["info", 1]}',
            b'"idle_timeout": true',
            b'"idle_timeout": -1',
            b'"leases": {"a": "b"}',
            b'"remember": "yes"',
            b'"versions": {"Cart": "1"}',
            b'"xsrf": {}',
        )
    ),
]


@pytest.mark.parametrize("junk", JUNK, ids=repr)
async def test_what_another_program_has_written_is_a_503(junk: bytes, caplog: Any) -> None:
    store = MemoryStore()
    async with site(store, ROUTES) as app:
        jar, other = await app.logged_in(), await app.logged_in()
        newest, listed = await store.find_by_user("ada")
        old = (await store.load([listed.key]))[listed.key]
        swap = Swap(old, old._replace(version=old.version + 1, data=junk))
        assert await store.save([swap]) == [Saved()]
        answer = await app.ask(jar, "/show")
        assert (answer.code, answer.headers.get_list("Set-Cookie")) == (503, [])
        assert (await app.ask(jar, "/public")).code == 200
        assert [one.handle for one in await app.manager.sessions_of("ada")] == [
            newest.handle,
            old.handle,
        ]
        assert old.handle in (await app.ask(other, "/account/sessions")).body.decode()
        assert await app.manager.revoke(old.handle) == 1
    assert "Traceback" not in caplog.text


async def test_the_log_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    manager = SessionManager(store, cipher=AesGcm([OLD]), log=False)
    async with site(store, ROUTES, cipher=AesGcm([NEW])) as app:
        lost = app.settings["session_manager"]
        app.settings["session_manager"] = manager
        jar = await app.logged_in()
        app.settings["session_manager"] = lost
        with caplog.at_level(logging.INFO):
            for path in ("/show", "/public") * 50:
                await app.ask(jar, path)
        lines = [one for one in caplog.records if one.name == "hello_tornado.sessions"]
        assert [line.getMessage().split()[0] for line in lines] == ["RecordUnreadable"]
        assert "Traceback" not in caplog.text


async def test_a_save_that_meets_it_is_a_503_and_writes_nothing() -> None:
    """Another process, with a new key, has written between the load and the save."""
    store = MemoryStore()

    class Meets(SessionMixin, RequestHandler):
        async def post(self) -> None:
            self.session["n"] = 1
            handle = self.session.handle or ""
            both = AesGcm([NEW, OLD])
            other = SessionManager(store, cipher=both, log=False)
            await other.update(handle, lambda session: session.increment("theirs"))

    async with site(store, [("/meets", Meets)], cipher=AesGcm([OLD])) as app:
        jar: Jar = await app.logged_in()
        assert (await app.ask(jar, "/meets", "POST")).code == 503
        both = SessionManager(store, cipher=AesGcm([NEW, OLD]), log=False)
        (session,) = await both.sessions_of("ada")
        assert dict(session) == {"theirs": 1}

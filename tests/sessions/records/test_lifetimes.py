"""One model of time: what `Lifetimes` say holds for the session, for its touches and its cookie."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from managing import committed, stored
from sites import Jar, site
from tornado.web import RequestHandler

from hello_tornado.sessions import (
    CookiePolicy,
    Lifetimes,
    SessionManager,
    SessionMixin,
    Store,
)
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.records.lifetimes import MICROSECOND, OwnLifetime
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.testing import HOUR, NOW, make_record

SECOND = 1_000_000
DAY = 24 * HOUR


class Enter(SessionMixin, RequestHandler):
    def post(self) -> None:
        told = self.get_argument("remember", "")
        remember = {"": None, "yes": True, "no": False}[told]
        self.session.login("ada", remember=remember)


class Short(SessionMixin, RequestHandler):
    def post(self) -> None:
        self.session.idle_timeout = 30


ROUTES = [("/enter", Enter), ("/short", Short)]


@pytest.mark.gen_test
@pytest.mark.parametrize("touch_interval", [timedelta(seconds=60), timedelta(days=1)])
@pytest.mark.parametrize("rolling", [True, False])
@pytest.mark.parametrize("idle", [2, 30, 59, 240])
async def test_a_session_in_use_never_runs_out(
    clock: Any, idle: int, touch_interval: timedelta, *, rolling: bool
) -> None:
    """A page that is read more often than the idle timeout, with the cookies of the answers."""
    lifetimes = Lifetimes(idle=idle)
    options: Any = {"touch_interval": touch_interval, "rolling": rolling, "lifetimes": lifetimes}
    async with site(MemoryStore(), ROUTES, clock=clock, **options) as app:
        jar = await app.logged_in()
        for part in (0.3, 0.9, 0.26, 0.7, 0.99):
            clock.advance(seconds=idle * part)
            assert await app.user(jar) == "ada"
        clock.advance(seconds=idle)
        assert await app.user(jar) is None


@pytest.mark.gen_test
async def test_a_session_with_an_idle_timeout_of_its_own_never_runs_out_in_use(
    any_store: Store, clock: Any
) -> None:
    async with site(any_store, ROUTES, clock=clock) as app:
        jar = await app.logged_in()
        await app.ask(jar, "/short", "POST")
        for _ in range(5):
            clock.advance(seconds=10)
            assert await app.user(jar) == "ada"
        clock.advance(seconds=30)
        assert await app.user(jar) is None


@pytest.mark.gen_test
async def test_the_touch_interval_stands_where_it_is_short_enough(clock: Any) -> None:
    manager = SessionManager(MemoryStore(), clock=clock)
    session = await manager.open(await stored(manager, a=1))

    def touch_after() -> int:
        return session._touch_after(manager.rules)

    assert touch_after() == 60 * SECOND
    session.idle_timeout = 100
    assert touch_after() == 25 * SECOND
    session.idle_timeout = None
    session.login("ada", remember=True)
    assert touch_after() == 60 * SECOND, "no use moves its end"


LIVES = [
    # Lifetimes, what the login is told, seconds until the session ends
    (Lifetimes(), "", 3600),
    (Lifetimes(idle=14 * 86400, absolute=None), "", 14 * 86400),
    (Lifetimes(idle=14 * 86400), "", 86400),
    (Lifetimes(idle=None, absolute=7200), "", 7200),
    (Lifetimes(remembered=14 * 86400), "yes", 14 * 86400),
    (Lifetimes(idle=60, absolute=90), "yes", 30 * 86400),
]


@pytest.mark.gen_test
@pytest.mark.parametrize(("lifetimes", "remember", "seconds"), LIVES)
@pytest.mark.parametrize("persist", [True, False])
async def test_the_cookie_lasts_as_long_as_the_session_and_an_hour(
    clock: Any, lifetimes: Lifetimes, remember: str, seconds: int, *, persist: bool
) -> None:
    cookie = CookiePolicy(persist=persist)
    async with site(MemoryStore(), ROUTES, clock=clock, lifetimes=lifetimes, cookie=cookie) as app:
        jar = Jar()
        answer = await app.ask(jar, f"/enter?remember={remember}", "POST")
        header = answer.headers["Set-Cookie"]
        if persist or remember == "yes":
            assert f"; Max-Age={seconds + 3600};" in header
        else:
            assert "Max-Age" not in header
        clock.advance(seconds=seconds - 1)
        assert (await app.manager.sessions_of("ada"))[0].expires_in == timedelta(seconds=1)
        clock.advance(seconds=1)
        assert await app.user(jar) is None


@pytest.mark.gen_test
async def test_a_login_that_is_not_to_be_remembered_ends_with_the_browser(clock: Any) -> None:
    async with site(MemoryStore(), ROUTES, clock=clock) as app:
        jar = Jar()
        answer = await app.ask(jar, "/enter?remember=no", "POST")
        assert "Max-Age" not in answer.headers["Set-Cookie"]
        clock.advance(hours=1)
        assert await app.user(jar) is None, "its lifetimes are the usual ones"
        await app.ask(jar, "/enter?remember=yes", "POST")
        again = await app.ask(jar, "/enter", "POST")
        assert "; Max-Age=2595600;" in again.headers["Set-Cookie"], "nothing said, nothing changed"
        assert jar
        usual = await app.ask(jar, "/enter?remember=no", "POST")
        assert "Max-Age" not in usual.headers["Set-Cookie"]


@pytest.mark.gen_test
async def test_a_remembered_session_outlives_both_timeouts(any_store: Store, clock: Any) -> None:
    async with site(any_store, ROUTES, clock=clock, lifetimes=Lifetimes(idle=60)) as app:
        jar = Jar()
        await app.ask(jar, "/enter?remember=yes", "POST")
        for _ in range(29):
            clock.advance(days=1)
            assert await app.user(jar) == "ada"
        clock.advance(days=1)
        assert await app.user(jar) is None


@pytest.mark.gen_test
async def test_another_user_is_not_remembered_for_the_first(clock: Any) -> None:
    manager = SessionManager(MemoryStore(), clock=clock)
    session = await manager.open(None)
    session.login("ada", remember=True)
    session["a"] = 1
    session = await manager.open(await committed(manager, session))
    session.login("bob")
    assert session.expires_in == timedelta(hours=1)


@pytest.mark.gen_test
@pytest.mark.parametrize("wrong", ["on", "", 1, 0, timedelta(days=14)])
async def test_remember_is_true_false_or_none(clock: Any, wrong: Any) -> None:
    manager = SessionManager(MemoryStore(), clock=clock)
    session = await manager.open(None)
    with pytest.raises(TypeError, match=r"remember=bool\("):
        session.login("ada", remember=wrong)
    assert not session.modified


@pytest.mark.gen_test
async def test_a_session_that_began_while_the_clock_was_ahead_is_over(
    any_store: Store, clock: Any
) -> None:
    ahead = timedelta(days=400) // MICROSECOND
    clock.now += ahead
    async with site(any_store, ROUTES, clock=clock) as app:
        jars = [await app.logged_in(), Jar()]
        await app.ask(jars[1], "/enter?remember=yes", "POST")
        clock.now -= ahead
        assert [await app.user(jar) for jar in jars] == [None, None]
        assert await app.manager.sessions_of("ada") == []
        assert [one async for one in app.manager.all()] == []
        jar = await app.logged_in()
        assert await app.user(jar) == "ada"


@pytest.mark.gen_test
@pytest.mark.parametrize("lifetimes", [Lifetimes(), Lifetimes(absolute=None)])
async def test_it_lives_no_longer_than_others_when_its_time_comes(
    clock: Any, lifetimes: Lifetimes
) -> None:
    ahead = timedelta(days=400) // MICROSECOND
    clock.now += ahead
    async with site(MemoryStore(), ROUTES, clock=clock, lifetimes=lifetimes) as app:
        jar = await app.logged_in()
        clock.now -= ahead
        assert await app.user(jar) is None
        clock.now += ahead
        assert await app.user(jar) == "ada"
        clock.advance(hours=1)
        assert await app.user(jar) is None


@pytest.mark.gen_test
@pytest.mark.parametrize("behind", [timedelta(hours=14), timedelta(days=365 * 30)])
async def test_a_clock_that_is_behind_ends_nobodys_session(
    any_store: Store, clock: Any, behind: timedelta
) -> None:
    """A small computer without a battery begins in the past, until it has asked for the time."""
    async with site(any_store, ROUTES, clock=clock) as app:
        jars = [await app.logged_in(), Jar()]
        await app.ask(jars[1], "/enter?remember=yes", "POST")
        clock.now -= behind // MICROSECOND
        assert [await app.user(jar) for jar in jars] == [None, None]
        assert await app.manager.purge() == 0
        clock.now += behind // MICROSECOND
        assert [await app.user(jar) for jar in jars] == ["ada", "ada"]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "when",
    [
        datetime.max.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
        datetime(3000, 1, 1, tzinfo=UTC),
        datetime.min.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=12))),
        datetime(2040, 1, 1),  # noqa: DTZ001 - refused for that
        "tomorrow",
    ],
    ids=str,
)
async def test_an_end_that_cannot_be_is_refused(clock: Any, when: Any) -> None:
    manager = SessionManager(MemoryStore(), clock=clock, lifetimes=Lifetimes(absolute=None))
    session = await manager.open(await stored(manager, a=1))
    with pytest.raises(ValueError, match="expires_at"):
        session.expires_at = when
    assert not session.modified
    assert session.expires_in == timedelta(hours=1)


@pytest.mark.gen_test
async def test_a_login_is_good_though_the_session_was_used_while_the_clock_was_ahead(
    any_store: Store, clock: Any
) -> None:
    async with site(any_store, ROUTES, clock=clock) as app:
        jar = await app.logged_in()
        clock.advance(minutes=50)
        assert await app.user(jar) == "ada"
        clock.advance(minutes=-40)
        await app.ask(jar, "/enter", "POST")
        assert await app.user(jar) == "ada"
        clock.advance(hours=24)
        assert await app.user(jar) is None


@pytest.mark.gen_test
async def test_servers_whose_clocks_differ_a_little_share_their_sessions(clock: Any) -> None:
    store = MemoryStore()
    fast = SessionManager(store, clock=lambda: clock.now + 4 * 60 * SECOND)
    slow = SessionManager(store, clock=clock)
    session_id = await stored(fast, a=1)
    assert dict(await slow.open(session_id)) == {"a": 1}


@given(
    st.integers(1, 60 * DAY) | st.none(),
    st.integers(1, 60 * DAY) | st.none(),
    st.integers(1, 60 * DAY),
    st.builds(
        OwnLifetime,
        st.none() | st.booleans(),
        st.none() | st.integers(1, 60 * DAY),
        st.none() | st.integers(NOW, NOW + 60 * DAY),
    ),
    st.integers(-30 * DAY, 30 * DAY),
    st.integers(0, 30 * DAY),
)
def test_no_session_outlives_what_bounds_it(
    idle: int | None, absolute: int | None, remembered: int, own: OwnLifetime, ago: int, used: int
) -> None:
    if idle is None and absolute is None:
        with pytest.raises(ConfigurationError):
            Lifetimes(idle=None, absolute=None)
        return
    lifetimes = Lifetimes(
        idle=None if idle is None else idle * MICROSECOND,
        absolute=None if absolute is None else absolute * MICROSECOND,
        remembered=remembered * MICROSECOND,
    )
    created_at = NOW - ago
    accessed_at = created_at + used
    ends = lifetimes.expires_at(created_at, accessed_at, own)
    most = remembered if own.remember else absolute
    if most is not None:
        assert ends <= created_at + most
    if own.ends_at is not None:
        assert ends <= own.ends_at
    record = make_record(created_at=created_at, accessed_at=accessed_at, expires_at=ends)
    if absolute is not None and lifetimes.is_living(record, NOW):
        assert NOW < ends <= NOW + max(absolute, remembered) + 300 * SECOND
    interval = lifetimes.touch_after(HOUR, own)
    assert 0 <= interval <= HOUR

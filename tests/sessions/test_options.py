"""Every option is accepted in its natural form, or refused at once by its name."""

import json
import math
import time
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sites import Jar, site
from tornado.web import RequestHandler

from hello_tornado.sessions import (
    CookiePolicy,
    Lifetimes,
    SessionManager,
    SessionMixin,
    WebSocketSessionMixin,
    open_store,
    options,
)
from hello_tornado.sessions.carriers.carrier import carrier_of
from hello_tornado.sessions.carriers.header_token import TokenPolicy
from hello_tornado.sessions.encryption import AesGcm, new_encryption_key
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.records.serializers import JsonSerializer
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.web.account.handlers import account_routes

SECRET = new_encryption_key()


async def later(_request: object) -> str:
    return "i" * 36


OPTIONS = [
    ("touch_interval", timedelta(seconds=-1), "at least 0:00:00"),
    ("touch_interval", -1, "at least 0:00:00"),
    ("touch_interval", "60s", "a number of seconds"),
    ("touch_interval", True, "a number of seconds"),
    ("touch_interval", None, "a number of seconds"),
    ("touch_interval", float("nan"), "a number of seconds"),
    ("touch_interval", float("inf"), "a number of seconds"),
    ("touch_interval", 10**400, "a number of seconds"),
    ("remember_ended", timedelta.max, "at most 36500 days"),
    ("remember_ended", 10**12, "at most 36500 days"),
    ("lifetimes", timedelta(hours=1), "Lifetimes(idle=timedelta(hours=1))"),
    ("lifetimes", 3600, "Lifetimes(idle=timedelta(hours=1))"),
    ("lifetimes", Lifetimes, "it is the class Lifetimes"),
    ("serializer", json, "JsonSerializer()"),
    ("serializer", JsonSerializer, "it is the class JsonSerializer"),
    ("cipher", SECRET, "AesGcm([key])"),
    ("cipher", [SECRET], "AesGcm([key])"),
    ("cipher", AesGcm, "it is the class AesGcm"),
    ("resave", "no", "True or False; it is 'no'"),
    ("save_uninitialized", 1, "True or False; it is 1"),
    ("rolling", "no", "True or False; it is 'no'"),
    ("rolling", None, "True or False; it is None"),
    ("unset", "forget", "'keep', 'destroy'"),
    ("unset", None, "'keep', 'destroy'"),
    ("genid", SECRET, "lambda request"),
    ("genid", lambda: "i" * 36, "a function of one argument"),
    ("genid", later, "a function, such as"),
    ("genid", None, "a function, such as"),
    ("max_sessions_per_user", 0, "at least 1"),
    ("max_sessions_per_user", 2.0, "a whole number"),
    ("max_sessions_per_user", "3", "a whole number"),
    ("max_bytes", 0, "at least 1"),
    ("max_bytes", True, "a whole number"),
    ("max_bytes", None, "a whole number"),
    ("hooks", print, "a list"),
    ("hooks", [None], "print"),
    ("hooks", None, "a list"),
    ("log", 1, "True or False"),
    ("metrics", print, "SessionMetrics()"),
    ("metrics", object(), "SessionMetrics()"),
    ("trusted_proxies", "127.0.0.1", "a list"),
    ("trusted_proxies", ["localhost"], "127.0.0.1 or 10.0.0.0/8"),
    ("trusted_proxies", ["10.0.0.1/8"], "without host bits"),
    ("trusted_proxies", [127], "127.0.0.1 or 10.0.0.0/8"),
    ("trusted_proxies", True, "a list"),
    ("hooks", [lambda: None], "a function of one argument"),
    ("clock", time.time, "whole microseconds since 1970"),
    ("clock", time.time_ns, "whole microseconds since 1970"),
    ("clock", lambda: int(time.time()), "whole microseconds since 1970"),
    ("clock", lambda: int(time.time() * 1000), "whole microseconds since 1970"),
    ("clock", lambda _now: 0, "a function of no arguments"),
    ("clock", 1_800_000_000_000_000, "a function"),
]


@pytest.mark.parametrize(
    ("name", "value", "cure"), OPTIONS, ids=[f"{name}-{cure}" for name, _, cure in OPTIONS]
)
def test_a_manager_refuses_an_option_by_its_name(name: str, value: Any, cure: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SessionManager(MemoryStore(), **{name: value})
    message = str(caught.value)
    assert f"SessionManager({name}=…)" in message
    assert cure in message
    assert SECRET not in message


@pytest.mark.parametrize("store", [None, 7, MemoryStore, {}, object(), Path("sessions.db")])
def test_a_manager_refuses_what_is_no_store(store: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"SessionManager\(store=…\) must be a Store"):
        SessionManager(store)


def test_a_manager_opens_the_store_of_a_url() -> None:
    assert isinstance(SessionManager("memory://").store, MemoryStore)
    with pytest.raises(ConfigurationError, match="a URL without a scheme"):
        SessionManager("sessions.db")


def test_numbers_are_seconds() -> None:
    manager = SessionManager("memory://", touch_interval=60, remember_ended=0)
    assert manager.rules.touch_interval == 60_000_000
    assert manager.reason_told_for == 0
    assert Lifetimes(idle=3600, absolute=0.5) == Lifetimes(
        idle=timedelta(hours=1), absolute=timedelta(milliseconds=500)
    )
    assert hash(Lifetimes()) == hash(Lifetimes(idle=3600, absolute=86_400))
    assert repr(Lifetimes(idle=None)) == (
        "Lifetimes(idle=None, absolute=datetime.timedelta(days=1), "
        "remembered=datetime.timedelta(days=30))"
    )


@pytest.mark.parametrize("name", ["idle", "absolute", "remembered"])
@pytest.mark.parametrize(
    "value", [timedelta(0), -1, "1h", False, timedelta.max, timedelta(days=36_501), 10**12]
)
def test_lifetimes_are_durations_whose_end_is_a_date(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"Lifetimes\({name}=…\) must be a timedelta"):
        Lifetimes(**{name: value})


def test_the_longest_lifetimes_end_at_a_date() -> None:
    longest = Lifetimes(idle=options.LONGEST, absolute=None)
    end = longest.expires_at(1_800_000_000_000_000, 1_800_000_000_000_000)
    assert end == 1_800_000_000_000_000 + options.LONGEST // timedelta(microseconds=1)


@pytest.mark.parametrize("url", [None, 7, b"memory://", Path("sessions.db")])
def test_a_store_is_opened_by_a_url(url: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"open_store\(url=…\) must be a URL"):
        open_store(url)


ANYTHING: Any = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=5),
    st.timedeltas(),
    st.datetimes(),
    st.lists(st.text(max_size=5) | st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
    st.sampled_from([json, object, len, print, lambda: None, SessionManager]),
)
CONSTRUCTORS: Any = st.sampled_from(
    [(SessionManager, name) for name in sorted({name for name, _, _ in OPTIONS})]
    + [(CookiePolicy, field.name) for field in fields(CookiePolicy) if field.init]
    + [(Lifetimes, "idle"), (Lifetimes, "absolute"), (TokenPolicy, "header"), (open_store, "url")]
)


@given(CONSTRUCTORS, ANYTHING)
def test_no_option_fails_in_another_way(constructor: Any, value: Any) -> None:
    """Whatever is given: it works, or it is a `ConfigurationError` that says where."""
    make, name = constructor
    needed = {"store": MemoryStore()} if make is SessionManager else {}
    try:
        make(**needed, **{name: value})
    except ConfigurationError as error:
        assert name in str(error) or make is open_store  # noqa: PT017


ATTRIBUTES = [
    (SessionMixin, "session_readonly", True, "write session_read_only"),
    (SessionMixin, "session_read_only", "yes", "True or False"),
    (SessionMixin, "session_touches", False, "write session_touch"),
    (SessionMixin, "session_touch", None, "True or False"),
    (SessionMixin, "session_required", "yes", "True or False"),
    (SessionMixin, "sesion_required", False, "write session_required"),
    (SessionMixin, "session_keeps_alive", True, "write one of session_exclusive, session_le"),
    (SessionMixin, "session_waits", 10, "write session_wait"),
    (SessionMixin, "session_wait", "10s", "a number of seconds"),
    (SessionMixin, "session_lease", 0, "longer than zero"),
    (SessionMixin, "session_readonly", True, "write session_read_only"),
    (SessionMixin, "session_exclusive", "POST", "True, False, or a set of GET"),
    (SessionMixin, "session_exclusive", {"post"}, "True, False, or a set of GET"),
    (WebSocketSessionMixin, "login_requred", False, "write login_required"),
    (WebSocketSessionMixin, "login_required", 0, "True or False"),
]


@pytest.mark.parametrize(("mixin", "name", "value", "cure"), ATTRIBUTES)
def test_a_handlers_class_is_refused_by_its_attributes_name(
    mixin: type, name: str, value: Any, cure: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        type("Page", (mixin, RequestHandler), {name: value})
    assert f"Page.{name} " in str(caught.value)
    assert cure in str(caught.value)


def test_a_handlers_waits_may_be_seconds_and_its_own_names_are_its_own() -> None:
    members: dict[str, Any] = {
        "session_wait": 0,
        "session_lease": 2.5,
        "session_summary": lambda _self: "mine",
    }
    members["session_touch"] = property(lambda _self: False)
    page: Any = type("Page", (SessionMixin, RequestHandler), members)
    assert (page.session_wait, page.session_lease) == (timedelta(0), timedelta(seconds=2.5))


@pytest.mark.parametrize(
    ("options_given", "cure"),
    [
        ({"prefix": "account"}, "prefix=…) must be a path that begins with"),
        ({"prefix": "/account/"}, "prefix=…) must be a path that begins with"),
        ({"prefix": None}, "prefix=…) must be a path that begins with"),
        ({"base": object}, "base=…) must be a subclass of RequestHandler"),
        ({"base": "BaseHandler"}, "base=…) must be a subclass of RequestHandler"),
        ({"template": 7}, "template=…) must be the name of a template"),
    ],
)
def test_account_routes_refuse_an_option_by_its_name(
    options_given: dict[str, Any], cure: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        account_routes(**options_given)
    assert f"account_routes({cure}" in str(caught.value)


@pytest.mark.parametrize("wrong", [{"path": "/app"}, CookiePolicy, "session", 7, True])
def test_a_cookie_that_is_none_is_refused_when_the_manager_is_made(wrong: Any) -> None:
    wanted = r"SessionManager\(cookie=…\) must be a CookiePolicy, a TokenPolicy, or a function"
    with pytest.raises(ConfigurationError, match=wanted):
        SessionManager("memory://", cookie=wrong)


@pytest.mark.gen_test
async def test_the_setting_that_the_cookie_once_was_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Page(SessionMixin, RequestHandler):
        def get(self) -> None:
            self.session["a"] = 1

    settings = {"session_cookie": CookiePolicy()}
    async with site(MemoryStore(), [("/", Page)], settings=settings) as app:
        assert (await app.ask(Jar(), "/")).code == 500
    assert "write SessionManager(cookie=…)" in caplog.text


def test_an_option_that_is_none_is_named_with_its_class() -> None:
    anything: Any = SessionManager
    with pytest.raises(TypeError, match=r"SessionManager.__init__\(\) got .* 'lifetime'"):
        anything("memory://", lifetime=Lifetimes())
    lifetimes: Any = Lifetimes
    with pytest.raises(TypeError, match=r"Lifetimes.__init__\(\) takes 1 positional argument"):
        lifetimes(3600)


def test_a_function_of_the_request_gives_a_cookie_or_is_named() -> None:
    request: Any = object()
    token = TokenPolicy()
    assert carrier_of(lambda _request: token, request) is carrier_of(token, request) is token
    wrong: Any = lambda _request: {"path": "/app"}  # noqa: E731
    SessionManager("memory://", cookie=wrong)
    with pytest.raises(ConfigurationError, match=r"SessionManager\(cookie=…\) .* one to a dict"):
        carrier_of(wrong, request)
    no_argument: Any = lambda: token  # noqa: E731
    with pytest.raises(ConfigurationError, match="a function of one argument"):
        SessionManager("memory://", cookie=no_argument)


@pytest.mark.parametrize("interval", [0, -1, "1h", math.nan, math.inf, timedelta(0), True])
def test_an_interval_of_purges_that_cannot_be_is_refused(interval: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"purge_every=…\) must be a timedelta"):
        SessionManager("memory://", purge_every=interval)


@pytest.mark.gen_test
@pytest.mark.parametrize("batch", [0, -1, "50", None, 1.5, True])
async def test_a_batch_that_cannot_be_is_refused(batch: Any) -> None:
    manager = SessionManager("memory://")
    for call in (
        lambda: SessionManager("memory://", purge_batch=batch),
        lambda: manager.purge(batch=batch),
        lambda: manager.clear(batch=batch),
        lambda: manager.all(batch=batch),
    ):
        with pytest.raises(ConfigurationError, match=r"batch=…\) must be a whole number"):
            call()
    await manager.aclose()

"""Every option is accepted in its natural form, or refused at once by its name."""

import json
import time
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hello_tornado.sessions import CookiePolicy, Lifetimes, SessionManager, open_store, options
from hello_tornado.sessions.encryption import AesGcm, new_encryption_key
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.event_log import EventLog
from hello_tornado.sessions.manager import system_clock
from hello_tornado.sessions.serializers import JsonSerializer
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.tokens import TokenPolicy

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
    ("hooks", EventLog(system_clock), "a list"),
    ("hooks", [None], "EventLog(system_clock)"),
    ("hooks", [lambda: None], "a function of one argument"),
    ("clock", time.time, "whole microseconds since 1970"),
    ("clock", time.time_ns, "whole microseconds since 1970"),
    ("clock", lambda: int(time.time()), "whole microseconds since 1970"),
    ("clock", lambda: int(time.time() * 1000), "whole microseconds since 1970"),
    ("clock", lambda _now: 0, "a function of no arguments"),
    ("clock", 1_800_000_000_000_000, "a function"),
]


@pytest.mark.parametrize(("name", "value", "cure"), OPTIONS)
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
    assert manager.touch_after == 60_000_000
    assert manager.remember_ended == timedelta(0)
    assert Lifetimes(idle=3600, absolute=0.5) == Lifetimes(
        idle=timedelta(hours=1), absolute=timedelta(milliseconds=500)
    )
    assert hash(Lifetimes()) == hash(Lifetimes(idle=3600, absolute=86_400))
    assert repr(Lifetimes(idle=None)) == (
        "Lifetimes(idle=None, absolute=datetime.timedelta(days=1))"
    )


@pytest.mark.parametrize("name", ["idle", "absolute"])
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


class Base:
    """Some class whose subclasses are checked."""

    read_only = False
    waits = timedelta(seconds=1)

    def __init_subclass__(cls) -> None:
        options.check_attributes(
            cls, {"session_read_only": options.flag, "session_wait": options.duration()}
        )


def test_a_misspelt_attribute_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(
        ConfigurationError, match=r"Page\.session_readonly is no option: write sess"
    ):
        type("Page", (Base,), {"session_readonly": True})
    with pytest.raises(ConfigurationError, match=r"Page\.session_read_only must be True or False"):
        type("Page", (Base,), {"session_read_only": "no"})


def test_attributes_in_their_natural_form_are_accepted() -> None:
    page: Any = type("Page", (Base,), {"session_wait": 10, "session_summary": "mine"})
    assert page.session_wait == timedelta(seconds=10)
    decided_by_itself = {"session_read_only": property(lambda _self: True)}
    assert type("Page", (Base,), decided_by_itself)

"""The dict a handler sees, and what it records."""

import copy
from datetime import timedelta
from typing import Any

import pytest

from hello_tornado.sessions import Lifetimes, Session
from hello_tornado.sessions.errors import SerializationError, SessionEnded
from hello_tornado.sessions.records.lifetimes import datetime_of
from hello_tornado.sessions.records.record import SessionRecord
from hello_tornado.sessions.records.serializers import JsonSerializer
from hello_tornado.sessions.session.draft import Renewal
from hello_tornado.sessions.session.operations import (
    Append,
    IfPresent,
    Increment,
    Members,
    Set,
    Unset,
    Update,
)
from hello_tornado.sessions.testing import HOUR, NOW, make_record


def opened(record: SessionRecord | None = None, **data: Any) -> Session:
    return Session(
        record,
        {"data": data, "meta": {}, "user_id": record.user_id if record else None},
        opened_at=NOW,
        lifetimes=Lifetimes(),
        serializer=JsonSerializer(),
    )


def stored(**data: Any) -> Session:
    return opened(make_record(), **data)


def data_changes(session: Session) -> Any:
    return session.changes().operations.get("data", Update({})).operations  # type: ignore[union-attr]


def test_it_is_a_whole_mapping() -> None:
    session = stored(a=1, b=[2])
    assert dict(session) == {"a": 1, "b": [2]}
    assert (len(session), "a" in session, "c" in session) == (2, True, False)
    assert session.get("c", 3) == 3
    assert session.setdefault("c", 3) == 3
    assert session.pop("a") == 1
    with pytest.raises(KeyError):
        del session["a"]
    session.update(d=4)
    assert session == {"b": [2], "c": 3, "d": 4}
    session.clear()
    assert session == {}
    assert data_changes(session) == {"a": Unset(), "b": Unset(), "c": Unset(), "d": Unset()}


def test_it_is_true_when_it_is_somebodys_or_holds_something() -> None:
    assert not opened()
    assert opened(a=0)
    session = opened()
    session.login("ada")
    assert session
    session.destroy()
    assert not session


def test_it_is_united_and_copied_like_a_dict() -> None:
    session = stored(a=1, cart={"x": [1]})
    assert session | {"a": 2} == {"a": 2, "cart": {"x": [1]}}
    assert {"a": 2, "b": 3} | session == {"a": 1, "b": 3, "cart": {"x": [1]}}
    copied = session.copy()
    copied["cart"]["x"].append(2)
    (session | {})["cart"]["x"].append(2)
    assert not session.modified
    assert type(copied) is dict
    with pytest.raises(TypeError):
        session | [("a", 1)]
    session |= {"a": 2}
    assert isinstance(session, Session)
    assert data_changes(session) == {"a": Set(2)}


def test_a_login_is_fresh_for_a_while() -> None:
    session = opened()
    assert session.logged_in_at is None
    assert not session.is_fresh(timedelta(days=1))
    session.login("ada")
    assert session.is_fresh(1)
    assert session.logged_in_at == datetime_of(NOW)
    began = make_record(user_id="ada", created_at=NOW - HOUR)
    session = opened(began)
    assert session.logged_in_at == datetime_of(NOW - HOUR)
    assert not session.is_fresh(timedelta(hours=1))
    assert session.is_fresh(3601)
    session.login("ada")
    assert session.is_fresh(timedelta(hours=1))
    session.destroy()
    assert not session.is_fresh(timedelta(hours=1))


def test_reading_changes_nothing() -> None:
    session = stored(a=1, cart={"x": [1]})
    assert session["cart"]["x"] == [1]
    assert list(session.items())
    assert not session.modified
    assert not session.changes()


@pytest.mark.parametrize("value", [1, "x", None, [1, {"a": 2}], {"a": [1]}, {1, 2}, (1, [2])])
def test_an_equal_value_changes_nothing(value: Any) -> None:
    session = stored(key=value)
    session["key"] = eval(repr(value))  # an equal value, but another object
    assert not session.modified


def test_a_value_of_another_type_is_a_change() -> None:
    session = stored(flag=1)
    session["flag"] = True
    assert data_changes(session) == {"flag": Set(True)}


def test_nested_changes_are_found() -> None:
    session = stored(cart={"a": 1, "gone": 2}, names=["x"], seen={1}, pair=([1],))
    session["cart"]["a"] = 5
    del session["cart"]["gone"]
    session["names"].append("y")
    session["seen"].add(2)
    session["pair"][0].append(2)
    assert data_changes(session) == {
        "cart": IfPresent(Update({"a": Set(5), "gone": Unset()})),
        "names": IfPresent(Append(("y",))),
        "seen": IfPresent(Members(frozenset({2}))),
        "pair": Set(([1, 2],)),
    }


def test_a_value_that_is_changed_after_it_was_set_is_stored_as_changed() -> None:
    session = stored()
    cart: dict[str, int] = {}
    session["cart"] = cart
    cart["a"] = 1
    assert session.changes().apply({})["data"] == {"cart": {"a": 1}}


def test_what_was_recorded_is_no_longer_the_handlers_to_change() -> None:
    session = stored()
    cart = {"a": [1]}
    session["cart"] = cart
    changes = session.changes()
    cart["a"].append(2)
    assert changes.apply({})["data"] == {"cart": {"a": [1]}}


def test_increments_and_appends_are_recorded_as_such() -> None:
    session = stored(n=1, names=["a"])
    assert session.increment("n") == 2
    assert session.increment("n", 5) == 7
    session.append("names", "b")
    session.append("names", "c")
    session.append("fresh", {"x": 1})
    assert session["fresh"] == [{"x": 1}]
    session["fresh"][0]["x"] = 2
    assert session.changes().apply({"data": {"n": 10, "names": ["z"]}})["data"] == {
        "n": 16,
        "names": ["z", "b", "c"],
        "fresh": [{"x": 2}],
    }
    assert data_changes(session)["n"] == Increment(6)


def test_an_append_to_a_list_in_hand_keeps_it_the_same_list() -> None:
    session = stored(names=["a"])
    names = session["names"]
    session.append("names", "b")
    names.append("c")
    assert names == ["a", "b", "c"]
    assert data_changes(session) == {"names": Append(("b", "c"))}


@pytest.mark.parametrize("value", ["x", 1.5, True, None, [1]])
def test_only_whole_numbers_are_counted(value: Any) -> None:
    session = stored(key=value)
    with pytest.raises(TypeError, match="it cannot be incremented"):
        session.increment("key")
    with pytest.raises(TypeError, match="whole number"):
        stored().increment("key", 1.5)  # type: ignore[arg-type]
    assert not session.modified


def test_only_lists_are_appended_to() -> None:
    with pytest.raises(TypeError, match="it cannot be appended to"):
        stored(key="text").append("key", 1)


def test_a_value_that_cannot_be_stored_is_refused_where_it_is_set() -> None:
    session = stored(n=2**63 - 1)
    with pytest.raises(SerializationError, match=r"thing: .*object"):
        session["thing"] = object()
    with pytest.raises(SerializationError, match=r"list\[0\]: .*object"):
        session.append("list", object())
    with pytest.raises(SerializationError, match="n: an int beyond 64 bits"):
        session.increment("n")
    assert not session.modified


def test_login_keeps_what_was_gathered_and_renews() -> None:
    session = stored(cart=[1])
    session.login("ada")
    assert (session.user_id, session["cart"]) == ("ada", [1])
    assert session.renewal == Renewal(restart=True)
    assert session.changes().operations == {"user_id": Set("ada")}


def test_another_user_does_not_inherit() -> None:
    session = opened(make_record(user_id="ada"), private=1)
    session.login("bob")
    assert dict(session) == {}
    assert session.renewal == Renewal(restart=True, new_handle=True)
    document = session.changes().apply({"data": {"private": 2}, "meta": {"x": 1}, "user_id": "ada"})
    assert document == {"data": {}, "meta": {}, "user_id": "bob"}


@pytest.mark.parametrize("user_id", ["", "x" * 256, None, 7])
def test_a_user_id_is_a_short_text(user_id: Any) -> None:
    with pytest.raises(ValueError if isinstance(user_id, str) else TypeError, match="user_id must"):
        stored().login(user_id)


def test_reset_begins_an_empty_session_that_can_be_filled() -> None:
    session = opened(make_record(user_id="ada"), old=1)
    session.flash("old news")
    session.reset()
    session["new"] = 2
    document = session.changes().apply(
        {"data": {"old": 5, "theirs": 6}, "meta": {}, "user_id": "a"}
    )
    assert document == {"data": {"new": 2}, "meta": {}, "user_id": None}


def test_a_destroyed_session_is_empty_and_closed() -> None:
    session = opened(make_record(user_id="ada"), a=1)
    session.destroy()
    assert (dict(session), session.user_id, session.ended) == ({}, None, True)
    for write in (
        lambda: session.update(a=1),
        lambda: session.increment("a"),
        lambda: session.append("a", 1),
        lambda: session.login("bob"),
        session.renew,
        lambda: session.flash("bye"),
    ):
        with pytest.raises(SessionEnded, match="call reset"):
            write()
    session.destroy()


def test_flashes_are_shown_once_and_in_order() -> None:
    session = stored()
    session.flash("Saved", "success")
    session.flash("Look out")
    meta = session.changes().apply({})["meta"]
    assert session.flashes() == [("success", "Saved"), ("info", "Look out")]
    later = Session(
        make_record(),
        {"data": {}, "meta": meta, "user_id": None},
        opened_at=NOW,
        lifetimes=Lifetimes(),
        serializer=JsonSerializer(),
    )
    assert later.flashes() == [("success", "Saved"), ("info", "Look out")]
    other = {**meta, "flashes": {**meta["flashes"], "one more": ["info", "Meanwhile"]}}
    kept = later.changes().apply({"meta": other})["meta"]
    assert kept == {"flashes": {"one more": ["info", "Meanwhile"]}}


def test_a_session_of_its_own_length() -> None:
    session = opened()
    assert (session.idle_timeout, session.expires_in) == (None, timedelta(hours=1))
    session.idle_timeout = 60
    assert session.idle_timeout == timedelta(minutes=1)
    assert session.expires_in == timedelta(minutes=1)
    session.idle_timeout = timedelta(days=30)
    assert session.expires_in == timedelta(hours=24), "the absolute timeout holds all the same"
    session.idle_timeout = None
    assert session.expires_in == timedelta(hours=1)
    with pytest.raises(ValueError, match="longer than zero"):
        session.idle_timeout = 0


def test_it_tells_the_facts_but_no_secret() -> None:
    record = make_record(user_id="ada", expires_at=NOW + HOUR // 2)
    session = opened(record, token="hush")
    assert (session.handle, session.is_new) == (record.handle, False)
    assert session.expires_in == timedelta(minutes=30)
    assert session.created_at == session.accessed_at
    assert repr(session) == f"<Session handle={record.handle!r} user_id='ada' keys=['token']>"
    assert (opened().handle, opened().is_new) == (None, True)


def change_everything(session: Session) -> None:
    session["cart"]["apple"] = 2
    session["cart"]["inner"].append("b")
    session.append("log", [1])
    session["log"][0].append(2)
    session["log"].clear()
    session["tags"].add("y")
    session.setdefault("new", {})["a"] = 1
    session.increment("n")
    session.flash("Saved")
    session.expire("n", 60)
    session.pop("deep")["a"]["b"] = 1
    for value in session.values():
        if isinstance(value, dict):
            value.clear()


def test_no_change_reaches_the_document_that_was_read() -> None:
    """A commit builds on it, also when it is made again after a failure or a lost race."""
    data = {
        "cart": {"apple": 1, "inner": ["a"]},
        "log": [[0]],
        "tags": {"x"},
        "n": 1,
        "deep": {"a": {}},
    }
    session = stored(**copy.deepcopy(data))
    change_everything(session)
    assert session.document == {"data": data, "meta": {}, "user_id": None}
    session.take_draft()
    record = session.record
    assert record is not None
    session.rebase_on(record, {"data": copy.deepcopy(data), "meta": {}, "user_id": None})
    change_everything(session)
    assert session.document == {"data": data, "meta": {}, "user_id": None}

"""Every storable value comes back as it was; every other one is refused by name."""

import json
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import TZPATH, ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hello_tornado.sessions.errors import SerializationError
from hello_tornado.sessions.records.serializers import JsonSerializer
from hello_tornado.sessions.session.operations import same

SERIALIZER = JsonSerializer()
KATHMANDU = timezone(timedelta(hours=5, minutes=45))


CET = timezone(timedelta(hours=1), "CET")
BERLIN, LORD_HOWE = ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")
ZONES = st.sampled_from(
    [UTC, KATHMANDU, CET, timezone(timedelta(seconds=-7)), BERLIN, LORD_HOWE, ZoneInfo("UTC")]
)


class Elsewhere(tzinfo):
    """A time zone of somebody else's."""

    def utcoffset(self, _when: datetime | None) -> timedelta:
        return timedelta(hours=3)

    def dst(self, _when: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, _when: datetime | None) -> str:
        return "elsewhere"


HASHABLE = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.dates()
    | st.times()
    | st.times(timezones=ZONES)
    | st.datetimes()
    | st.datetimes(timezones=ZONES)
    | st.builds(datetime.replace, st.datetimes(timezones=ZONES), fold=st.integers(0, 1))
    | st.builds(time.replace, st.times(timezones=ZONES), fold=st.integers(0, 1))
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    HASHABLE | st.sets(st.integers() | st.text(), max_size=3).filter(lambda s: len(str(s)) < 60),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(["$", "$$", "$date"]), inner)
    ),
    max_leaves=6,
)


@given(VALUES)
def test_what_is_stored_comes_back(value: Any) -> None:
    try:
        raw = SERIALIZER.dumps({"value": value})
    except SerializationError as error:
        assert "beyond 64 bits" in str(error)  # noqa: PT017 - sets of any int are drawn too
        return
    assert same(SERIALIZER.loads(raw)["value"], value)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 11, 23, 12, 30, 1, 5, tzinfo=UTC),
        date(2026, 11, 23),
        time(12, 30),
        time(12, 30, tzinfo=BERLIN),
        time(2, 30, tzinfo=KATHMANDU, fold=1),
        datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),
        datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
        datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN),
        datetime(2026, 10, 25, 2, 30, fold=1),  # noqa: DTZ001 - naive on purpose
        datetime(2026, 11, 23, 12, 30, tzinfo=CET),
        datetime(2026, 11, 23, 12, 30, tzinfo=UTC).astimezone(),
        timedelta(days=-1, microseconds=1),
        b"\x00\xff",
        {1, 2},
        frozenset({"a"}),
        (1, (2, [3])),
        Decimal("1.10"),
        UUID(int=7),
        "\uffff \x00 🦊",
        {"$date": "no date, but a mapping of mine"},
        {"$": {"$$": 1}},
    ],
)
def test_each_type_round_trips(value: Any) -> None:
    assert same(SERIALIZER.loads(SERIALIZER.dumps({"value": value}))["value"], value)


def nameless_zone() -> ZoneInfo:
    """A zone that was read from a file, and does not know which one it is."""
    path = next(path for one in TZPATH if (path := Path(one) / "Europe/Berlin").exists())
    with path.open("rb") as file:
        return ZoneInfo.from_file(file)


NAMELESS = nameless_zone()


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "cart: a value of type object cannot be stored in a session"),
        ({"a": [1, object()]}, "cart.a[1]: a value of type object"),
        (float("nan"), "cart: nan is not a number in JSON"),
        (float("-inf"), "cart: -inf is not a number"),
        (2**63, "cart: an int beyond 64 bits"),
        ({1: "a"}, "cart: the key 1 of a mapping must be a str"),
        (lambda: None, "cart: a value of type function"),
        ("\ud800", "cart: a lone surrogate"),
        ([{"a": "Zoë \udfff"}], "cart[0].a: a lone surrogate"),
        ({"\ud800": 1}, r"cart: the key '\ud800': a lone surrogate"),
        (("🦊", {"\ud83e"}), "cart[1][0]: a lone surrogate"),
        (time(9, tzinfo=Elsewhere()), "cart: the time zone is a value of type Elsewhere, which"),
        ([datetime(2026, 1, 1, tzinfo=Elsewhere())], "cart[0]: the time zone is a value of type"),
        (time(9, tzinfo=NAMELESS), "cart: the time zone is a value of type ZoneInfo"),
        (nested(100_000), "nested deeper than 64 levels"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_name(value: Any, message: str) -> None:
    with pytest.raises(SerializationError) as caught:
        SERIALIZER.check("cart", value)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_key_is_a_str() -> None:
    with pytest.raises(SerializationError, match="session key 1 must be a str"):
        SERIALIZER.check(1, "value")  # type: ignore[arg-type]


def test_a_key_holds_no_lone_surrogate() -> None:
    with pytest.raises(SerializationError, match="a lone surrogate"):
        SERIALIZER.check("\ud800", 1)
    with pytest.raises(SerializationError, match="a lone surrogate"):
        SERIALIZER.dumps({"data": {"a": ["\ud800"]}})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x80\x04\x95 a pickle",
        b"[]",
        b'{"a":',
        b'{"a":{"$date":"yesterday"}}',
        b'{"a":{"$unknown":1}}',
        b'{"a":{"$time":["09:00:00",0]}}',
        b'{"a":{"$time":["09:00:00",0,"Europe/Nowhere"]}}',
        b'{"a":{"$time":["09:00:00",0,"../../../etc/passwd"]}}',
        b'{"a":{"$time":["09:00:00",0,"Europe"]}}',
        b'{"a":{"$time":["09:00:00",0,{"a":1}]}}',
        b'{"a":{"$time":["09:00:00",2,null]}}',
        b'{"a":{"$datetime":["2026-01-01T00:00:00",0,[1e400,"x"]]}}',
        b'{"a":{"$datetime":7}}',
        b'{"a":{"$set":[[]]}}',
        b'{"a":{"$decimal":"x"}}',
        b'{"a":{"$uuid":5}}',
        b'{"a":{"$bytes":"%%%"}}',
        b'{"a":{"$timedelta":1e400}}',
        b'{"a":NaN}',
        b"[" * 100_000,
        json.dumps({"a": 1}).encode("utf-16")[:-1],
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_unreadable_bytes_are_one_kind_of_error(raw: bytes) -> None:
    with pytest.raises(SerializationError):
        SERIALIZER.loads(raw)

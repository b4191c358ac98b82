"""Sessions seen through dataclasses, msgspec structs and pydantic models."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar

import msgspec
import pydantic
import pytest
from managing import stored

from hello_tornado.sessions import SessionManager
from hello_tornado.sessions.errors import ReadOnly, SerializationError
from hello_tornado.sessions.manager.actions import Issue, Keep
from hello_tornado.sessions.stores.memory import MemoryStore

pytestmark = pytest.mark.gen_test

WHEN = datetime(2026, 11, 23, 12, tzinfo=UTC)


@dataclass
class Line:
    price: Decimal
    count: int = 1


@dataclass
class DataclassCart:
    owner: str = "nobody"
    seen: datetime | None = None
    lines: dict[str, Line] = field(default_factory=dict)
    log: list[Line] = field(default_factory=list)
    gift: Line | None = None


class StructLine(msgspec.Struct):
    price: Decimal
    count: int = 1


class StructCart(msgspec.Struct):
    owner: str = "nobody"
    seen: datetime | None = None
    lines: dict[str, StructLine] = {}
    log: list[StructLine] = []
    gift: StructLine | None = None


class ModelLine(pydantic.BaseModel):
    price: Decimal
    count: int = 1


class ModelCart(pydantic.BaseModel):
    owner: str = "nobody"
    seen: datetime | None = None
    lines: dict[str, ModelLine] = {}
    log: list[ModelLine] = []
    gift: ModelLine | None = None


KINDS = pytest.mark.parametrize(
    ("cart_of", "line_of"),
    [(DataclassCart, Line), (StructCart, StructLine), (ModelCart, ModelLine)],
    ids=["dataclass", "msgspec", "pydantic"],
)

CARTS = pytest.mark.parametrize("cart_of", [DataclassCart, StructCart, ModelCart])


@pytest.fixture
def manager() -> SessionManager:
    return SessionManager(MemoryStore())


@KINDS
async def test_what_is_changed_in_the_object_is_stored(
    manager: SessionManager, cart_of: Any, line_of: Any
) -> None:
    session_id = await stored(manager, theme="dark")
    session = await manager.open(session_id)
    cart = session.typed(cart_of)
    assert (cart.owner, cart.lines) == ("nobody", {})
    cart.owner = "Ada"
    cart.seen = WHEN
    cart.lines["tea"] = line_of(price=Decimal("2.50"))
    cart.log.append(line_of(price=Decimal(1), count=2))
    cart.gift = line_of(price=Decimal(9))
    await manager.commit(session)

    session = await manager.open(session_id)
    assert session["theme"] == "dark"
    assert session["lines"] == {"tea": {"price": Decimal("2.50"), "count": 1}}
    again = session.typed(cart_of)
    assert again == cart
    assert type(again.lines["tea"]) is type(again.log[0]) is type(again.gift) is line_of
    again.lines["tea"].count = 3
    await manager.commit(session)
    assert (await manager.open(session_id))["lines"]["tea"]["count"] == 3


@CARTS
async def test_looking_stores_nothing(manager: SessionManager, cart_of: Any) -> None:
    session = await manager.open(None)
    assert session.typed(cart_of) is session.typed(cart_of)
    assert not session.modified
    assert await manager.commit(session) == Keep()


@KINDS
async def test_parallel_changes_merge_field_by_field(
    manager: SessionManager, cart_of: Any, line_of: Any
) -> None:
    session_id = await stored(manager, owner="Ada")
    first, second, third = [await manager.open(session_id) for _ in range(3)]
    first.typed(cart_of).lines["tea"] = line_of(price=Decimal(1))
    second.typed(cart_of).lines["milk"] = line_of(price=Decimal(2))
    third["owner"] = "Eve"
    for session in (first, second, third):
        await manager.commit(session)
    cart = (await manager.open(session_id)).typed(cart_of)
    assert (cart.owner, sorted(cart.lines)) == ("Eve", ["milk", "tea"])


@KINDS
async def test_after_a_save_only_what_is_new_is_a_change(
    manager: SessionManager, cart_of: Any, line_of: Any
) -> None:
    session_id = await stored(manager, owner="Ada")
    session = await manager.open(session_id)
    cart = session.typed(cart_of)
    cart.lines["tea"] = line_of(price=Decimal(1))
    await manager.commit(session)
    assert not session.modified
    cart.lines["tea"].count = 2
    other = await manager.open(session_id)
    other["owner"] = "Eve"
    await manager.commit(other)
    await manager.commit(session)
    cart = (await manager.open(session_id)).typed(cart_of)
    assert (cart.owner, cart.lines["tea"].count) == ("Eve", 2)


@CARTS
async def test_data_that_does_not_fit_is_named_without_its_value(
    manager: SessionManager, cart_of: Any
) -> None:
    session = await manager.open(await stored(manager, gift={"no price": "hush"}))
    with pytest.raises(SerializationError, match=cart_of.__name__) as caught:
        session.typed(cart_of)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


@CARTS
async def test_a_new_session_in_its_place_has_none_of_it(
    manager: SessionManager, cart_of: Any
) -> None:
    session_id = await stored(manager, owner="Ada")
    session = await manager.open(session_id)
    session.typed(cart_of).owner = "Eve"
    session.reset()
    assert session.typed(cart_of).owner == "nobody"
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    assert dict(await manager.open(action.session_id)) == {}


async def test_who_only_reads_cannot_write_through_an_object(manager: SessionManager) -> None:
    session = await manager.open(await stored(manager, owner="Ada"))
    session.refusal = ReadOnly("only reads")
    session.typed(DataclassCart).owner = "Eve"
    assert session.modified, "so that the handler's commit can refuse it"


async def test_nothing_else_is_a_model(manager: SessionManager) -> None:
    session = await manager.open(None)
    with pytest.raises(TypeError, match="not a dataclass"):
        session.typed(dict)


@dataclass
class Person:
    """The second version: the first one had one name."""

    session_version: ClassVar[int] = 2

    first: str = ""
    last: str = ""
    visits: int = 0

    @classmethod
    def upgrade_session(cls, data: dict[str, Any], version: int) -> dict[str, Any]:
        assert version == 1
        first, _, last = data.pop("name").partition(" ")
        return data | {"first": first, "last": last}


class OldPerson(pydantic.BaseModel):
    name: str = ""
    visits: int = 0


OldPerson.__name__ = "Person"


async def test_old_data_is_upgraded_when_it_is_read(manager: SessionManager) -> None:
    session_id = await stored(manager, name="Ada Lovelace", visits=1, theme="dark")
    for _ in range(2):
        session = await manager.open(session_id)
        person = session.typed(Person)
        assert (person.first, person.last, person.visits) == ("Ada", "Lovelace", 1)
        assert await manager.commit(session) == Keep(), "reading alone stores nothing"
    person.visits = 2
    await manager.commit(session)
    session = await manager.open(session_id)
    expected = {"first": "Ada", "last": "Lovelace", "visits": 2, "theme": "dark"}
    assert dict(session) == expected
    assert session.typed(Person).first == "Ada", "it is not upgraded twice"


async def test_a_new_session_is_of_the_newest_version(manager: SessionManager) -> None:
    session = await manager.open(None)
    session.typed(Person).first = "Ada"
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    session = await manager.open(action.session_id)
    assert session.typed(Person).first == "Ada"
    session.typed(Person).visits += 1
    await manager.commit(session)
    assert (await manager.open(action.session_id)).typed(Person).visits == 1


async def test_what_is_merged_in_keeps_its_version(manager: SessionManager) -> None:
    elsewhere = await manager.open(None)
    elsewhere.typed(Person).first = "Ada"
    elsewhere.login("ada")
    await manager.commit(elsewhere)
    here = await manager.open(None)
    here["theme"] = "dark"
    here.merge((await manager.sessions_of("ada"))[0])
    action = await manager.commit(here)
    assert isinstance(action, Issue)
    assert (await manager.open(action.session_id)).typed(Person).first == "Ada"


async def test_older_code_leaves_newer_data_as_it_is(manager: SessionManager) -> None:
    """While a new release is rolled out, both versions serve."""
    session = await manager.open(None)
    session.typed(Person).first = "Ada"
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    session = await manager.open(action.session_id)
    session.typed(OldPerson).visits = 5
    await manager.commit(session)
    person = (await manager.open(action.session_id)).typed(Person)
    assert (person.first, person.visits) == ("Ada", 5)


@KINDS
async def test_a_key_may_be_an_object_beside_others(
    manager: SessionManager, cart_of: Any, line_of: Any
) -> None:
    session_id = await stored(manager, owner="Bob", basket={"owner": "Ada", "beside": 1})
    session = await manager.open(session_id)
    basket, saved = session.typed(cart_of, key="basket"), session.typed(cart_of, key="saved")
    assert (basket.owner, saved.owner, session.typed(cart_of).owner) == ("Ada", "nobody", "Bob")
    basket.lines["tea"] = line_of(price=Decimal(1))
    saved.owner = "Eve"
    await manager.commit(session)
    session = await manager.open(session_id)
    assert session["owner"] == "Bob"
    assert session["basket"] == {
        "owner": "Ada",
        "beside": 1,
        "lines": {"tea": {"price": Decimal(1), "count": 1}},
    }
    assert session["saved"] == {"owner": "Eve"}


async def test_parallel_changes_of_one_keys_object_merge(manager: SessionManager) -> None:
    session_id = await stored(manager, theme="dark")
    first, second = [await manager.open(session_id) for _ in range(2)]
    first.typed(DataclassCart, key="cart").owner = "Ada"
    second.typed(DataclassCart, key="cart").lines["tea"] = Line(Decimal(1))
    await manager.commit(first)
    await manager.commit(second)
    cart = (await manager.open(session_id)).typed(DataclassCart, key="cart")
    assert (cart.owner, [*cart.lines]) == ("Ada", ["tea"])


async def test_a_keys_object_does_not_come_back_when_the_key_is_gone(
    manager: SessionManager,
) -> None:
    session_id = await stored(manager, cart={"owner": "Ada"})
    session, other = [await manager.open(session_id) for _ in range(2)]
    session.typed(DataclassCart, key="cart").owner = "Eve"
    del other["cart"]
    await manager.commit(other)
    await manager.commit(session)
    assert "cart" not in await manager.open(session_id)


async def test_a_key_that_is_no_dict_is_no_object(manager: SessionManager) -> None:
    session = await manager.open(await stored(manager, cart=[1]))
    with pytest.raises(TypeError, match=r"session\['cart'\] is a list: DataclassCart needs a dict"):
        session.typed(DataclassCart, key="cart")


async def test_two_keys_have_versions_of_their_own(manager: SessionManager) -> None:
    session_id = await stored(manager, here={"name": "Ada Lovelace"}, there={"name": "Eve Black"})
    session = await manager.open(session_id)
    session.typed(Person, key="here").visits += 1
    await manager.commit(session)
    session = await manager.open(session_id)
    here, there = (session.typed(Person, key=key) for key in ("here", "there"))
    assert (here.first, here.visits, there.first) == ("Ada", 1, "Eve")


@pytest.mark.parametrize("key", [None, "cart"])
@pytest.mark.parametrize(
    "write",
    [
        lambda session, key: session.__setitem__(key, "x"),
        lambda session, key: session.update({key: "x"}),
        lambda session, key: session.__delitem__(key),
        lambda session, key: session.pop(key),
        lambda session, _key: session.clear(),
        lambda session, key: session.increment(key, "visits"),
        lambda session, key: session.append(key, "log", value=1),
        lambda session, key: session.__ior__({key: "x"}),
    ],
)
async def test_what_an_object_holds_is_not_written_beside_it(
    manager: SessionManager, key: str | None, write: Any
) -> None:
    """One of the two writes would be lost without a word."""
    session = await manager.open(await stored(manager, owner={"a": 1}, cart={"a": 1}, n=1))
    session.typed(Named, key=key).owner = {"b": 2}
    with pytest.raises(RuntimeError, match="is part of the Named that typed"):
        write(session, key or "owner")
    session["other"] = 1
    session.increment("other")
    await manager.commit(session)
    assert session["other"] == 2
    assert (session if key is None else session[key])["owner"] == {"b": 2}


async def test_what_was_written_before_the_object_came_is_in_it(manager: SessionManager) -> None:
    session = await manager.open(await stored(manager, cart={"owner": "x", "lines": {}}))
    session["cart"]["owner"] = "Ada"
    cart = session.typed(DataclassCart, key="cart")
    assert cart.owner == "Ada"
    cart.lines["tea"] = Line(Decimal(1))
    cart.owner += " Lovelace"
    await manager.commit(session)
    assert session["cart"]["owner"] == "Ada Lovelace"
    assert [*session["cart"]["lines"]] == ["tea"]


async def test_a_nested_write_beside_a_changed_object_is_refused(manager: SessionManager) -> None:
    session_id = await stored(manager, cart={"owner": "x"}, other={"n": 1})
    session = await manager.open(session_id)
    inside = session["cart"]
    cart = session.typed(DataclassCart, key="cart")
    inside["note"] = "beside"
    session["other"]["n"] = 2
    assert session.modified, "the object has changed nothing yet"
    cart.owner = "Ada"
    with pytest.raises(RuntimeError, match=r"session\['cart'\] is part of the DataclassCart"):
        await manager.commit(session)
    del inside["note"]
    await manager.commit(session)
    session = await manager.open(session_id)
    assert (session["cart"], session["other"]) == ({"owner": "Ada"}, {"n": 2})


@dataclass
class Named:
    owner: dict[str, int] = field(default_factory=dict)

"""Every store against the memory store as its model, through any sequence of calls."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from hello_tornado.sessions import Store, open_store
from hello_tornado.sessions.records.ids import SessionKey, new_handle
from hello_tornado.sessions.records.record import SessionRecord, Swap
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.testing import NOW, make_record

# Two groups of three: a cluster has them on two masters, and a renewal stays in its group.
KEYS = [SessionKey(bytes([40 * (n // 3)]) + bytes([n]) * 31) for n in range(6)]
USERS = st.sampled_from([None, "ada", "Ada", "bob"])
MOMENTS = st.integers(NOW - 3, NOW + 3)
INDEX = st.integers(0, len(KEYS) - 1)


class StoreMachine(RuleBasedStateMachine):
    """Every answer of the store must be the model's, and every record that it keeps."""

    known = Bundle("known")

    def __init__(self, url: str) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.model: Store = MemoryStore()
        self.store = open_store(url)
        self.handles: list[str] = []

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(call)

    def both(self, verb: str, *args: Any) -> Any:
        """The answer, which has to be the same."""
        theirs = self.run(getattr(self.store, verb)(*args))
        ours = self.run(getattr(self.model, verb)(*args))
        assert theirs == ours, verb
        return ours

    @rule(target=known, index=INDEX, user=USERS, expires=MOMENTS)
    def create(self, index: int, user: str | None, expires: int) -> SessionRecord:
        self.handles.append(new_handle())
        record = make_record(
            key=KEYS[index],
            handle=self.handles[-1],
            version=1000 * len(self.handles),  # a key is random: it never comes twice
            user_id=user,
            expires_at=expires,
        )
        self.both("save", [Swap(None, record)])
        return record

    @rule(target=known, old=known, user=USERS, expires=MOMENTS, created=MOMENTS)
    def save(
        self, old: SessionRecord, user: str | None, expires: int, created: int
    ) -> SessionRecord:
        new = old._replace(
            version=old.version + 1, user_id=user, expires_at=expires, created_at=created
        )
        self.both("save", [Swap(old, new)])
        return new

    @rule(target=known, old=known, index=INDEX)
    def renew(self, old: SessionRecord, index: int) -> SessionRecord:
        new = old._replace(
            version=old.version + 1, key=KEYS[KEYS.index(old.key) // 3 * 3 + index % 3]
        )
        self.both("save", [Swap(old, new)])
        return new

    @rule(known=st.lists(known, max_size=4))
    def save_many(self, known: list[SessionRecord]) -> None:
        olds = {record.key: record for record in known}.values()
        self.both("save", [Swap(old, old._replace(version=old.version + 1)) for old in olds])

    @rule(old=known, accessed=MOMENTS, expires=MOMENTS)
    def touch(self, old: SessionRecord, accessed: int, expires: int) -> None:
        self.both("touch", [old._replace(accessed_at=accessed, expires_at=expires)])

    @rule(indexes=st.sets(INDEX))
    def delete(self, indexes: set[int]) -> None:
        self.both("delete", [KEYS[index] for index in indexes])

    @rule(now=MOMENTS)
    def purge(self, now: int) -> None:
        self.both("purge", now, 100)

    @rule(after=known, limit=st.integers(1, 4))
    def page(self, after: SessionRecord, limit: int) -> None:
        self.both("page", after, limit)

    @rule()
    def reopen(self) -> None:
        """Nothing of what was answered is lost with the connections."""
        self.run(self.store.aclose())

    @invariant()
    def all_is_the_same(self) -> None:
        self.both("load", KEYS)
        for user in ("ada", "Ada", "bob"):
            self.both("find_by_user", user)
        for handle in self.handles[-3:]:
            self.both("find_by_handle", [handle])
        self.both("page", None, 100)
        self.both("count", NOW)

    def teardown(self) -> None:
        self.run(self.store.delete(KEYS))
        self.run(self.store.aclose())
        self.loop.close()


@pytest.mark.timeout(240)
def test_a_store_answers_as_the_model_does(shared_url: str) -> None:
    run_state_machine_as_test(
        lambda: StoreMachine(shared_url),
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

"""What a store is, how to open one by its URL, and what one is written with."""

import re
from collections.abc import AsyncGenerator, Callable, Collection, Hashable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from operator import attrgetter
from typing import Final, Protocol, runtime_checkable
from urllib.parse import urlencode

from hello_tornado.sessions import options
from hello_tornado.sessions.errors import ConfigurationError, StoreError
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import (
    AGAIN,
    Conflict,
    Gone,
    Listed,
    Outcome,
    Saved,
    SessionRecord,
    Swap,
)
from hello_tornado.sessions.stores.schemes import SCHEMES, SQL, Scheme, family_of, scheme_of

__all__ = [
    "AGAIN",
    "Announcing",
    "Conflict",
    "Gone",
    "Listed",
    "Outcome",
    "Placement",
    "Saved",
    "SessionKey",
    "SessionRecord",
    "Store",
    "Swap",
    "open_store",
]

GROUP = "hello_tornado.stores"
DEFAULT_DRIVERS = {"sqlalchemy", "psycopg", "asyncmy", "redis"}


@runtime_checkable
class Store(Protocol):
    """Ten verbs, most of them over many. A store knows no clock, no cookie, no id, no serializer.

    `hello_tornado.sessions.testing.StoreContract` says in tests what each verb promises. A store
    that cannot be reached raises `StoreUnavailable`. `str(store)` is its URL, without a password.
    """

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        """The records under these keys, expired or not; what is not there is left out."""

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome | StoreError]:
        """One outcome for each swap, in order. All keys of one call are distinct.

        A store that keeps others waiting for a row may answer `AGAIN` for it, and save the rest. A
        `StoreError` in the place of an outcome is about that swap alone. One that is raised says
        that nothing of the call was written, so that it is asked again, swap by swap; after
        `StoreUnavailable` nobody knows, and nothing is asked again.
        """

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        """Write `accessed_at` and `expires_at` where key and version stand; never backwards."""

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        """Remove records; returns the keys of those that were there."""

    async def find_by_user(self, user_id: str, /) -> Sequence[Listed]:
        """All records of a user, newest `created_at` first, without their data.

        `load` reads the data of those that are wanted.
        """

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        """The records that have these handles."""

    async def page(self, after: Listed | None, limit: int, /) -> Sequence[Listed]:
        """The next *limit* records after one (which may be gone), by `expires_at`, then by key.

        They are listed without their data, as by `find_by_user`.
        """

    async def count(self, after: int = 0, /) -> int:
        """How many records have `expires_at > after`: of the moment now, the living ones."""

    async def purge(self, now: int, limit: int, /) -> int:
        """Delete up to *limit* records with `0 < expires_at <= now`; returns how many.

        A store that has a clock deletes nothing that lives by that: the caller's may be wrong.
        A process that finds another one at it may leave it to that one, and return 0.
        """

    async def aclose(self) -> None:
        """Let go of connections and threads; may be called twice."""


@runtime_checkable
class Announcing(Protocol):
    """What a store may do besides: tell all its processes at once which sessions have ended.

    Sockets are then closed without waiting for the next look at the store.
    """

    async def announce(self, handles: Collection[str], /) -> None:
        """Tell whoever listens, in any process, that these sessions have ended."""

    def announcements(self) -> AsyncGenerator[Collection[str]]:
        """What is announced from now on. Ends with `StoreUnavailable` when the store is lost.

        Ends without an error when the store cannot announce anything.
        """


class Placement(Protocol):
    """What a store with several servers says of its keys, as its attribute `placement`.

    A swap to another key stays within one partition, which is for ever; the ids of renewals are
    drawn until they fall into the session's. Which server has a partition may change. Calls about
    different servers are made beside each other, so that one that is lost keeps no other waiting.
    """

    def partition_of(self, key: SessionKey, /) -> Hashable:
        """What all keys of one session have in common."""

    def server_of(self, key: SessionKey, /) -> Hashable:
        """Which server has this key now, as far as that is known."""


def placement_of(store: Store) -> Placement | None:
    """What a store says of its keys; None when it has one server."""
    placement: Placement | None = getattr(store, "placement", None)
    return placement


NAMED: Final = options.optional(options.text(re.compile(r"[^\0]+"), "a name"))


@options.checked(
    url=options.text(re.compile(r"[^\0]*"), "a URL, such as sqlite:///var/sessions.db"),
    table=NAMED,
    schema=NAMED,
    moving_from=options.optional(
        options.text(re.compile(r"[^\0]*"), "a URL, such as sqlite:///var/sessions.db")
    ),
)
def open_store(
    url: str,
    *,
    table: str | None = None,
    schema: str | None = None,
    moving_from: str | None = None,
) -> Store:
    """The store that a URL names: `memory://`, `sqlite:///var/sessions.db`, or a plug-in's scheme.

    Opening does no I/O; the store connects on first use. Other packages add schemes by an entry
    point in the group `hello_tornado.stores`: scheme = a callable that takes the URL.

    Args:
        url: where the sessions are kept.
        table: what their table is called in a SQL database; `sessions` if it is not said.
        schema: the schema of the table in PostgreSQL, or its database in MariaDB. If it is not
            said, the table is where the connections look by themselves. The URL's options `table`
            and `schema` say the same.
        moving_from: the URL of the store that was used before. All its sessions go on, and move
            when they are written to, or by `sessions move`. All processes must name it until the
            old store is empty.

    Raises:
        ConfigurationError: no store is known for this URL, or an option cannot be what it is.

    """
    named = {"table": table, "schema": schema}
    url = _with_names(url, {name: value for name, value in named.items() if value is not None})
    if moving_from is None:
        return _opened(url)
    if moving_from == url:
        raise ConfigurationError("moving_from names the store itself: it is another one's URL")
    moving = import_module("hello_tornado.sessions.stores.moving")
    store: Store = moving.moving_store(_opened(url), _opened(moving_from))
    return store


def _opened(url: str) -> Store:
    check_is_encoded(url)
    scheme = scheme_of(url)
    ours = SCHEMES.get(scheme)
    try:
        store: Store = (_of_a_plug_in(scheme) if ours is None else _loaded(ours))(url)
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        is_in_extra = missing in DEFAULT_DRIVERS and ours is not None and ours.extra is not None
        package = f"'hello-tornado[{ours.extra}]'" if ours and is_in_extra else missing
        raise ConfigurationError(
            f"{scheme}:// needs the package {missing}: pip install {package}"
        ) from error
    return store


def _with_names(url: str, names: Mapping[str, str]) -> str:
    """A SQL URL with what open_store() was given besides, as options."""
    if not names:
        return url
    said = ", ".join(f"{name}=…" for name in names)
    if family_of(url) not in SQL:
        raise ConfigurationError(
            f"open_store({said}) is for SQL databases, and {scheme_of(url)}:// is none: leave it "
            "out. Redis has the option prefix in its URL: redis://host/0?prefix=app"
        )
    if twice := [name for name in names if re.search(rf"[?&]{name}=", url)]:
        raise ConfigurationError(f"{twice[0]} is said twice: leave it out of the URL")
    return f"{url}{'&' if '?' in url else '?'}{urlencode(names)}"


def _loaded(scheme: Scheme) -> Callable[[str], Store]:
    module, _, name = scheme.opens.partition(":")
    opens: Callable[[str], Store] = attrgetter(name)(import_module(module))
    return opens


def _of_a_plug_in(scheme: str) -> Callable[[str], Store]:
    known = {point.name: point for point in entry_points(group=GROUP)}
    if scheme not in known:
        names = ", ".join(f"{name}://" for name in sorted({*known, *SCHEMES}))
        raise ConfigurationError(
            f"no store is known for {scheme or 'a URL without a scheme'}; "
            f"a store URL begins with one of: {names}"
        )
    opens: Callable[[str], Store] = known[scheme].load()
    return opens


def check_is_encoded(url: str) -> None:
    """Refuse a URL whose password would be taken for a part of the host or of the path.

    There is one @ at most, and it stands before the first of the characters / ? #.
    """
    parts = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)
    authority, rest = parts[0], "".join(parts[1:])
    if authority.count("@") > 1 or (authority and "@" in rest):
        raise ConfigurationError(
            "the store's URL has an @ in a place where none can be. Percent-encode the password: "
            "write @ as %40, / as %2F, ? as %3F, # as %23 and : as %3A"
        )


def as_store(given: Store | str) -> Store:
    """A store as it is, or the one that a URL names."""
    if isinstance(given, str):
        return open_store(given)
    store: Store = options.implements(Store, 'open_store("sqlite:///var/sessions.db")')(
        "SessionManager(store=…)", given
    )
    return store


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    without = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"([?&][^=&]*pass[^=&]*)=[^&]*", r"\1=***", without, flags=re.IGNORECASE)

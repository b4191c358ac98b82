"""The `Store` protocol, `open_store()`, and the types that a store implementation needs."""

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
    """Keeps the records of sessions. Most methods take several keys or records at once.

    A store knows neither clocks nor cookies, session ids or serializers. The tests in
    `hello_tornado.sessions.testing.StoreContract` define what each method must do. A store that
    cannot be reached raises `StoreUnavailable`. `str(store)` is its URL, without a password.
    """

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        """Return the records under these keys, expired or not; omit keys without a record."""

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome | StoreError]:
        """Write several swaps and return one outcome for each, in the same order.

        All keys of one call are distinct. If other clients have locked a row, the store may return
        `AGAIN` for its swap and save the others. A returned `StoreError` concerns its swap only.

        Raises:
            StoreError: Nothing of this call was written. The caller repeats it for each swap.
            StoreUnavailable: It is unknown what was written. The caller does not repeat it.

        """

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        """Write later `accessed_at` and `expires_at` to records whose key and version match.

        Earlier times are ignored.
        """

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        """Delete records; return the keys of those that existed."""

    async def find_by_user(self, user_id: str, /) -> Sequence[Listed]:
        """Return all records of a user, newest `created_at` first, without their data.

        Callers read the data that they need with `load`.
        """

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        """Return the records that have these handles."""

    async def page(self, after: Listed | None, limit: int, /) -> Sequence[Listed]:
        """Return the next *limit* records, ordered by `expires_at`, then by key.

        They are listed without their data, as by `find_by_user`.

        Args:
            after: The last record of the page before, which may have been deleted since; None for
                the first page.
            limit: The maximum number of records.

        """

    async def count(self, after: int = 0, /) -> int:
        """Return how many records have `expires_at > after`, in microseconds since 1970 (0).

        With the present moment, these are the sessions that have not expired.
        """

    async def purge(self, now: int, limit: int, /) -> int:
        """Delete up to *limit* records with `0 < expires_at <= now`; return how many.

        A store that has a clock also checks it and deletes no record that has not expired by it,
        because the caller's clock may be wrong. If another process is purging, the store may delete
        nothing and return 0.
        """

    async def aclose(self) -> None:
        """Close connections and threads. May be called twice."""


@runtime_checkable
class Announcing(Protocol):
    """An optional part of a store: it notifies all processes at once when sessions have ended.

    WebSockets are then closed without waiting for the next check of the store.
    """

    async def announce(self, handles: Collection[str], /) -> None:
        """Notify all processes that sessions with these handles have ended."""

    def announcements(self) -> AsyncGenerator[Collection[str]]:
        """Yield the handles that are announced from now on.

        Returns if the store cannot announce anything. Raises `StoreUnavailable` when the connection
        to the store is lost.
        """


class Placement(Protocol):
    """The distribution of keys over servers: the attribute `placement` of a store with several.

    All keys of a session are in the same partition, and the partition of a key never changes. For
    a renewal, new ids are generated until one is in the session's partition. A partition may move
    to another server. Different servers are called concurrently, so that a server that is down
    delays no call to the others.
    """

    def partition_of(self, key: SessionKey, /) -> Hashable:
        """Return the partition of a key."""

    def server_of(self, key: SessionKey, /) -> Hashable:
        """Return the server that has this key now, as far as is known."""


def placement_of(store: Store) -> Placement | None:
    """Return the `placement` of a store; None if it has a single server."""
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
    """Return the store for a URL, such as `memory://` or `sqlite:///var/sessions.db`.

    Opening does no I/O; the store connects on first use. Other packages can add URL schemes with an
    entry point in the group `hello_tornado.stores`: the name is the scheme, the value a callable
    that takes the URL and returns the store.

    Args:
        url: The URL of the store.
        table: The name of the table in a SQL database (`sessions`). The URL option `table` does the
            same.
        schema: The schema of the table in PostgreSQL, or its database in MariaDB (the default
            schema or database of the connection). The URL option `schema` does the same.
        moving_from: The URL of the store that was used before (None). Its sessions remain valid and
            move to the new store when they are written to, or with `sessions move`. All processes
            must set it until the old store is empty.

    Raises:
        ConfigurationError: There is no store for this URL, or an option is invalid.

    """
    named = {"table": table, "schema": schema}
    url = _with_names(url, {name: value for name, value in named.items() if value is not None})
    if moving_from is None:
        return _opened(url)
    if moving_from == url:
        raise ConfigurationError(
            "moving_from is the URL of the new store; it must be the URL of the old one"
        )
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
    """Return a SQL URL with the arguments of open_store() added as options."""
    if not names:
        return url
    said = ", ".join(f"{name}=…" for name in names)
    if family_of(url) not in SQL:
        raise ConfigurationError(
            f"open_store({said}) is for SQL databases, and {scheme_of(url)}:// is not one: omit "
            "it. Redis has the option prefix in its URL: redis://host/0?prefix=app"
        )
    if twice := [name for name in names if re.search(rf"[?&]{name}=", url)]:
        raise ConfigurationError(f"{twice[0]} is given twice: remove it from the URL")
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
            f"there is no store for {scheme or 'a URL without a scheme'}; "
            f"a store URL begins with one of: {names}"
        )
    opens: Callable[[str], Store] = known[scheme].load()
    return opens


def check_is_encoded(url: str) -> None:
    """Refuse a URL if a part of its password would be read as part of the host or path.

    A URL has at most one @, before the first of the characters / ? #.
    """
    parts = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)
    authority, rest = parts[0], "".join(parts[1:])
    if authority.count("@") > 1 or (authority and "@" in rest):
        raise ConfigurationError(
            "the store's URL has an @ in the wrong place. Percent-encode the password: "
            "write @ as %40, / as %2F, ? as %3F, # as %23 and : as %3A"
        )


def as_store(given: Store | str) -> Store:
    """Return *given* if it is a store, or open it if it is a URL."""
    if isinstance(given, str):
        return open_store(given)
    store: Store = options.implements(Store, 'open_store("sqlite:///var/sessions.db")')(
        "SessionManager(store=…)", given
    )
    return store


def without_password(url: str) -> str:
    """Return a URL with its passwords replaced by ***."""
    without = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"([?&][^=&]*pass[^=&]*)=[^&]*", r"\1=***", without, flags=re.IGNORECASE)

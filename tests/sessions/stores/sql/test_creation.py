"""A store makes its one table by itself, on every SQL database; or says how it is made."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from databases import as_a_poor_user, run
from every_store import SQL_SERVERS, UrlOf
from managing import stored

from hello_tornado.database import migrate
from hello_tornado.sessions import SessionManager
from hello_tornado.sessions.errors import ConfigurationError, StoreError, StoreMisconfigured

pytestmark = pytest.mark.gen_test


@pytest.fixture(params=["sqlite", *SQL_SERVERS])
def url(request: pytest.FixtureRequest, empty_url_of: UrlOf) -> str:
    """An empty database."""
    return empty_url_of(request.param)


async def begin(manager: SessionManager) -> Any:
    return (await manager.open(await stored(manager, n=1)))["n"]


async def test_the_first_use_makes_the_table(url: str) -> None:
    async with SessionManager(url) as manager:
        assert await begin(manager) == 1
    assert run(url) == ["sessions"]


async def test_many_processes_make_it_at_the_same_moment(url: str) -> None:
    managers = [SessionManager(url, log=False, purge_every=None) for _ in range(6)]
    assert await asyncio.gather(*(begin(manager) for manager in managers)) == [1] * 6
    assert await managers[0].length() == 6
    for manager in managers:
        await manager.aclose()


async def test_an_upgrade_takes_it_over(url: str) -> None:
    async with SessionManager(url) as manager:
        await begin(manager)
        migrate.upgrade(url)
        assert migrate.state(url).is_current
        assert migrate.differences(url) == []
        assert await manager.length() == 1


async def test_a_table_that_is_dropped_is_made_anew(url: str) -> None:
    """Whoever drops it has signed everybody out, and need not restart a server besides."""
    async with SessionManager(url, log=False) as manager:
        await begin(manager)
        run(url, "DROP TABLE sessions")
        told: list[str] = []
        for _ in range(3):  # one for each connection that has to find out
            try:
                assert await begin(manager) == 1
                break
            except StoreMisconfigured as error:
                told.append(str(error))
        else:
            pytest.fail("the table was not made anew")
        assert all(re.search("create it with: CREATE TABLE .sessions.", one) for one in told)


async def test_who_wants_no_table_made_is_told_how(url: str) -> None:
    run(url)  # or SQLite's file would be missing
    manager = SessionManager(f"{url}{'&' if '?' in url else '?'}create=false", log=False)
    with pytest.raises(StoreMisconfigured) as caught:
        await begin(manager)
    assert run(url) == []
    _, _, ddl = str(caught.value).partition("create it with: ")
    run(url, *filter(None, ddl.split(";")))
    assert await begin(manager) == 1
    await manager.aclose()
    migrate.upgrade(url)
    assert migrate.differences(url) == []


async def test_what_was_left_half_made_is_made(mariadb_url: str) -> None:
    """MariaDB makes a table and its indexes one after the other: it may be killed in between."""
    async with SessionManager(mariadb_url) as manager:
        await begin(manager)
    run(mariadb_url, "DROP INDEX ix_sessions_handle ON sessions")
    async with SessionManager(mariadb_url) as manager:
        await begin(manager)
    migrate.upgrade(mariadb_url, accounts=True)
    assert migrate.differences(mariadb_url, accounts=True) == []
    run(mariadb_url, "DROP INDEX ix_hello_tornado_guesses_free_at ON hello_tornado_guesses")
    migrate.upgrade(mariadb_url, accounts=True)
    assert migrate.differences(mariadb_url, accounts=True) == []


async def test_a_table_of_somebody_else_is_not_offered_to_be_made(url: str) -> None:
    run(url, "CREATE TABLE sessions (id INTEGER)")
    async with SessionManager(url, log=False, purge_every=None) as manager:
        with pytest.raises(StoreError) as caught:
            await begin(manager)
    assert "CREATE TABLE" not in str(caught.value)


async def test_a_file_that_must_not_be_made_is_missed(tmp_path: Path) -> None:
    manager = SessionManager(f"sqlite:///{tmp_path}/none/sessions.db?create=false", log=False)
    with pytest.raises(StoreError, match=r"there is no file .* create=false"):
        await begin(manager)
    assert not (tmp_path / "none").exists()
    await manager.aclose()


@pytest.mark.parametrize("given", ["maybe", "2"])
async def test_the_option_is_true_or_false(given: str) -> None:
    with pytest.raises(ConfigurationError, match="create of the store's URL must be true or false"):
        SessionManager(f"postgresql://host/database?create={given}")


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
async def test_a_user_who_may_not_is_told_how(kind: str, request: pytest.FixtureRequest) -> None:
    manager = SessionManager(as_a_poor_user(request.getfixturevalue(f"{kind}_url")), log=False)
    with pytest.raises(StoreMisconfigured, match=r"create=false .* run: CREATE TABLE .sessions."):
        await begin(manager)
    await manager.aclose()

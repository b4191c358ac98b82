"""Accounts on every database: who gets in, who does not, and how often one may guess."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher, extract_parameters
from every_store import SQL, UrlOf
from hypothesis import assume, given
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from hello_tornado.accounts import passwords
from hello_tornado.accounts.accounts import (
    Account,
    Accounts,
    KnownDevice,
    Throttled,
    Wrong,
    stamp_of,
)
from hello_tornado.accounts.networks import networks_of
from hello_tornado.accounts.passwords import (
    HASHER,
    JUDGED,
    MAX_BYTES,
    MIN_LENGTH,
    Passwords,
    PasswordsBusy,
    problem_with,
)
from hello_tornado.accounts.tables import guesses, metadata, users
from hello_tornado.accounts.throttle import (
    FOR_ACCOUNT,
    FOR_DEVICE,
    FOR_NETWORKS,
    FOR_USER_AT_ADDRESS,
)
from hello_tornado.sessions.stores.sql.database import SqlDatabase

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
SECRET = b"correct horse battery staple"
HERE, THERE = "192.0.2.1", "198.51.100.1"
FOR_ADDRESS, FOR_56, FOR_48 = FOR_NETWORKS


@pytest.fixture(params=SQL)
def url(request: pytest.FixtureRequest, url_of: UrlOf) -> str:
    return url_of(request.param)


@pytest.fixture
def make_accounts(url: str, clock: Any) -> Callable[[], Accounts]:
    def make() -> Accounts:
        return Accounts(SqlDatabase.from_url(url, metadata), Passwords(CHEAP), clock)

    return make


@pytest.fixture
def opened(make_accounts: Callable[[], Accounts], io_loop: Any) -> Any:
    accounts = [make_accounts(), make_accounts()]
    yield accounts
    for one in accounts:
        io_loop.run_sync(one.aclose)


@pytest.fixture
def accounts(opened: list[Accounts]) -> Accounts:
    return opened[0]


@pytest.fixture
def elsewhere(opened: list[Accounts]) -> Accounts:
    """The same accounts in another process, or after a restart."""
    return opened[1]


async def rows(accounts: Accounts, table: Any = guesses) -> int:
    def count(connection: Connection) -> int:
        return len(connection.execute(select(table)).all())

    return await accounts._database.read(count)


@pytest.mark.gen_test
async def test_the_right_password_is_let_in_and_nothing_else(accounts: Accounts) -> None:
    added = await accounts.add("Ada", SECRET)
    assert isinstance(added, Account)
    assert (added.user_id, added.name) == ("ada", "Ada")
    assert added.password.startswith("$argon2id$")
    for name in ("Ada", "ADA ", "\uff21da"):
        assert await accounts.log_in(name, SECRET, HERE) == added
    for name, password in (
        ("Ada", b"wrong"),
        ("Ada", SECRET + b" "),
        ("Ada", SECRET.upper()),
        ("Ada", b""),
        ("Bob", SECRET),
        ("\u202e", SECRET),
    ):
        assert await accounts.log_in(name, password, HERE) == Wrong()


class CountingHasher(PasswordHasher):
    """Knows with which parameters hashes were compared, and so how long that takes."""

    def __init__(self, **options: int) -> None:
        super().__init__(**options)
        self.verified: list[Any] = []

    def verify(self, stored: Any, password: Any) -> Any:
        self.verified.append(extract_parameters(stored))
        return super().verify(stored, password)


@pytest.mark.gen_test
async def test_a_hash_is_computed_whether_the_user_exists_or_not(accounts: Accounts) -> None:
    await accounts.add("Ada", SECRET)
    await accounts.add("Bob", SECRET)
    await accounts.disable("bob")
    hasher = CountingHasher(time_cost=1, memory_cost=8, parallelism=1)
    accounts.passwords._hasher = hasher
    for name in ("Ada", "Bob", "nobody at all", "\u202e"):
        hasher.verified.clear()
        await accounts.log_in(name, b"wrong", HERE)
        (parameters,) = hasher.verified
        assert parameters == extract_parameters(CHEAP.hash(b"")), name


@pytest.mark.gen_test
async def test_a_password_counts_to_the_byte(accounts: Accounts) -> None:
    await accounts.add("Ada", b' "a\x01b" ')
    assert isinstance(await accounts.log_in("Ada", b' "a\x01b" ', HERE), Account)
    for other in (b'"a\x01b"', b' "a b" ', b'"a b"'):
        assert await accounts.log_in("Ada", other, HERE) == Wrong()


@pytest.mark.gen_test
async def test_look_alikes_are_one_account(accounts: Accounts, elsewhere: Accounts) -> None:
    made = await asyncio.gather(
        *(one.add(name, SECRET) for one in (accounts, elsewhere) for name in ("Ada", "ada ", "ADA"))
    )
    assert sum(account is not None for account in made) == 1
    assert await rows(accounts, users) == 1
    assert await accounts.add("\u00c4da", SECRET) is not None, "that is another letter"
    assert [one.user_id for one in await accounts.all()] == ["ada", "\u00e4da"]


@pytest.mark.gen_test
async def test_who_is_disabled_stays_out_like_who_never_was(accounts: Accounts) -> None:
    await accounts.add("Ada", SECRET)
    await accounts.disable("ada")
    assert await accounts.log_in("Ada", SECRET, HERE) == Wrong()
    await accounts.enable("ada")
    assert isinstance(await accounts.log_in("Ada", SECRET, HERE), Account)


@pytest.mark.gen_test
async def test_a_changed_account_is_no_longer_the_one_that_was_seen(accounts: Accounts) -> None:
    changes = (
        lambda: accounts.disable("ada"),
        lambda: accounts.sign_out("ada"),
        lambda: accounts.set_password(seen, b"another one, unheard of"),
    )
    await accounts.add("Ada", SECRET)
    for change in changes:
        await accounts.enable("ada")
        seen = await accounts.find("Ada")
        assert seen is not None
        assert await accounts.is_unchanged(seen)
        await change()
        assert not await accounts.is_unchanged(seen)


@pytest.mark.gen_test
async def test_of_two_changes_side_by_side_one_is_told(accounts: Accounts) -> None:
    seen = await accounts.add("Ada", SECRET)
    assert seen is not None
    done = await asyncio.gather(*(accounts.set_password(seen, SECRET + b"!") for _ in range(3)))
    assert [one is None for one in done].count(False) == 1


@pytest.mark.gen_test
async def test_a_dated_hash_is_made_anew_at_the_next_login(accounts: Accounts) -> None:
    await accounts.add("Ada", SECRET)
    accounts.passwords._hasher = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)
    account = await accounts.log_in("Ada", SECRET, HERE)
    assert isinstance(account, Account)
    assert extract_parameters(account.password).time_cost == 2
    assert await accounts.log_in("Ada", SECRET, HERE) == account


@pytest.mark.gen_test
async def test_guesses_run_out_and_come_back(accounts: Accounts, clock: Any) -> None:
    await accounts.add("Ada", SECRET)
    for _ in range(FOR_USER_AT_ADDRESS.burst):
        assert await accounts.log_in("Ada", b"wrong", HERE) == Wrong()
    for password in (b"wrong", SECRET):
        refused = await accounts.log_in("ADA", password, HERE)
        assert refused == Throttled(timedelta(minutes=1))
    clock.advance(seconds=59)
    assert await accounts.log_in("Ada", SECRET, HERE) == Throttled(timedelta(seconds=1))
    clock.advance(seconds=1)
    assert await accounts.log_in("Ada", b"wrong", HERE) == Wrong()
    assert isinstance(await accounts.log_in("Ada", SECRET, HERE), Throttled)
    clock.advance(minutes=1)
    assert isinstance(await accounts.log_in("Ada", SECRET, HERE), Account)
    for _ in range(FOR_USER_AT_ADDRESS.burst):
        assert await accounts.log_in("Ada", b"wrong", HERE) == Wrong(), "a login forgives"


@pytest.mark.gen_test
async def test_guesses_are_counted_by_all_processes_and_survive_them(
    accounts: Accounts, elsewhere: Accounts
) -> None:
    await accounts.add("Ada", SECRET)
    answers = await asyncio.gather(
        *(one.log_in("Ada", b"wrong", HERE) for one in (accounts, elsewhere) * 10)
    )
    assert answers.count(Wrong()) == FOR_USER_AT_ADDRESS.burst, "side by side they count, too"


@pytest.mark.gen_test
async def test_nobody_is_locked_out_by_somebody_elsewhere(accounts: Accounts) -> None:
    await accounts.add("Ada", SECRET)
    for _ in range(20):
        await accounts.log_in("Ada", b"wrong", HERE)
    assert isinstance(await accounts.log_in("Ada", SECRET, HERE), Throttled)
    assert isinstance(await accounts.log_in("Ada", SECRET, THERE), Account)


@pytest.mark.gen_test
async def test_many_names_from_one_address_are_stopped_and_other_addresses_are_not(
    accounts: Accounts,
) -> None:
    await accounts.add("Ada", SECRET)
    for number in range(FOR_ADDRESS.burst):
        assert await accounts.log_in(f"user {number}", b"123456", HERE) == Wrong()
    assert isinstance(await accounts.log_in("one more", b"123456", HERE), Throttled)
    assert isinstance(await accounts.log_in("Ada", SECRET, HERE), Throttled)
    assert isinstance(await accounts.log_in("Ada", SECRET, THERE), Account)


@pytest.mark.gen_test
async def test_a_crowd_behind_one_address_logs_in_all_the_same(accounts: Accounts) -> None:
    await accounts.add("Ada", SECRET)
    for _ in range(3 * FOR_ADDRESS.burst):
        assert isinstance(await accounts.log_in("Ada", SECRET, HERE), Account)


@pytest.mark.gen_test
async def test_a_subscriber_of_ipv6_has_one_bucket(accounts: Accounts) -> None:
    for number in range(FOR_ADDRESS.burst):
        await accounts.log_in(f"user {number}", b"123456", f"2001:db8::{number:x}")
    assert isinstance(await accounts.log_in("Ada", SECRET, "2001:db8::ffff%eth0"), Throttled)
    assert await accounts.log_in("Ada", SECRET, "2001:db8:0:1::1") == Wrong()


@pytest.mark.gen_test
async def test_what_is_forgotten_is_cleared_away(accounts: Accounts, clock: Any) -> None:
    for number in range(20):
        await accounts.log_in(f"user {number}", b"123456", HERE)
    assert await rows(accounts) == 41, "20 accounts, 20 accounts at this address, the address"
    clock.advance(hours=1)
    await accounts.log_in("Ada", b"123456", HERE)
    assert await rows(accounts) == 3


@pytest.mark.gen_test(timeout=60)
async def test_a_refused_network_leaves_no_rows(accounts: Accounts) -> None:
    for number in range(2 * FOR_ADDRESS.burst):
        await accounts.log_in(f"user {number}", b"123456", HERE)
    assert await rows(accounts) == 2 * FOR_ADDRESS.burst + 1


async def guesses_before(
    accounts: Accounts, most: int, attempt: Callable[[int], tuple[str, str]]
) -> int:
    """How many wrong passwords can be tried before the throttle refuses one."""
    for number in range(most):
        name, address = attempt(number)
        if isinstance(await accounts.log_in(name, b"wrong", address), Throttled):
            return number
    return most


@pytest.mark.parametrize(
    "prefix",
    ["::ffff:", "64:ff9b::", "64:ff9b:1:2::"],
    ids=["mapped", "NAT64", "a NAT64 of one's own"],
)
@pytest.mark.gen_test
async def test_an_ipv4_address_written_as_ipv6_is_that_address(
    accounts: Accounts, prefix: str
) -> None:
    await accounts.add("Ada", SECRET)
    for _ in range(FOR_USER_AT_ADDRESS.burst):
        assert await accounts.log_in("Ada", b"wrong", prefix + HERE) == Wrong()
    assert isinstance(await accounts.log_in("Ada", SECRET, HERE), Throttled)
    assert isinstance(await accounts.log_in("Ada", SECRET, prefix + THERE), Account)


def test_a_6to4_network_is_its_address_of_ipv4() -> None:
    assert networks_of("2002:cb00:7101:5::1") == ("203.0.113.1",)


@pytest.mark.gen_test(timeout=60)
async def test_wider_networks_of_ipv6_are_counted_more_leniently(accounts: Accounts) -> None:
    within_64 = await guesses_before(accounts, 500, lambda n: (f"a {n}", f"2001:db8::{n:x}"))
    within_56 = await guesses_before(accounts, 500, lambda n: (f"b {n}", f"2001:db9:0:{n:x}::1"))
    within_48 = await guesses_before(accounts, 500, lambda n: (f"c {n}", f"2001:dba:0:{n:x}00::1"))
    assert (within_64, within_56, within_48) == (FOR_ADDRESS.burst, FOR_56.burst, FOR_48.burst)
    assert FOR_ADDRESS.burst < FOR_56.burst < FOR_48.burst
    assert await accounts.log_in("Ada", b"wrong", "2001:dbb::1") == Wrong(), "another /48"


@pytest.mark.gen_test(timeout=60)
async def test_an_attack_from_everywhere_is_stopped_and_a_known_device_gets_in(
    accounts: Accounts,
) -> None:
    await accounts.add("Ada", SECRET)
    count = await guesses_before(accounts, 300, lambda n: ("Ada", f"198.51.{n // 100}.{n % 100}"))
    assert count == FOR_ACCOUNT.burst
    assert isinstance(await accounts.log_in("Ada", SECRET, HERE), Throttled)
    assert isinstance(await accounts.log_in("Ada", SECRET, HERE, KnownDevice("laptop")), Account)
    assert await accounts.log_in("Bob", b"wrong", HERE) == Wrong(), "another account"


@pytest.mark.gen_test
async def test_a_known_device_has_no_more_guesses_than_others(accounts: Accounts) -> None:
    await accounts.add("Ada", SECRET)
    for _ in range(FOR_DEVICE.burst):
        assert await accounts.log_in("Ada", b"wrong", HERE, KnownDevice("laptop")) == Wrong()
    assert isinstance(await accounts.log_in("Ada", SECRET, THERE, KnownDevice("laptop")), Throttled)
    assert isinstance(await accounts.log_in("Ada", SECRET, HERE, KnownDevice("phone")), Account)


@pytest.mark.gen_test
async def test_a_device_is_known_while_it_has_seen_the_password(accounts: Accounts) -> None:
    added = await accounts.add("Ada", SECRET)
    other = await accounts.add("Bob", SECRET)
    assert added is not None
    assert other is not None
    laptop = KnownDevice("laptop", stamp_of(added))
    await guesses_before(accounts, 300, lambda n: ("Ada", f"198.51.{n // 100}.{n % 100}"))
    assert await accounts.log_in("Ada", SECRET, HERE, laptop) == added
    for stamp in (stamp_of(other), "", "x" * 32):
        guess = accounts.log_in("Ada", SECRET, HERE, KnownDevice("laptop", stamp))
        assert isinstance(await guess, Throttled)
    changed = await accounts.set_password(added, SECRET + b"!")
    assert changed is not None
    assert isinstance(await accounts.log_in("Ada", SECRET + b"!", HERE, laptop), Throttled)
    laptop = KnownDevice("laptop", stamp_of(changed))
    assert await accounts.log_in("Ada", SECRET + b"!", HERE, laptop) == changed
    assert added.password not in stamp_of(added)


@pytest.mark.gen_test(timeout=60)
async def test_a_right_guess_does_not_reset_the_account(accounts: Accounts) -> None:
    """The attacker's guesses still count after the owner has logged in."""
    await accounts.add("Ada", SECRET)
    half = FOR_ACCOUNT.burst // 2
    await guesses_before(accounts, half, lambda n: ("Ada", f"198.51.100.{n}"))
    assert isinstance(await accounts.log_in("Ada", SECRET, HERE), Account)
    rest = await guesses_before(accounts, 300, lambda n: ("Ada", f"203.0.113.{n}"))
    assert rest == FOR_ACCOUNT.burst - half


def test_hashes_meet_the_bar() -> None:
    parameters = extract_parameters(HASHER.hash(SECRET))
    assert str(parameters.type) == "Type.ID"
    assert parameters.memory_cost >= 19 * 1024
    assert parameters.time_cost >= 2
    assert len(HASHER.hash(SECRET)) < 255


@pytest.mark.gen_test(timeout=60)
async def test_many_logins_leave_the_loop_free_and_too_many_are_told() -> None:
    passwords = Passwords(max_waiting=20)
    stored = await passwords.hash(SECRET)
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    heart = asyncio.create_task(beat())
    logins = [passwords.match(stored, SECRET) for _ in range(20)]
    assert all(await asyncio.gather(*logins))
    assert beats > 100
    heart.cancel()
    crowd = await asyncio.gather(
        *(passwords.match(stored, SECRET) for _ in range(40)), return_exceptions=True
    )
    assert any(isinstance(one, PasswordsBusy) for one in crowd)
    assert crowd.count(True) >= 20
    assert await passwords.match(None, SECRET) is False
    assert await passwords.match("no hash at all", SECRET) is False
    passwords.close()


@pytest.mark.parametrize(
    ("password", "why"),
    [
        (b"", "at least 8"),
        ("\u00e4\u00f6\u00fc\u00df".encode(), "at least 8"),
        (b"password", "too easy"),
        (b"qwertyuiop", "too easy"),
        (b"Ada Lovelace", "too easy"),
        (b"\xff" * 20, "UTF-8"),
        (b"x" * 1025, "at most 1,024"),
        (b"correct horse battery staple", None),
        (b"password" * 8, "too easy"),
        (b"a" * 30 + b"kjhiu3h4riuh", None),  # the end is strong
        (b"Ada Lovelace and Countess", None),
        ("\u5bc6\u7801\u5f88\u957f\u4f46\u662f\u5f88\u597d\u8bb0".encode(), None),
    ],
)
def test_a_weak_password_is_refused_with_the_reason(password: bytes, why: str | None) -> None:
    problem = problem_with(password, "Ada Lovelace")
    assert (why is None and problem is None) or (why is not None and why in str(problem))


def test_the_slowest_password_for_zxcvbn_is_judged_soon() -> None:
    """64 characters that can each stand for several letters took six seconds."""
    begun = time.process_time()
    for password in ("4@8({[<69!|1|7$50+%2", "a4@b8c({[<g69i1!|l7|o0s$5t+7x%z2"):
        assert problem_with((password * 4).encode()[:64], "Ada") is None
    assert time.process_time() - begun < 1


@given(st.text(min_size=MIN_LENGTH, max_size=64))
def test_what_is_judged_is_never_longer_than_can_be_judged_soon(password: str) -> None:
    assume(len(password.encode(errors="replace")) <= MAX_BYTES)
    judged: list[str] = []

    def note(text: str, _known: list[str]) -> dict[str, int]:
        judged.append(text)
        return {"guesses": 0}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "zxcvbn", note)
        problem_with(password.encode(errors="replace"), "Ada")
    assert judged
    assert max(map(len, judged)) <= JUDGED

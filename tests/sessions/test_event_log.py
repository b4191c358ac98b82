"""Events become lines; a client that causes the same one again and again causes few of them."""

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hello_tornado.sessions.event_log import INTERVAL, REMEMBERED, EventLog, logger
from hello_tornado.sessions.events import (
    CookieRejected,
    Created,
    Expired,
    RecordUnreadable,
    SessionEvent,
    TouchFailed,
)
from hello_tornado.sessions.testing import NOW


class Lines(logging.Handler):
    """What is written to the library's logger, as a list."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(autouse=True)
def at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def expired(number: int) -> SessionEvent:
    return Expired(f"{number:020x}", "ada")


def counted(log: EventLog, event: SessionEvent) -> int:
    """How many entries of the log's memory are read, written or moved for one event."""
    operations = 0

    class Counting(type(log._written)):  # type: ignore[misc]
        pass

    for name in (
        "get",
        "__setitem__",
        "__delitem__",
        "move_to_end",
        "popitem",
        "__iter__",
        "items",
    ):

        def count(self: Any, *args: Any, _name: str = name, **options: Any) -> Any:
            nonlocal operations
            operations += len(self) if _name in {"__iter__", "items"} else 1
            return getattr(super(Counting, self), _name)(*args, **options)

        setattr(Counting, name, count)
    log._written = Counting(log._written)
    operations = 0
    log(event)
    return operations


@pytest.mark.parametrize("remembered", [0, 100, REMEMBERED, REMEMBERED + 100])
@pytest.mark.slow
def test_an_event_costs_the_same_however_many_are_remembered(remembered: int, clock: Any) -> None:
    log = EventLog(clock)
    for number in range(remembered):
        log(expired(number))
    assert counted(log, expired(-1)) <= 5
    assert len(log._written) <= REMEMBERED


@pytest.mark.slow
def test_what_is_remembered_is_bounded_and_the_oldest_is_forgotten_first(clock: Any) -> None:
    log = EventLog(clock)
    for number in range(REMEMBERED + 1):
        log(expired(number))
    assert len(log._written) == REMEMBERED
    assert expired(0) not in log._written
    assert expired(1) in log._written


@given(
    st.lists(st.tuples(st.integers(-2 * INTERVAL, 2 * INTERVAL), st.integers(0, 3)), max_size=40)
)
def test_each_event_is_written_once_a_minute_and_none_is_uncounted(
    steps: list[tuple[int, int]],
) -> None:
    """Also when the clock is put right by minutes in between."""
    now = NOW
    written_at: dict[int, int] = {}
    left_out = dict.fromkeys(range(4), 0)
    expected = []
    log, lines = EventLog(lambda: now), Lines()
    logger.addHandler(lines)
    try:
        for step, number in steps:
            now += step
            log(expired(number))
            if number in written_at and 0 <= now - written_at[number] < INTERVAL:
                left_out[number] += 1
            else:
                expected.append(left_out[number])
                written_at[number], left_out[number] = now, 0
    finally:
        logger.removeHandler(lines)
    told = [int(line.partition(" left_out=")[2] or 0) for line in lines.lines]
    assert told == expected


@pytest.mark.parametrize(
    "event",
    [
        CookieRejected("not_ours"),
        Expired("handle", None),
        RecordUnreadable("handle", "unreadable session data"),
        TouchFailed("handle", "the store is down"),
    ],
)
def test_what_each_request_of_a_client_can_cause_again_is_one_line(
    event: SessionEvent, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log = EventLog(clock)
    for _ in range(100):
        log(event)
        log(Created("handle", None))
    name = type(event).__name__
    assert len([line for line in caplog.messages if line.startswith(name)]) == 1
    clock.advance(minutes=1)
    log(event)
    assert caplog.messages[-1].endswith(" left_out=99")


def test_a_clock_that_was_ahead_does_not_silence_the_log(
    clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log = EventLog(clock)
    log(CookieRejected("not_ours"))
    clock.now -= 400 * 86_400_000_000
    log(CookieRejected("not_ours"))
    assert len(caplog.messages) == 2

"""Questions that come together travel together."""

import asyncio
from collections.abc import Sequence

import pytest

from hello_tornado.sessions.errors import StoreTimeout, StoreUnavailable
from hello_tornado.sessions.stores.batching import AGAIN, Again, Batcher

pytestmark = pytest.mark.gen_test


class Doubler:
    """Doubles numbers, many at once, when it is let to; knows what it was asked."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.is_asked = asyncio.Event()
        self.under_way = 0
        self.most_under_way = 0

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(numbers))
        self.is_asked.set()
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.may_answer.wait()
        self.under_way -= 1
        if -1 in numbers:
            raise ZeroDivisionError
        if -2 in numbers:
            raise StoreUnavailable("away")
        if -3 in numbers:
            raise StoreTimeout("too slow")
        return [2 * number for number in numbers]


def once(number: int, _same: int) -> int:
    return number


def in_turn(_earlier: int, _later: int) -> None:
    pass


async def asked(batcher: Batcher[int, int, int], *numbers: int) -> list[int | BaseException]:
    return await asyncio.gather(*(batcher(n, n) for n in numbers), return_exceptions=True)


async def test_a_lone_question_goes_at_once() -> None:
    call = Doubler()
    assert await Batcher(call, once)(1, 1) == 2
    assert call.batches == [[1]]


async def test_questions_of_one_moment_are_one_call() -> None:
    call = Doubler()
    assert await asked(Batcher(call, once), 1, 2, 3) == [2, 4, 6]
    assert call.batches == [[1, 2, 3]]


async def test_what_comes_while_a_call_is_under_way_waits_for_the_next() -> None:
    call = Doubler()
    call.may_answer.clear()
    batcher = Batcher[int, int, int](call, once)
    first = asyncio.ensure_future(batcher(1, 1))
    await call.is_asked.wait()
    rest = asyncio.ensure_future(asked(batcher, 2, 3, 4))
    await asyncio.sleep(0)
    call.may_answer.set()
    assert (await first, await rest) == (2, [4, 6, 8])
    assert call.batches == [[1], [2, 3, 4]]
    assert call.most_under_way == 1


async def test_a_call_carries_at_most_its_limit() -> None:
    call = Doubler()
    assert len(await asked(Batcher(call, once, limit=4), *range(10))) == 10
    assert [len(batch) for batch in call.batches] == [4, 4, 2]


async def test_two_lanes_are_two_calls_at_a_time() -> None:
    call = Doubler()
    call.may_answer.clear()
    batcher = Batcher[int, int, int](call, once, lanes=2, limit=1)
    answers = asyncio.ensure_future(asked(batcher, *range(6)))
    await call.is_asked.wait()
    call.may_answer.set()
    assert await answers == [0, 2, 4, 6, 8, 10]
    assert call.most_under_way == 2


async def test_a_shared_question_is_asked_once() -> None:
    call = Doubler()
    assert await asked(Batcher(call, once), 5, 5, 5) == [10, 10, 10]
    assert call.batches == [[5]]


async def test_questions_that_are_not_shared_take_turns_under_their_key() -> None:
    call = Doubler()
    batcher = Batcher[str, int, int](call, in_turn)
    assert await asyncio.gather(batcher("k", 1), batcher("k", 2), batcher("other", 3)) == [2, 4, 6]
    assert call.batches == [[1, 3], [2]]


async def test_a_bad_question_does_not_fail_its_neighbours() -> None:
    call = Doubler()
    one, bad, two = await asked(Batcher(call, once), 1, -1, 2)
    assert (one, two) == (2, 4)
    assert isinstance(bad, ZeroDivisionError)
    assert call.batches == [[1, -1, 2], [1], [-1], [2]]


async def test_after_an_unknown_outcome_nothing_is_asked_again() -> None:
    call = Doubler()
    answers = await asked(Batcher(call, once), 1, -2)
    assert [type(answer) for answer in answers] == [StoreUnavailable, StoreUnavailable]
    assert call.batches == [[1, -2]]


async def test_whoever_waits_behind_a_call_that_took_too_long_is_told_at_once() -> None:
    call = Doubler()
    call.may_answer.clear()
    batcher = Batcher[int, int, int](call, once)
    slow = asyncio.ensure_future(asked(batcher, -3))
    await call.is_asked.wait()
    behind = asyncio.ensure_future(asked(batcher, 1, 2))
    await asyncio.sleep(0)
    call.may_answer.set()
    answers = [*await slow, *await behind]
    assert [type(answer) for answer in answers] == [StoreTimeout] * 3
    assert call.batches == [[-3]], "they were not even asked"
    assert await batcher(3, 3) == 6


async def test_a_caller_that_leaves_does_not_take_the_answer_with_it() -> None:
    call = Doubler()
    call.may_answer.clear()
    batcher = Batcher[int, int, int](call, once)
    leaving, staying = asyncio.ensure_future(batcher(1, 1)), asyncio.ensure_future(batcher(1, 1))
    await call.is_asked.wait()
    leaving.cancel()
    call.may_answer.set()
    assert await staying == 2
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await batcher(2, 2) == 4


async def test_what_waits_is_folded_up_to_what_cannot_be() -> None:
    def total(one: int, other: int) -> int | None:
        return one + other if one + other < 10 else None

    call = Doubler()
    batcher = Batcher[str, int, int](call, total)
    answers = await asyncio.gather(*(batcher("k", number) for number in (1, 2, 3, 8, 1)))
    assert answers == [12, 12, 12, 18, 18]
    assert call.batches == [[6], [9]]


async def test_a_folded_question_that_fails_is_asked_in_its_parts() -> None:
    call = Doubler()
    batcher = Batcher[str, int, int](call, lambda one, other: one + other)
    one, bad = await asyncio.gather(batcher("k", 0), batcher("k", -1), return_exceptions=True)
    assert one == 0
    assert isinstance(bad, ZeroDivisionError)
    assert call.batches == [[-1], [0], [-1]]


async def test_an_answer_may_be_an_error_or_again() -> None:
    batches: list[list[int]] = []

    async def call(numbers: Sequence[int]) -> list[int | Again | Exception]:
        batches.append(list(numbers))
        answers: list[int | Again | Exception] = []
        for number in numbers:
            if number == -1:
                answers.append(ZeroDivisionError())
            else:
                answers.append(AGAIN if number % 2 and len(batches) == 1 else 2 * number)
        return answers

    batcher = Batcher[int, int, int](call, once)
    results = await asyncio.gather(*(batcher(n, n) for n in (1, -1, 2)), return_exceptions=True)
    assert (results[0], results[2]) == (2, 4)
    assert isinstance(results[1], ZeroDivisionError)
    assert batches == [[1, -1, 2], [1]]


async def test_no_question_waits_longer_than_its_limit_however_slow_the_calls_before_it() -> None:
    call = Doubler()
    call.may_answer.clear()
    batcher = Batcher[int, int, int](call, once, seconds=0.2)
    started = asyncio.get_running_loop().time()
    answers = await asked(batcher, 1, 2)
    assert [type(answer) for answer in answers] == [StoreTimeout] * 2
    with pytest.raises(StoreTimeout):
        await batcher(3, 3)
    assert asyncio.get_running_loop().time() - started < 0.8
    call.may_answer.set()
    assert await batcher(4, 4) == 8
    assert call.batches == [[1, 2], [4]], "whoever was told that it is too late is not asked for"


async def test_a_question_whose_time_is_over_is_not_put_again() -> None:
    batches: list[list[int]] = []

    async def call(numbers: Sequence[int]) -> list[Again]:
        batches.append(list(numbers))
        await asyncio.sleep(0.05)
        return [AGAIN for _ in numbers]

    batcher = Batcher[int, int, int](call, once, seconds=0.2)
    with pytest.raises(StoreTimeout):
        await batcher(1, 1)
    await asyncio.sleep(0.1)
    asked_until_then = len(batches)
    await asyncio.sleep(0.2)
    assert len(batches) == asked_until_then
    assert not batcher.has_waiting(1)


def test_another_event_loop_finds_nothing_of_the_last_one() -> None:
    call = Doubler()
    batcher = Batcher[int, int, int](call, once)

    async def left_in_the_middle() -> None:
        call.may_answer = asyncio.Event()
        batcher(1, 1)
        batcher(2, 2)

    async def asked_anew() -> int:
        call.may_answer.set()
        return await batcher(3, 3)

    asyncio.run(left_in_the_middle())
    assert asyncio.run(asked_anew()) == 6
    assert call.batches[-1] == [3]

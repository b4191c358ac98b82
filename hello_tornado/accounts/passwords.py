"""Hashes passwords with argon2id in threads, and refuses weak ones.

argon2-cffi releases Python's global lock while it computes, so the event loop keeps running. Only
a few computations run or wait at a time, because each needs memory and a processor.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn

T = TypeVar("T")

MIN_LENGTH: Final = 8  # characters
MAX_BYTES: Final = 1024
# The most characters that zxcvbn judges at once: 12 take it up to 30 ms, 64 take it up to 6 s.
JUDGED: Final = 12
MIN_GUESSES: Final = 10**6
MAX_WAITING: Final = 32

# OWASP: argon2id with at least 19 MiB, two passes, one lane.
HASHER: Final = PasswordHasher(time_cost=2, memory_cost=32 * 1024, parallelism=1)


class PasswordsBusy(Exception):
    """Too many passwords are waiting to be hashed: one more would have to wait too long."""


class Passwords:
    """Computes hashes of passwords, a few at a time.

    At most *max_waiting* (32) computations wait for a thread. `hash`, `match` and `problem_with`
    raise `PasswordsBusy` beyond that.
    """

    def __init__(self, hasher: PasswordHasher = HASHER, *, max_waiting: int = MAX_WAITING) -> None:
        threads = min(4, os.cpu_count() or 1)
        self._hasher = hasher
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._places = threads + max_waiting
        self._nobodys = hasher.hash(os.urandom(16))

    async def hash(self, password: bytes) -> str:
        """Return an argon2id hash of *password*, with its salt and its parameters."""
        return await self._compute(partial(self._hasher.hash, password))

    async def match(self, stored: str | None, password: bytes) -> bool:
        """Whether *stored* is a hash of *password*; takes equally long if *stored* is None."""

        def verify() -> bool:
            try:
                return self._hasher.verify(stored or self._nobodys, password) and stored is not None
            except (VerificationError, InvalidHashError):
                return False

        return await self._compute(verify)

    def is_dated(self, stored: str) -> bool:
        """Whether *stored* was made with other parameters than those of new hashes."""
        return self._hasher.check_needs_rehash(stored)

    async def problem_with(self, password: bytes, name: str) -> str | None:
        """Return what is wrong with a new password, in words for its user; None if it is good."""
        return await self._compute(partial(problem_with, password, name))

    async def _compute(self, function: Callable[[], T]) -> T:
        if not self._places:
            raise PasswordsBusy
        self._places -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)
        finally:
            self._places += 1

    def close(self) -> None:
        """Wait for the computations that run, then stop the threads."""
        self._threads.shutdown()


def problem_with(password: bytes, name: str) -> str | None:
    """Return what is wrong with a new password of *name*, in words for its user, or None."""
    if len(password) > MAX_BYTES:
        return f"Please choose a password of at most {MAX_BYTES:,} bytes."
    try:
        text = password.decode()
    except UnicodeDecodeError:
        return "Please choose a password that is encoded in UTF-8."
    if len(text) < MIN_LENGTH:
        return f"Please choose a password of at least {MIN_LENGTH} characters."
    if _is_easy_to_guess(text, name):
        return "Please choose another password: this one is too easy to guess."
    return None


def _is_easy_to_guess(text: str, name: str) -> bool:
    """Whether the beginning and the end of *text* are both weak; one strong part is enough."""
    known = [name, name[:JUDGED], name[-JUDGED:], *name.split()]
    parts = dict.fromkeys([text[:JUDGED], text[-JUDGED:]])
    return all(zxcvbn(part, known)["guesses"] < MIN_GUESSES for part in parts)

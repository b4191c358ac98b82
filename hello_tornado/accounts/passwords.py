"""Passwords: hashed with argon2id in threads of their own, and refused when they are too weak.

argon2-cffi lets go of Python's lock while it computes, so the event loop goes on; and no more than
a few computations run or wait at a time, for each takes its memory and its processor.
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
# Characters that zxcvbn is given at once: for 12 it takes 30 ms at worst, for 64 it takes 6 s.
JUDGED: Final = 12
MIN_GUESSES: Final = 10**6
MAX_WAITING: Final = 32

# OWASP: argon2id with at least 19 MiB, two passes, one lane.
HASHER: Final = PasswordHasher(time_cost=2, memory_cost=32 * 1024, parallelism=1)


class PasswordsBusy(Exception):
    """So many passwords wait to be computed that one more would wait too long."""


class Passwords:
    """Computes hashes, a few at a time."""

    def __init__(self, hasher: PasswordHasher = HASHER, *, max_waiting: int = MAX_WAITING) -> None:
        threads = min(4, os.cpu_count() or 1)
        self._hasher = hasher
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._places = threads + max_waiting
        self._nobodys = hasher.hash(os.urandom(16))

    async def hash(self, password: bytes) -> str:
        """What is stored of *password*: an argon2id hash with its salt and its parameters."""
        return await self._compute(partial(self._hasher.hash, password))

    async def match(self, stored: str | None, password: bytes) -> bool:
        """Whether *stored* was made of *password*; takes as long when there is nothing stored."""

        def verify() -> bool:
            try:
                return self._hasher.verify(stored or self._nobodys, password) and stored is not None
            except (VerificationError, InvalidHashError):
                return False

        return await self._compute(verify)

    def is_dated(self, stored: str) -> bool:
        """Whether *stored* was made with other parameters than would be used today."""
        return self._hasher.check_needs_rehash(stored)

    async def problem_with(self, password: bytes, name: str) -> str | None:
        """Why this is no password for the user *name*, in words for that person."""
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
        """End the threads."""
        self._threads.shutdown()


def problem_with(password: bytes, name: str) -> str | None:
    """Why this is no password for the user *name*, in words for that person."""
    if len(password) > MAX_BYTES:
        return f"Please choose a password of at most {MAX_BYTES:,} bytes."
    try:
        text = password.decode()
    except UnicodeDecodeError:
        return "Please choose a password of characters in UTF-8."
    if len(text) < MIN_LENGTH:
        return f"Please choose a password of at least {MIN_LENGTH} characters."
    if _is_easy_to_guess(text, name):
        return "Please choose another password: this one is too easy to guess."
    return None


def _is_easy_to_guess(text: str, name: str) -> bool:
    """Whether neither the beginning nor the end of a password is strong: one of them suffices."""
    known = [name, name[:JUDGED], name[-JUDGED:], *name.split()]
    parts = dict.fromkeys([text[:JUDGED], text[-JUDGED:]])
    return all(zxcvbn(part, known)["guesses"] < MIN_GUESSES for part in parts)

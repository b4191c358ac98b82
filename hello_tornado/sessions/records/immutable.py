"""Dataclasses whose objects must not be changed, for small values that each request creates.

mypy reports an assignment to a field. Nothing prevents one at run time: with `frozen=True`, the
constructor sets each field by a function call, which makes a small object twice and a bigger one
three times as expensive to create.
"""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def immutable(cls: type[T]) -> type[T]:
    """Make *cls* a dataclass with slots, compared and hashed by its fields."""
    return dataclass(slots=True, unsafe_hash=True)(cls)

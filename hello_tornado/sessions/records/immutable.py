"""Classes of values that nobody changes: many are made with each request, and few are ever kept.

mypy refuses an assignment to one. At run time nothing does, because `frozen=True` makes of each
field that is set a call, which doubles the cost of a small value and triples that of a bigger one.
"""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def immutable(cls: type[T]) -> type[T]:
    """Make *cls* a dataclass with slots, whose objects are compared and hashed by their fields."""
    return dataclass(slots=True, unsafe_hash=True)(cls)

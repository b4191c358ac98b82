"""The ledger: one line for each request that a visitor sent, and what came back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["begin", "login", "increment", "append", "set", "read", "logout"]
Answer = str
"""How a request ended: "ok", "anonymous" (the cookie is unknown), an HTTP status, "refused" (no
connection), "closed" (it broke before the answer), "silent" (the visitor's patience is over)."""

ANSWERED = ("ok", "anonymous")


@dataclass(frozen=True, slots=True)
class Seen:
    """The session as an answer showed it."""

    user: str | None = None
    owner: str | None = None
    count: int = 0
    marks: tuple[str, ...] = ()
    lanes: Mapping[str, int] = field(default_factory=dict)
    left: str | None = None
    right: str | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Seen":
        return cls(**{**document, "marks": tuple(document.get("marks", ()))})


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a visitor.

    `session` is the name of the visitor's session; no two sessions have the same name, and each
    belongs to a user of that name. `sent` and `answered` are seconds of one monotonic clock.
    `is_old_id` marks a request with the id that the session had before its login.
    """

    session: str
    kind: Kind
    process: int
    sent: float
    answered: float
    answer: Answer
    seen: Seen | None = None
    lane: str = ""
    mark: str = ""
    value: int = 0
    is_old_id: bool = False
    is_last_look: bool = False

    @property
    def is_acknowledged(self) -> bool:
        """Whether the answer said that the request was done."""
        return self.answer == "ok"

    @property
    def seconds(self) -> float:
        """How long the answer took."""
        return self.answered - self.sent

"""What a commit means for the browser's cookie."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from hello_tornado.sessions.records.ids import SessionId


@dataclass(frozen=True, slots=True)
class Keep:
    """The browser has the right cookie, or rightly none."""


@dataclass(frozen=True, slots=True)
class Issue:
    """The browser needs a cookie with this id."""

    session_id: SessionId


@dataclass(frozen=True, slots=True)
class Clear:
    """The session has ended: the browser's cookie should go."""


CookieAction: TypeAlias = Keep | Issue | Clear

KEEP: Final = Keep()

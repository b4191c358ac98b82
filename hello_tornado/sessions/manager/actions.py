"""What a commit means for the browser's cookie."""

from typing import Final, TypeAlias

from hello_tornado.sessions.records.ids import SessionId
from hello_tornado.sessions.records.immutable import immutable


@immutable
class Keep:
    """The browser has the right cookie, or rightly none."""


@immutable
class Issue:
    """The browser needs a cookie with this id."""

    session_id: SessionId


@immutable
class Clear:
    """The session has ended: the browser's cookie should go."""


CookieAction: TypeAlias = Keep | Issue | Clear

KEEP: Final = Keep()

"""The results of a commit: what to do about the browser's cookie."""

from typing import Final, TypeAlias

from hello_tornado.sessions.records.ids import SessionId
from hello_tornado.sessions.records.immutable import immutable


@immutable
class Keep:
    """Send no cookie: the browser has the right one, or needs none."""


@immutable
class Issue:
    """Send a cookie with this session id."""

    session_id: SessionId


@immutable
class Clear:
    """Delete the browser's cookie, because the session has ended."""


CookieAction: TypeAlias = Keep | Issue | Clear

KEEP: Final = Keep()

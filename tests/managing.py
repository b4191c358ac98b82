"""Sessions that a manager stores without an application around it."""

from typing import Any

from hello_tornado.sessions import Session, SessionManager
from hello_tornado.sessions.manager.actions import Issue
from hello_tornado.sessions.records.ids import SessionId


async def committed(manager: SessionManager, session: Session) -> SessionId:
    """The id of a session that has to get one when it is committed now."""
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    return action.session_id


async def stored(manager: SessionManager, user_id: str | None = None, **data: Any) -> SessionId:
    """The id of a new session with this data."""
    session = await manager.open(None)
    session.update(data)
    if user_id is not None:
        session.login(user_id)
    return await committed(manager, session)

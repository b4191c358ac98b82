"""What is kept about sessions, as values for JSON."""

from collections.abc import Callable
from typing import Any

from hello_tornado.cli.session_filter import Selection
from hello_tornado.sessions import SessionManager
from hello_tornado.sessions.records.lifetimes import datetime_of
from hello_tornado.sessions.records.record import Listed
from hello_tornado.sessions.records.serializers import to_json


async def sessions_of(
    manager: SessionManager, user: str, progress: Callable[[int], object]
) -> list[dict[str, Any]]:
    """The facts, the device and the data of each session of a user; *progress* is told of each."""
    result = []
    async for record in Selection(manager.now(), user).records(manager.store):
        progress(1)
        session = await manager.find(record.handle)
        if session is None:  # it has ended meanwhile
            continue
        device = session.device
        result.append(
            facts_of(record)
            | {
                "device": device and {"user_agent": device.user_agent, "address": device.address},
                "data": to_json(dict(session), "data"),
            }
        )
    return result


def facts_of(record: Listed) -> dict[str, Any]:
    """What a record says without its data."""
    return {
        "handle": record.handle,
        "user": record.user_id,
        "created_at": datetime_of(record.created_at).isoformat(),
        "accessed_at": datetime_of(record.accessed_at).isoformat(),
        "expires_at": datetime_of(record.expires_at).isoformat(),
        "bytes": record.size,
    }

"""Turns what is stored about sessions into values for JSON."""

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
    """Return the facts, the device and the data of each session of *user*.

    *progress* is called with 1 for each of them.
    """
    result = []
    async for record in Selection(manager.now(), user).records(manager.store):
        progress(1)
        session = await manager.find(record.handle)
        if session is None:  # it has ended since the list was read
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
    """Return what is stored about a session besides its data."""
    return {
        "handle": record.handle,
        "user": record.user_id,
        "created_at": datetime_of(record.created_at).isoformat(),
        "accessed_at": datetime_of(record.accessed_at).isoformat(),
        "expires_at": datetime_of(record.expires_at).isoformat(),
        "bytes": record.size,
    }

"""How a record is written in Redis, and what the script's answers mean."""

import json
from typing import Any

from hello_tornado.sessions.errors import StoreError
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import (
    Conflict,
    Gone,
    Outcome,
    Saved,
    SessionFacts,
    SessionRecord,
)


def value_of(record: SessionRecord) -> bytes:
    """What stands under the record's key: a line of facts, then the data."""
    facts = (
        record.version,
        record.created_at,
        record.accessed_at,
        record.expires_at,
        record.handle,
        json.dumps(record.user_id),
    )
    return " ".join(map(str, facts)).encode() + b"\n" + record.data


def record_of(key: SessionKey, value: bytes) -> SessionRecord:
    """The record that stands under *key*."""
    facts, _, data = value.partition(b"\n")
    try:
        version, created_at, accessed_at, expires_at, handle, user_id = facts.split(b" ", 5)
        return SessionRecord(
            key=SessionKey(key),
            handle=handle.decode(),
            version=int(version),
            user_id=json.loads(user_id),
            data=data,
            created_at=int(created_at),
            accessed_at=int(accessed_at),
            expires_at=int(expires_at),
        )
    except ValueError as error:
        raise StoreError("a record in Redis was written by another program") from error


def facts_of(key: SessionKey, line: bytes, size: int) -> SessionFacts:
    """The facts in the first *line* of what stands under *key*, and the *size* of its data."""
    return record_of(key, line).facts._replace(size=size)


def outcome_of(answer: Any) -> Outcome | StoreError:
    """What the script says of one swap."""
    match answer:
        case 1:
            return Saved()
        case None:
            return Gone()
        case [key, value]:
            try:
                return Conflict(record_of(key, value))
            except StoreError as error:
                return error
    return StoreError(f"Redis answered a save with {type(answer).__name__}")

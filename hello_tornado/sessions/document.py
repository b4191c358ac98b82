"""All that a session holds, as one JSON object."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeAlias

Document: TypeAlias = dict[str, Any]
"""Three keys: "data" (the handlers'), "meta" (ours) and "user_id"."""


def empty_document() -> Document:
    """The document of a session in which nothing was done."""
    return {"data": {}, "meta": {}, "user_id": None}


def max_age_of(meta: Mapping[str, Any]) -> timedelta | None:
    """The idle timeout that a session has set for itself."""
    return meta.get("max_age")

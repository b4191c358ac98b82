"""Reads and writes durations in the form that people use."""

import re
from datetime import timedelta
from typing import Any, Final

UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
WORDS: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def duration(value: Any) -> timedelta:
    """Parse a duration such as 30m, 12h or 7d; a number without a unit is seconds.

    Raises `ValueError` for anything else. A timedelta is returned unchanged.
    """
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(0|[1-9][0-9]{0,8})([smhd]?)", str(value))
    if match is None:
        raise ValueError(
            "is not a duration; write seconds, or a number with s, m, h or d, such as 30m"
        )
    return timedelta(seconds=int(match[1]) * UNITS[match[2] or "s"])


def words(duration: timedelta) -> str:
    """Return a duration in its largest whole unit, rounded down: "59 minutes"."""
    seconds = max(0, int(duration.total_seconds()))
    for unit, length in WORDS:
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return "less than a second"

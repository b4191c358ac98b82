"""Formats the server's log lines as plain text or JSON.

A request cannot forge a log line, and no cookie is ever logged.
"""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Literal

SIGNED = re.compile(r"2\|\d+:\d*\|\d+:\d+\|\d+:.*")


class WithoutCookies(logging.Filter):
    """Removes signed values from Tornado's messages, such as the one about a malformed header."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True: no record is dropped."""
        message = record.getMessage()
        if "2|" in message:
            record.msg, record.args = SIGNED.sub("2|***", message), ()
        return True


class PlainFormatter(logging.Formatter):
    """One line for each record; further lines, such as a traceback, are indented."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's hook
        """Format the first line; escape characters that would end it or move a cursor."""
        record.message = "".join(map(_printable, record.message))
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """Format the record as text."""
        return super().format(record).replace("\n", "\n    ")


class JsonFormatter(logging.Formatter):
    """One JSON object for each record; the name and facts of an event are separate members."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record as JSON, in ASCII."""
        members = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            members["traceback"] = self.formatException(record.exc_info)
        return json.dumps(members | getattr(record, "event", {}), default=str)


def set_up_logs(kind: Literal["text", "json"], level: int) -> None:
    """Write records of at least *level* to standard error, as plain text or as JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if kind == "json" else PlainFormatter())
    handler.addFilter(WithoutCookies())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _printable(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]

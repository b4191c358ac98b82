"""How the server's log lines look, plain or JSON.

Nobody can write a line of their own, and no cookie gets into one.
"""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Literal

SIGNED = re.compile(r"2\|\d+:\d*\|\d+:\d+\|\d+:.*")


class WithoutCookies(logging.Filter):
    """Takes signed values out of Tornado's own lines, such as that about a malformed header."""

    def filter(self, record: logging.LogRecord) -> bool:
        """True, for every record may pass."""
        message = record.getMessage()
        if "2|" in message:
            record.msg, record.args = SIGNED.sub("2|***", message), ()
        return True


class PlainFormatter(logging.Formatter):
    """One line for each record; what follows it, such as a traceback, is indented."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's hook
        """The first line, in which whatever would end a line or move a cursor is escaped."""
        record.message = "".join(map(_printable, record.message))
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return super().format(record).replace("\n", "\n    ")


class JsonFormatter(logging.Formatter):
    """One JSON object for each record; of an event, its name and facts as members of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON, in ASCII."""
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
    """Write what is logged to standard error, in this form."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if kind == "json" else PlainFormatter())
    handler.addFilter(WithoutCookies())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _printable(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]

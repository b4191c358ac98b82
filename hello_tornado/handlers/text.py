"""Any text as a page can carry it."""

import unicodedata
from typing import Final

RIGHT_TO_LEFT: Final = {"R", "AL", "AN"}


def isolated(text: str) -> str:
    """*text* so that its direction, from right to left say, does not spread to what is around."""
    is_other = any(unicodedata.bidirectional(one) in RIGHT_TO_LEFT for one in text)
    return f"\u2068{text}\u2069" if is_other else text


def shown(text: str) -> str:
    """*text* as a page can carry it: UTF-8 has no form for a lone surrogate."""
    return text.encode(errors="backslashreplace").decode()

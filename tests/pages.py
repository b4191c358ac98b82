"""The code in the README and in the pages of the docs."""

import re
from pathlib import Path

HOME = Path(__file__).parent.parent


def blocks(language: str, page: str = "README.md") -> list[str]:
    """The fenced blocks of a language, in their order."""
    text = (HOME / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)

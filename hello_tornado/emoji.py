"""Emoji of several characters, such as families and coloured hearts, and the joiners in them.

A joiner is invisible. A platform that does not know a sequence shows its emoji side by side, as
they are without joiners: whatever compares texts compares them without.
"""

import re
from typing import Final

# Where Unicode keeps emoji; what else is there is a symbol, too, and no letter.
_EMOJI: Final = (
    r"[\u00a9\u00ae\u2194-\u21aa\u231a-\u23ff\u25aa-\u25fe\u2600-\u27bf\u2934\u2935"
    r"\u2b05-\u2b55\U0001f004-\U0001f0cf\U0001f170-\U0001faff]"
)
_TONE: Final = r"[\U0001f3fb-\U0001f3ff]"
_JOINER: Final = "\u200d"
_SELECTOR: Final = r"[\ufe0e\ufe0f]"  # shows the character before it as text, or as an emoji
# England, Scotland and Wales, spelled in characters that are invisible beside a flag.
_TAGS: Final = [
    "".join(chr(0xE0000 + ord(one)) for one in name) for name in ("gbeng", "gbsct", "gbwls")
]
_FLAG: Final = f"\U0001f3f4(?:{'|'.join(_TAGS)})\U000e007f"
_ONE: Final = f"(?:{_FLAG}|{_EMOJI}{_TONE}?{_SELECTOR}?)"
_KEYCAP: Final = f"[0-9#*]{_SELECTOR}\u20e3"
_SEQUENCE: Final = re.compile(f"{_ONE}(?:{_JOINER}{_ONE})*|{_KEYCAP}")
_INVISIBLE: Final = re.compile(f"{_JOINER}|{_SELECTOR}|[\U000e0020-\U000e007f]")


def without_joiners(text: str) -> str:
    """*text*, each of its sequences of emoji without what is invisible in it.

    A joiner in any other place stays: it is none of an emoji.
    """
    return _SEQUENCE.sub(lambda sequence: _INVISIBLE.sub("", sequence[0]), text)

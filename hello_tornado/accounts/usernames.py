"""Normalizes user names, so that no two users have names that look the same (RFC 8266).

The rules of the RFC refuse invisible characters, and therefore emoji that consist of several
characters. We allow such emoji: names are checked and compared without the invisible characters in
them.
"""

import re
import unicodedata
from typing import Final

from precis_i18n import get_profile

MAX_NAME: Final = 64
# Of the text that was typed: 64 characters of four bytes. The rules for names take time that grows
# with the square of the length, so we check the length first, without looking at a character.
MAX_GIVEN_BYTES: Final = 4 * MAX_NAME
ROUNDS: Final = 4  # RFC 8266, 2.1: the rules are applied until nothing changes, or given up

# These are shown as nothing or as a gap, but the profiles of the RFC allow them as symbols.
BLANKS: Final = frozenset("\u2800\ufffc\U0001d159")
# A dot on a letter that already has one: the letter, other marks on it, and the second dot.
_SECOND_DOT: Final = re.compile("([ij][\u0300-\u0306\u0308-\u036f]*)\u0307")

_as_shown: Final = get_profile("NicknameCasePreserved")
_as_compared: Final = get_profile("NicknameCaseMapped")


class BadName(ValueError):
    """The text cannot be a name; the message is for the person who typed it."""


# Emoji of several characters, such as families and coloured hearts, contain invisible joiners. A
# platform that does not know a sequence shows its emoji side by side, so names are compared without
# joiners. Unicode has its emoji in these ranges; the other characters in them are symbols, too.
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


def shown_name(given: str) -> str:
    """Return the name as its owner typed it, but with single blanks and ordinary widths.

    Raises `BadName` when the text cannot be a name.
    """
    if len(given) > MAX_GIVEN_BYTES or len(given.encode(errors="replace")) > MAX_GIVEN_BYTES:
        raise _too_long(len(given))
    if not given.strip():
        raise BadName("Please enter a name.")
    if not BLANKS.isdisjoint(given):
        raise _invisible()
    # One character can stand for eighteen. This check is cheap, those that follow are not.
    length = len(" ".join(unicodedata.normalize("NFKC", given).split()))
    if length > MAX_NAME:
        raise _too_long(length)
    bare = without_joiners(given)
    name = _stable(bare, _as_shown)
    if bare != given:
        joined = " ".join(unicodedata.normalize("NFKC", given).split())
        if without_joiners(joined) != name:
            raise _not_simple()
        name = joined
    if len(name) > MAX_NAME:
        raise _too_long(len(name))
    if len({ord(one) - unicodedata.decimal(one) for one in name if one.isdecimal()}) > 1:
        raise BadName("Please enter a name with the digits of one script only.")
    return name


def user_id_of(given: str) -> str:
    """Return a form that is the same for names that differ only in case, width, accents or blanks.

    Of accents, only the encoding may differ. Raises `BadName` when the text cannot be a name.
    """
    return _without_second_dots(_stable(without_joiners(shown_name(given)), _as_compared))


def _without_second_dots(name: str) -> str:
    apart, before = unicodedata.normalize("NFD", name), ""
    while apart != before:
        before, apart = apart, _SECOND_DOT.sub(r"\1", apart)
    return unicodedata.normalize("NFC", apart)


def _stable(name: str, profile: object) -> str:
    for _ in range(ROUNDS):
        try:
            before, name = name, profile.enforce(name)  # type: ignore[attr-defined]
        except UnicodeEncodeError:
            raise _invisible() from None
        if name == before:
            return name
    raise _not_simple()


def _invisible() -> BadName:
    return BadName("Please enter a name without control or invisible characters.")


def _not_simple() -> BadName:
    return BadName("Please enter a name without unusual combinations of characters.")


def _too_long(length: int) -> BadName:
    return BadName(f"Please enter a name of at most {MAX_NAME} characters; this one has {length}.")


def without_joiners(text: str) -> str:
    """Return *text* without the invisible characters in its sequences of emoji.

    A joiner in any other place is kept.
    """
    return _SEQUENCE.sub(lambda sequence: _INVISIBLE.sub("", sequence[0]), text)

"""Names of people: one form for each, so that nobody can pass for somebody else (RFC 8266).

The rules of the RFC refuse what is invisible, and with it every emoji that is joined of several. A
name may have such emoji. They are judged and compared without their joiners.
"""

import re
import unicodedata
from typing import Final

from precis_i18n import get_profile

MAX_NAME: Final = 64
# As it is given: 64 characters of four bytes. The rules for names cost the square of the length,
# so the length is checked before them, without looking at a character.
MAX_GIVEN_BYTES: Final = 4 * MAX_NAME
ROUNDS: Final = 4  # RFC 8266, 2.1: applied until nothing changes, which is soon or never

# They are shown as nothing, or as a gap, and the profiles count them among the symbols.
BLANKS: Final = frozenset("\u2800\ufffc\U0001d159")
# A dot on a letter that has one already: the letter, what is on it besides, and the dot.
_SECOND_DOT: Final = re.compile("([ij][\u0300-\u0306\u0308-\u036f]*)\u0307")

_as_shown: Final = get_profile("NicknameCasePreserved")
_as_compared: Final = get_profile("NicknameCaseMapped")


class BadName(ValueError):
    """A text that cannot be a name; the message is for the person who typed it."""


# Emoji of several characters, such as families and coloured hearts, have invisible joiners. A
# platform that does not know a sequence shows its emoji side by side: names are compared without.
# Here Unicode keeps emoji; what else is there is a symbol, too, and no letter.
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
    """The name as its owner writes it, but with single blanks and ordinary widths."""
    if len(given) > MAX_GIVEN_BYTES or len(given.encode(errors="replace")) > MAX_GIVEN_BYTES:
        raise _too_long(len(given))
    if not given.strip():
        raise BadName("Please enter a name.")
    if not BLANKS.isdisjoint(given):
        raise _invisible()
    # One character can stand for eighteen; this step is cheap, and what follows is not.
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
    """What names that look alike by case, width, accents' encoding or blanks have in common."""
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
    return BadName("Please enter a name in simpler characters.")


def _too_long(length: int) -> BadName:
    return BadName(f"Please enter a name of at most {MAX_NAME} characters; this one has {length}.")


def without_joiners(text: str) -> str:
    """*text*, each of its sequences of emoji without what is invisible in it.

    A joiner in any other place stays: it is none of an emoji.
    """
    return _SEQUENCE.sub(lambda sequence: _INVISIBLE.sub("", sequence[0]), text)

"""Checks whether a secret can be guessed. It must look random; how it was made cannot be seen.

Only characters count that are not part of a word, a sequence, a pattern on the keyboard or a
repetition. The words, in several languages, are those of zxcvbn. The digest of a common word is as
weak as the word, and so is a text in base64 or hexadecimal digits.
"""

import base64
import binascii
import hashlib
import math
import re
import string
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

MIN_LENGTH: Final = 32
MIN_DIFFERENT: Final = 8  # characters; of 32 random hexadecimal digits one in a million has fewer
MIN_BITS: Final = 40  # beside the words that are found by chance; 16 random bytes keep 60 or more
LEAST_SHARE: Final = 1 / 3  # of all letters and digits must be outside of words and patterns
JUDGED: Final = 240  # characters; those after them make a secret no stronger
WORD, NUMBER, DISGUISED, RUN = 3, 6, 6, 4  # the shortest lengths that count
DISGUISES: Final = str.maketrans("0134578@$!", "oleastbasi")  # p4ssw0rd
DIGESTS: Final = {16: "md5", 20: "sha1", 28: "sha224", 32: "sha256", 48: "sha384", 64: "sha512"}
EXPECTED: Final = ("cookie_secret", "my secret", "hello_tornado", "tornado", "session", "sessions")
PRINTABLE: Final = frozenset(string.printable.encode())
REPEATED: Final = re.compile(r"(.{2,}?)\1+")
PROSE_SEPARATORS: Final = 4  # different ones in a text; random punctuation has more
BETWEEN_SEPARATORS: Final = re.compile(r"(?<![^\W_])[^\W\d_]{2,15}(?![^\W_])")


def weakness_of(secret: str) -> str | None:
    """Return why *secret* can be guessed, without quoting it; None if it looks random enough."""
    if len(secret) < MIN_LENGTH or len(set(secret)) < MIN_DIFFERENT:
        return f"{len(secret)} characters, {len(set(secret))} different ones"
    if _period(secret) * 2 <= len(secret) or _bits(secret[:JUDGED]) < MIN_BITS:
        return "it consists of words, sequences or repetitions"
    for raw in _decoded(secret):
        if PRINTABLE.issuperset(raw):
            return "it is a text in base64 or hexadecimal digits"
        if _is_digest_of_a_word(raw):
            return "it is the digest of a common word"
    return None


def _period(secret: str) -> int:
    """Return the length of the part that *secret* repeats; the last repetition may be cut off."""
    borders = [0] * len(secret)
    for place in range(1, len(secret)):
        border = borders[place - 1]
        while border and secret[border] != secret[place]:
            border = borders[border - 1]
        borders[place] = border + (secret[border] == secret[place])
    return len(secret) - borders[-1]


def _bits(secret: str) -> float:
    """Return the bits in the letters and digits outside of words and patterns."""
    covered = {place for start, end in _covered(secret) for place in range(start, end)}
    all_of_it = [place for place, character in enumerate(secret) if character.isalnum()]
    free = {secret[place] for place in all_of_it if place not in covered}
    count = sum(place not in covered for place in all_of_it)
    if count < len(all_of_it) * LEAST_SHARE or not free:
        return 0
    alphabets = (
        string.digits,
        string.digits + "abcdef",
        string.digits + "ABCDEF",
        string.ascii_lowercase + string.digits,
        string.ascii_uppercase + string.digits,
    )
    size = min((len(one) for one in alphabets if free.issubset(one)), default=62)
    return count * math.log2(size)


def _covered(secret: str) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each word, sequence, keyboard pattern and repetition."""
    from zxcvbn import matching  # noqa: PLC0415 - slow to import; most commands need no secret

    words, lower = matching.RANKED_DICTIONARIES, secret.lower()
    found = [
        *matching.dictionary_match(lower, words),
        *matching.reverse_dictionary_match(lower, words),
    ]
    for start, end in map(_span, found):
        word = secret[start:end]
        if _is_written_as_a_word(word) and len(word) >= (NUMBER if word.isdigit() else WORD):
            yield start, end
    for start, end in map(_span, matching.dictionary_match(lower.translate(DISGUISES), words)):
        letters = sum(map(str.isalpha, secret[start:end]))
        if end - start >= DISGUISED and letters * 2 >= end - start:
            yield start, end
    for start, end in map(
        _span, [*matching.spatial_match(lower), *matching.sequence_match(secret)]
    ):
        if end - start >= RUN:
            yield start, end
    for repeated in REPEATED.finditer(secret):
        yield repeated.start() + len(repeated[1]), repeated.end()
    yield from _words_of_prose(secret)


def _words_of_prose(secret: str) -> Iterator[tuple[int, int]]:
    """Where the words are when most of *secret* is a text, in any language."""
    between = [one for one in BETWEEN_SEPARATORS.finditer(secret) if _is_written_as_a_word(one[0])]
    separators = {character for character in secret if not character.isalnum()}
    letters = sum(len(one[0]) for one in between)
    if letters * 2 > sum(map(str.isalnum, secret)) and len(separators) <= PROSE_SEPARATORS:
        yield from (one.span() for one in between)


def _span(match: Mapping[str, Any]) -> tuple[int, int]:
    return match["i"], match["j"] + 1


def _is_written_as_a_word(word: str) -> bool:
    """Whether *word* is spelled word, WORD or Word, or has no letters; random texts rarely are."""
    return word in {word.lower(), word.upper(), word.capitalize()}


def _decoded(secret: str) -> Iterator[bytes]:
    """Yield the bytes that *secret* may be the hexadecimal digits or the base64 of."""
    with suppress(ValueError):
        yield bytes.fromhex(secret)
    digits = secret.rstrip("=")
    altchars = "-_" if set("-_") & set(digits) else None
    with suppress(binascii.Error, ValueError):
        yield base64.b64decode(digits + "=" * (-len(digits) % 4), altchars, validate=True)


def _is_digest_of_a_word(raw: bytes) -> bool:
    from zxcvbn import matching  # noqa: PLC0415 - as above

    name = DIGESTS.get(len(raw))
    if name is None:
        return False
    words = ["", *matching.RANKED_DICTIONARIES["passwords"], *EXPECTED]
    return any(hashlib.new(name, word.encode()).digest() == raw for word in words)

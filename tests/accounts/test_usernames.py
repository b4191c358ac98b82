"""One person, one name."""

import itertools
import unicodedata
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from precis_i18n import get_profile

from hello_tornado.accounts import usernames
from hello_tornado.accounts.usernames import (
    MAX_GIVEN_BYTES,
    MAX_NAME,
    BadName,
    shown_name,
    user_id_of,
    without_joiners,
)

APART = "\U0001f468\U0001f469\U0001f467"
FAMILY = "\u200d".join(APART)
PILOT = "\U0001f469\U0001f3fd\u200d\u2708\ufe0f"  # a woman of medium skin tone
WALES = "\U0001f3f4" + "".join(chr(0xE0000 + ord(one)) for one in "gbwls") + "\U000e007f"


@pytest.mark.parametrize(
    ("given", "shown", "user_id"),
    [
        ("Ada", "Ada", "ada"),
        ("  Ada  ", "Ada", "ada"),
        ("ADA LOVELACE", "ADA LOVELACE", "ada lovelace"),
        ("Ada \u00a0\u3000Lovelace", "Ada Lovelace", "ada lovelace"),
        ("\uff21da", "Ada", "ada"),  # full width
        ("A\u0301da", "\u00c1da", "\u00e1da"),  # accents, composed or not
        ("\ufb01n", "fin", "fin"),  # a ligature
        ("\u05d0\u05d1", "\u05d0\u05d1", "\u05d0\u05d1"),
        ("\U0001f600", "\U0001f600", "\U0001f600"),
        (" Ada \u2764\ufe0f", "Ada \u2764\ufe0f", "ada \u2764"),  # a red heart
        (FAMILY, FAMILY, "\U0001f468\U0001f469\U0001f467"),
        (f"  {FAMILY} \uff21da {FAMILY}", f"{FAMILY} Ada {FAMILY}", f"{APART} ada {APART}"),
        (PILOT, PILOT, "\U0001f469\U0001f3fd\u2708"),
        ("1\ufe0f\u20e3", "1\ufe0f\u20e3", "1\u20e3"),  # a key with a 1
        (WALES, WALES, "\U0001f3f4"),
        ("\u0915\u094d\u200d\u0937", "\u0915\u094d\u200d\u0937", "\u0915\u094d\u200d\u0937"),
        ("a" * MAX_NAME, "a" * MAX_NAME, "a" * MAX_NAME),
        ("Adi\u0307", "Adi\u0307", "adi"),  # a dot that nobody sees
        ("ADI\u0307", "AD\u0130", "adi"),
        ("i\u0323\u0307\u0307j\u0307", "\u1ecb\u0307\u0307j\u0307", "\u1ecbj"),
        ("\u0661\u0662", "\u0661\u0662", "\u0661\u0662"),
        ("\uff11 2 \U0001d7d9", "1 2 1", "1 2 1"),
    ],
)
def test_what_looks_alike_is_one_person(given: str, shown: str, user_id: str) -> None:
    assert (shown_name(given), user_id_of(given)) == (shown, user_id)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "enter a name."),
        (" \t\n\u3000", "enter a name."),
        ("Ada\u2800", "invisible"),
        ("\u2800", "invisible"),
        ("\ufffcAda", "invisible"),
        ("A\U0001d159da", "invisible"),
        ("Ada 1\u0661", "digits of one script"),
        ("\u0967\u09e7", "digits of one script"),
        ("a" * 65, "at most 64 characters; this one has 65"),
        ("a" * 10_000, "at most 64 characters; this one has 10000"),
        ("\ufdfa" * 10, "at most 64 characters"),  # one character that becomes eighteen
        ("\u0660" * 1024, "at most 64 characters"),  # its rules cost the square of the length
        ("a\0b", "control or invisible"),
        ("a\r\nb", "control or invisible"),
        ("\u202eevil", "control or invisible"),  # right to left from here
        ("a\u200fb", "control or invisible"),
        ("a\u200bb", "control or invisible"),
        ("\u3164", "control or invisible"),  # a letter that shows nothing
        ("\ufeffAda", "control or invisible"),
        ("\ud800", "control or invisible"),
        ("A\u200dda", "control or invisible"),  # joiners where nothing is joined
        ("Ada\u200d", "control or invisible"),
        ("\U0001f468\u200d", "control or invisible"),
        ("\u200d\U0001f468", "control or invisible"),
        ("\U0001f468\u200d\u200d\U0001f469", "control or invisible"),
        ("\U0001f468\u200da", "control or invisible"),
        ("\U0001f468 \u200d\U0001f469", "control or invisible"),
        ("Ada\ufe0f", "control or invisible"),  # the same of what selects a form
        ("\u2764\ufe0f\ufe0f", "control or invisible"),
        ("1\ufe0f", "control or invisible"),
        ("\U0001f3f4\U000e0067\U000e007f", "control or invisible"),  # and of the tags of flags
        ("Ada\U000e0067", "control or invisible"),
        ("\U0001f468\u200c\U0001f469", "control or invisible"),  # which keeps apart
        (FAMILY + "\u200b", "control or invisible"),
        (FAMILY * 13, "at most 64 characters"),
    ],
)
def test_what_is_no_name_is_said_clearly(given: str, why: str) -> None:
    for function in (shown_name, user_id_of):
        with pytest.raises(BadName) as refused:
            function(given)
        assert why in str(refused.value)


INVISIBLE = "\u200d\ufe0f\ufe0e\u200c\U000e0067\U000e007f"
LETTERS = "aA1# \u20e3\u0301\u094d\u0915\u05d0"
NEIGHBOURS = f"{LETTERS}\U0001f468\U0001f3fd\u2764\u2194\U0001f3f4\U0001f1e9\u2122"
joined_names = st.one_of(
    st.text(max_size=MAX_NAME),
    st.text(INVISIBLE + NEIGHBOURS, max_size=12),
    st.lists(st.sampled_from([FAMILY, PILOT, WALES, *INVISIBLE, *NEIGHBOURS])).map("".join),
)


def test_a_name_is_no_longer_when_it_is_compared() -> None:
    """In small letters each of these is two characters, a letter and a dot."""
    assert user_id_of("\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}" * MAX_NAME) == "i" * MAX_NAME


@given(joined_names | st.text("\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}aA", max_size=MAX_NAME))
def test_a_name_has_one_form_for_ever(text: str) -> None:
    try:
        user_id = user_id_of(text)
    except BadName:
        return
    assert user_id_of(user_id) == user_id
    assert shown_name(shown_name(text)) == shown_name(text)
    assert user_id_of(shown_name(text)) == user_id
    assert user_id_of(f"  {text} ") == user_id
    assert 0 < len(user_id) <= MAX_NAME


@given(st.text(min_size=MAX_NAME, max_size=2048))
def test_no_rule_is_asked_about_more_than_a_name(text: str) -> None:
    """The rules of PRECIS cost the square of the length: 1,024 digits took a quarter second."""
    asked: list[str] = []

    class Noting:
        def enforce(self, name: str) -> str:
            asked.append(name)
            return name

    with pytest.MonkeyPatch.context() as patch, suppress(BadName):
        patch.setattr(usernames, "_as_shown", Noting())
        shown_name(text)
    assert all(len(name.encode(errors="replace")) <= MAX_GIVEN_BYTES for name in asked)


@given(joined_names)
def test_what_is_invisible_makes_no_other_person(text: str) -> None:
    """A platform that does not know a sequence shows the same without its joiners."""
    try:
        user_id = user_id_of(text)
    except BadName:
        return
    bare = text.translate(dict.fromkeys(map(ord, "\ufe0e\ufe0f")))
    assert user_id_of(bare) == user_id
    assert not set(user_id) & set("\ufe0e\ufe0f")
    assert unicodedata.category(user_id[-1]) != "Cf" or "\u094d" in user_id
    for before, one in itertools.pairwise(user_id):
        assert one not in "\u200c\u200d" or before == "\u094d", "the RFC allows it there"


@given(st.text(max_size=MAX_NAME))
def test_a_name_without_emoji_is_judged_by_the_rules_alone(text: str) -> None:
    if without_joiners(text) != text:
        return
    try:
        expected = get_profile("NicknameCaseMapped").enforce(text)
        user_id = user_id_of(text)
    except (BadName, UnicodeEncodeError):
        return
    assert user_id == get_profile("NicknameCaseMapped").enforce(expected)

"""One person, one name."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hello_tornado import names
from hello_tornado.names import MAX_GIVEN_BYTES, MAX_NAME, BadName, shown_name, user_id_of


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
        ("a" * MAX_NAME, "a" * MAX_NAME, "a" * MAX_NAME),
    ],
)
def test_what_looks_alike_is_one_person(given: str, shown: str, user_id: str) -> None:
    assert (shown_name(given), user_id_of(given)) == (shown, user_id)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "enter a name."),
        (" \t\n\u3000", "enter a name."),
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
    ],
)
def test_what_is_no_name_is_said_clearly(given: str, why: str) -> None:
    for function in (shown_name, user_id_of):
        with pytest.raises(BadName) as refused:
            function(given)
        assert why in str(refused.value)


@given(st.text(max_size=MAX_NAME))
def test_a_name_has_one_form_for_ever(text: str) -> None:
    try:
        user_id = user_id_of(text)
    except BadName:
        return
    assert user_id_of(user_id) == user_id
    assert shown_name(shown_name(text)) == shown_name(text)
    assert user_id_of(shown_name(text)) == user_id
    assert user_id_of(f"  {text} ") == user_id
    assert 0 < len(user_id) <= 255


@given(st.text(min_size=MAX_NAME, max_size=2048))
def test_no_rule_is_asked_about_more_than_a_name(text: str) -> None:
    """The rules of PRECIS cost the square of the length: 1,024 digits took a quarter second."""
    asked: list[str] = []

    class Noting:
        def enforce(self, name: str) -> str:
            asked.append(name)
            return name

    with pytest.MonkeyPatch.context() as patch, suppress(BadName):
        patch.setattr(names, "_as_shown", Noting())
        shown_name(text)
    assert all(len(name.encode(errors="replace")) <= MAX_GIVEN_BYTES for name in asked)

"""msgspec and the standard library are one language: each reads and writes what the other does."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hello_tornado.sessions.records import json_text
from hello_tornado.sessions.records.json_text import STANDARD, JsonText, installed, with_msgspec
from hello_tornado.sessions.records.serializers import JsonSerializer
from hello_tornado.sessions.session.operations import same

MSGSPEC = with_msgspec()
BOTH = (STANDARD, MSGSPEC)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=12,
)
TOKENS = st.sampled_from(
    [
        *'[]{},:"\\/ \t\n\x0b\x00\x7f+-.0189eEu_é',
        *("true", "false", "null", "nan", "NaN", "Infinity", "-Infinity", "-0", "1e400", "5e-324"),
        *("\\ud800", "\\ud83d\\ude00", "\\udc00", "\\u00e9", "\\u 041", "\\n", "\\a", '""', '"a":'),
        *("18446744073709551616", "9" * 400, "9" * 5000, "0.1e-400", "\ufeff", "\u0661"),
    ]
)


def outcome(text: JsonText, raw: bytes) -> Any:
    try:
        return text.decode(raw)
    except (ValueError, RecursionError):
        return "refused"


def mutated(value: Any, place: int, piece: bytes, cut: int) -> bytes:
    raw = json.dumps(value).encode()
    return raw[: place % (len(raw) + 1)] + piece + raw[place % (len(raw) + 1) + cut :]


@given(
    st.lists(TOKENS, max_size=8).map(lambda tokens: "".join(tokens).encode())
    | st.binary(max_size=20)
    | st.builds(mutated, VALUES, st.integers(0, 99), st.binary(max_size=3), st.integers(0, 3))
)
@example(b"[" * 100_000)
@example(b'{"a":1,"a":2}')
@settings(max_examples=2000)
def test_the_same_bytes_are_read_alike(raw: bytes) -> None:
    assert same(outcome(MSGSPEC, raw), outcome(STANDARD, raw))


@pytest.mark.parametrize("text", BOTH, ids=lambda text: text.library)
def test_a_lone_surrogate_is_read_from_its_escape_and_not_written(text: JsonText) -> None:
    assert text.decode(b'{"a":"\\ud800"}') == {"a": "\ud800"}
    with pytest.raises(ValueError, match="surrogates not allowed"):
        text.encode({"a": "\ud800"})


@given(VALUES)
def test_each_reads_what_the_other_writes(value: Any) -> None:
    for writer in BOTH:
        for reader in BOTH:
            assert same(reader.decode(writer.encode(value)), value)


@given(st.recursive(st.none() | st.integers(-(2**63), 2**63 - 1) | TEXTS, st.lists))
def test_both_write_the_same_bytes(value: Any) -> None:
    assert MSGSPEC.encode(value) == STANDARD.encode(value)


@pytest.mark.parametrize("text", BOTH, ids=lambda text: text.library)
def test_a_serializer_takes_either(text: JsonText) -> None:
    serializer = JsonSerializer(text)
    document = {"data": {"name": "Zoë", "tags": {"a", "b"}}, "meta": {"n": 1.5}}
    assert serializer.loads(serializer.dumps(document)) == document


def test_without_msgspec_the_standard_library_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed().library == "msgspec"
    monkeypatch.setattr(json_text, "find_spec", lambda _name: None)
    assert installed() is STANDARD

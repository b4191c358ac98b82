"""Our reading and making of signed values, held against Tornado's."""

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from tornado.web import create_signed_value, decode_signed_value

from hello_tornado.sessions.carriers.signing import Keyring
from hello_tornado.sessions.records.ids import SessionId

NOW = 1_800_000_000
SECRET = "s" * 40
AGES = st.integers(-1_000, 800 * 86_400)

names = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}", fullmatch=True)
ids = st.from_regex(r"[\x21-\x7e]{22,128}", fullmatch=True)
one_secret = st.text(st.characters(exclude_categories=["Cs"]), min_size=16) | st.binary(min_size=16)
secrets: Any = one_secret | st.dictionaries(st.integers(-9, 10**6), one_secret, min_size=1)


def tornados_reading(secret: Any, name: str, text: str) -> str | None:
    """What Tornado makes of it, by our rules: version 2, 400 days, ASCII, no longer than 512."""
    value = decode_signed_value(
        secret, name, text, max_age_days=400, clock=lambda: NOW, min_version=2
    )
    if value is None or not value.isascii() or len(text) > 512:
        return None
    return value.decode("ascii")


def our_reading(secret: Any, name: str, text: str) -> str | None:
    found = Keyring.of({"cookie_secret": secret}).verify(name, text, NOW * 1_000_000)
    return None if found is None else found.session_id


@given(secrets, names, ids)
def test_the_bytes_are_tornados(secret: Any, name: str, session_id: str) -> None:
    keyring = Keyring.of({"cookie_secret": secret})
    ours = keyring.sign(name, SessionId(session_id), NOW * 1_000_000 + 999_999)
    version = keyring.current if isinstance(secret, dict) else None
    theirs = create_signed_value(
        secret, name, session_id, version=2, clock=lambda: NOW, key_version=version
    )
    assert ours == theirs.decode()


@given(
    secrets,
    names,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | ids,
    AGES,
    st.data(),
)
def test_what_tornado_signs_reads_alike(
    secret: Any, name: str, value: str, age: int, data: st.DataObject
) -> None:
    """Under its own secret and name, and under another's."""
    version = data.draw(st.sampled_from(sorted(secret))) if isinstance(secret, dict) else None
    text = create_signed_value(
        secret, name, value, version=2, clock=lambda: NOW - age, key_version=version
    ).decode()
    other, another = data.draw(st.just(secret) | secrets), data.draw(st.just(name) | names)
    assert our_reading(other, another, text) == tornados_reading(other, another, text)


@given(ids, st.data())
def test_one_changed_character_reads_alike(session_id: str, data: st.DataObject) -> None:
    secret, name = "s" * 40, "session"
    text = create_signed_value(secret, name, session_id, version=2, clock=lambda: NOW).decode()
    assert our_reading(secret, name, text) == session_id
    place = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 2))
    put = data.draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=2))
    changed = text[:place] + put + text[place + length :]
    assert our_reading(secret, name, changed) == tornados_reading(secret, name, changed)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_reads_alike(text: str) -> None:
    assert our_reading(SECRET, "session", text) == tornados_reading(SECRET, "session", text)


@given(one_secret, names, names, ids)
def test_a_name_cannot_pass_for_another(secret: Any, name: str, other: str, value: str) -> None:
    """However the fields are cut: a cookie of the application's own is no session."""
    assume(name != other)
    crafted = f"{len(name)}:{name}|{other}"
    for signed_for in (other, crafted, f"{name}|{other}", f"{other}|{len(name)}:{name}"):
        text = create_signed_value(secret, signed_for, value, version=2, clock=lambda: NOW)
        assert our_reading(secret, name, text.decode()) is None

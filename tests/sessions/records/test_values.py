"""User ids and messages that cannot be kept or shown are refused where they are given."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from managing import stored

from hello_tornado.sessions import Session, SessionManager, Store
from hello_tornado.sessions.records.values import check_user_id, is_utf8
from hello_tornado.sessions.stores.memory import MemoryStore

NO_USERS = ["", "x" * 256, None, 7, b"ada", "a\0da", "\ud800", "ada\udfff", ["ada"]]
USERS = ["a", "x" * 255, "🦊" * 255, "ada lovelace", " ", "%", "\x01", "\uffff", "a\u0301"]


async def empty_session() -> Session:
    return await SessionManager(MemoryStore()).open(None)


@pytest.mark.parametrize("user_id", NO_USERS)
@pytest.mark.gen_test
async def test_what_no_store_can_find_again_is_no_user(user_id: Any) -> None:
    manager = SessionManager(MemoryStore())
    session = await manager.open(None)
    error = ValueError if isinstance(user_id, str) else TypeError
    with pytest.raises(error, match="user_id must"):
        session.login(user_id)
    assert not session.modified
    with pytest.raises(error, match="user_id must"):
        await manager.sessions_of(user_id)
    with pytest.raises(error, match="user_id must"):
        await manager.revoke_user(user_id)


@pytest.mark.gen_test
async def test_every_user_is_found_again_on_every_store(make_store: Callable[[], Store]) -> None:
    manager = SessionManager(make_store())
    for user_id in USERS:
        session_id = await stored(manager, user_id)
        assert (await manager.open(session_id)).user_id == user_id
        assert len(await manager.sessions_of(user_id)) == 1
    for user_id in USERS:
        assert await manager.revoke_user(user_id) == 1
    await manager.aclose()


@given(st.text(st.characters(), max_size=300))
def test_a_user_is_what_utf8_has_a_form_for(text: str) -> None:
    try:
        check_user_id(text)
    except ValueError:
        assert not 0 < len(text) < 256 or "\0" in text or not is_utf8(text)
    else:
        assert text.encode().decode() == text


@pytest.mark.parametrize("given", [ValueError("no"), None, 7, b"saved", ["saved"]])
@pytest.mark.gen_test
async def test_a_message_that_is_no_text_is_refused_with_the_cure(given: Any) -> None:
    session = await empty_session()
    for flash in (session.flash, session.flash_now):
        with pytest.raises(
            TypeError, match=r"a flash's message must be a str.* write str\(message\)"
        ):
            flash(given)
        with pytest.raises(TypeError, match="a flash's category must be a str"):
            flash("saved", given)
    assert not session.modified
    assert session.flashes() == []


@pytest.mark.gen_test
async def test_a_message_that_no_page_can_show_is_refused() -> None:
    session = await empty_session()
    for flash in (session.flash, session.flash_now):
        with pytest.raises(ValueError, match="no page can show"):
            flash("\ud800")
        flash("Zoë 🦊 \0")
    assert [message for _, message in session.flashes()] == ["Zoë 🦊 \0"] * 2

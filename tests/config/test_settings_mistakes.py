"""Settings that nobody should be able to give by accident, or get by accident."""

from pathlib import Path
from typing import Any

import pytest

from hello_tornado.config.settings import SettingsError, load_settings

pytestmark = pytest.mark.usefixtures("somewhere")


def problem(text: str | None = None, **overrides: Any) -> str:
    """The one thing that is wrong."""
    if text is not None:
        Path("settings.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(**overrides)
    (only,) = caught.value.problems
    return only


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lifetimes.idle", "1:30"),
        ("lifetimes.idle", "060"),
        ("lifetimes.idle", "on"),
        ("server.port", "1:30"),
        ("server.port", "0x10"),
        ("server.port", "0o10"),
        ("server.port", "010"),
        ("server.port", "1_000"),
        ("server.port", "8080.0"),
        ("server.mode", "no"),
        ("cookie.samesite", "off"),
        ("session.rolling", "no"),
        ("session.rolling", "on"),
        ("session.rolling", "1"),
        ("cookie.secure", "y"),
    ],
)
def test_yaml_does_not_reckon_for_a_typed_setting(name: str, value: str) -> None:
    group, _, member = name.partition(".")
    text = problem(f"{group}:\n  {member}: {value}\n")
    assert text.startswith(f"settings.yaml:2:{len(member) + 5}: {name}")
    assert value in text


@pytest.mark.parametrize(
    "text",
    [
        "cookie_secret: {1: hush, 1: hush}",
        "cookie_secret: {1: {a: hush}}",
        "cookie_secret: !x hush",
        "cookie_secret: hush: hush",
        "cookie_secret: 'hush",
        'cookie_secret: "hush\\q"',
        "cookie_secret: hush\nserver: {port: x}",
    ],
)
def test_no_way_of_being_wrong_shows_a_secret(text: str) -> None:
    told = problem(text)
    assert told.startswith("settings.yaml:")
    assert "hush" not in told


def test_a_secret_stays_hidden_in_what_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELLO_TORNADO_COOKIE_SECRET", '{"1": "hush-one", "2": "hush-two"}')
    loaded = load_settings()
    for text in (str(loaded), repr(loaded), str(loaded.settings), str(loaded.rows())):
        assert "hush" not in text


def test_numbers_and_booleans_are_shown_as_such() -> None:
    loaded = load_settings(server={"port": 0}, purge={"batch": 1}, cookie={"secure": True})
    shown = {name: value for name, value, _ in loaded.rows()}
    assert (shown["server.port"], shown["purge.batch"]) == (0, 1)
    assert shown["cookie.secure"] is True
    assert shown["session.rolling"] is False


@pytest.mark.parametrize("text", ["server: {}\n---\nserver: {}\n", "server: &x {a: *x}\n"])
def test_yaml_that_is_no_plain_tree_is_refused_with_its_place(text: str) -> None:
    assert problem(text).startswith("settings.yaml:")


def test_a_number_without_end_is_refused() -> None:
    told = problem(f"server:\n  port: {'9' * 5_000}\n")
    assert told.startswith("settings.yaml:2:9: server.port")


def test_a_file_that_is_no_utf_8_is_named() -> None:
    Path("settings.yaml").write_bytes(b"server:\n  host: \xff\n")
    assert problem().startswith("settings.yaml")


def test_lifetimes_beyond_the_calendar_are_refused() -> None:
    """With them every login would be a 500: the session's end is no date that Python knows."""
    with pytest.raises(SettingsError):
        load_settings(lifetimes={"idle": "999999999d", "absolute": "999999999d"})


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SERVER__PORT", ""),
        ("SERVER__PORT", "010"),
        ("LIFETIMES__IDLE", "1:30"),
        ("LIFETIMES__IDLE", ""),
        ("SESSION__UNSET", "on"),
        ("SESSION__ROLLING", "no"),
        ("SERVER__HOST", "null"),
    ],
)
def test_a_variable_with_a_bad_value_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(f"HELLO_TORNADO_{variable}", text)
    told = problem()
    name = variable.lower().replace("__", ".")
    assert told.startswith(f"HELLO_TORNADO_{variable}: {name}")


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("SERVR__PORT", "SERVER__PORT"),
        ("SERVER", "SERVER__PORT"),
        ("COOKIE_SECRET__1", "COOKIE_SECRET"),
        ("Lifetimes__Idle", None),
    ],
)
def test_a_variable_that_is_none_is_named_and_its_value_is_not(
    monkeypatch: pytest.MonkeyPatch, variable: str, hint: str | None
) -> None:
    monkeypatch.setenv(f"HELLO_TORNADO_{variable}", "hush")
    monkeypatch.setenv("HELLO_TORNADO_PURGE__BATCH", "5")
    told = problem()
    assert told.startswith(f"HELLO_TORNADO_{variable} is not a setting.")
    assert hint is None or f'Did you mean "HELLO_TORNADO_{hint}"?' in told
    assert "hush" not in told


def test_a_broken_text_beside_a_good_command_line_is_still_told() -> None:
    Path("settings.yaml").write_text("server: {port: x}\n")
    assert load_settings(server={"port": 3}).settings.server.port == 3
    assert "zzz" in problem("zzz: 1\n", server={"port": 3})

"""Settings: where each comes from, and how every mistake is named."""

import inspect
from dataclasses import MISSING, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from hello_tornado.config.settings import Settings, SettingsError, flat, load_settings
from hello_tornado.config.settings_file import read_settings_file
from hello_tornado.managers import make_manager
from hello_tornado.sessions import CookiePolicy, Lifetimes, SessionManager
from hello_tornado.sessions.stores.memory import MemoryStore

DOCUMENTED = Path(__file__).parent.parent.parent / "settings.yaml"


pytestmark = pytest.mark.usefixtures("somewhere")


def problems(text: str | None = None, **overrides: Any) -> list[str]:
    if text is not None:
        Path("settings.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(**overrides)
    return caught.value.problems


def test_the_documented_settings_are_the_defaults() -> None:
    assert load_settings(DOCUMENTED).settings == Settings() == load_settings().settings


def test_every_setting_is_documented_and_nothing_else() -> None:
    documented = flat(read_settings_file(DOCUMENTED).data)
    known = {name for name, _, _ in load_settings().rows()}
    assert set(documented) == known - {"login.mode"}
    assert "\n  # mode: open " in DOCUMENTED.read_text(), "to be said by whoever means it"
    assert documented["lifetimes.idle"] == "1h"


def test_the_defaults_are_those_of_the_library() -> None:
    settings = Settings()
    assert CookiePolicy(**settings.cookie.model_dump()) == CookiePolicy()
    attributes = {field.name for field in fields(CookiePolicy) if field.init}
    assert attributes == set(settings.cookie.model_dump())
    assert Lifetimes(**settings.lifetimes.model_dump()) == Lifetimes()
    parameters = inspect.signature(SessionManager).parameters
    for name, value in settings.session.model_dump().items():
        assert parameters[name].default == value
    assert all(field.default is not MISSING for field in fields(CookiePolicy) if field.init)


def test_proxies_are_addresses_or_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("settings.yaml").write_text("server:\n  proxies: [127.0.0.1, 10.0.0.0/8]\n")
    settings = load_settings().settings
    assert settings.server.proxies == ("127.0.0.1", "10.0.0.0/8")
    trusted = make_manager(settings, MemoryStore()).trusted_proxies
    assert [*map(str, trusted or ())] == ["127.0.0.1/32", "10.0.0.0/8"]
    assert make_manager(Settings(), MemoryStore()).trusted_proxies is None
    monkeypatch.setenv("HELLO_TORNADO_SERVER__PROXIES", "::1, 192.0.2.0/24")
    assert load_settings().settings.server.proxies == ("::1", "192.0.2.0/24")
    monkeypatch.setenv("HELLO_TORNADO_SERVER__PROXIES", "all of them")
    with pytest.raises(SettingsError, match="is not an address or network"):
        load_settings()


def test_the_command_line_beats_the_environment_beats_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("settings.yaml").write_text("server: {port: 1, host: a}\ncookie: {name: file}\n")
    monkeypatch.setenv("HELLO_TORNADO_SERVER__PORT", "2")
    monkeypatch.setenv("HELLO_TORNADO_COOKIE__NAME", "environment")
    loaded = load_settings(server={"port": 3})
    server = loaded.settings.server
    assert (server.port, server.host, loaded.settings.cookie.name) == (3, "a", "environment")
    assert loaded.origins == {
        "server.port": "command line",
        "server.host": "settings.yaml",
        "cookie.name": "HELLO_TORNADO_COOKIE__NAME",
    }
    assert set(loaded.sources) == {*loaded.origins.values()}
    rows = {name: (value, origin) for name, value, origin in loaded.rows()}
    assert rows["server.port"] == (3, "command line")
    assert rows["lifetimes.absolute"] == ("1d", "default")


def test_secrets_stay_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELLO_TORNADO_COOKIE_SECRET", "hush-hush")
    loaded = load_settings()
    assert isinstance(loaded.settings.cookie_secret, SecretStr)
    assert loaded.settings.cookie_secret.get_secret_value() == "hush-hush"
    for text in (str(loaded), repr(loaded.settings), str(loaded.rows())):
        assert "hush" not in text
    monkeypatch.setenv("HELLO_TORNADO_COOKIE_SECRET", '{"1": "hush-one", "2": "hush-two"}')
    loaded = load_settings()
    assert isinstance(loaded.settings.cookie_secret, dict)
    assert set(loaded.settings.cookie_secret) == {1, 2}
    assert "hush" not in str(loaded.rows())
    monkeypatch.setenv("HELLO_TORNADO_COOKIE_SECRET", '{"one": "hush-hush"}')
    (problem,) = problems()
    assert problem == (
        "HELLO_TORNADO_COOKIE_SECRET: cookie_secret must be a text, "
        "or a mapping of version numbers to texts"
    )


def test_the_secret_of_a_lower_source_never_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("settings.yaml").write_text("cookie_secret: {1: old, 9: older}\n")
    monkeypatch.setenv("HELLO_TORNADO_COOKIE_SECRET", '{"1": "new"}')
    assert load_settings().settings.cookie_secret == {1: SecretStr("new")}


@pytest.mark.parametrize("text", ["12345678", "true", '["hush"]', '"hush"', ""])
def test_a_secret_in_the_environment_is_taken_as_it_stands(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELLO_TORNADO_COOKIE_SECRET", text)
    assert load_settings().settings.cookie_secret == SecretStr(text)


@pytest.mark.parametrize("text", ['{"1": "hush', '{"1": {"hush": 1}}', '{"-1": "hush"}', "{}"])
def test_what_is_no_mapping_of_versions(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELLO_TORNADO_COOKIE_SECRET", text)
    (problem,) = problems()
    assert problem.startswith("HELLO_TORNADO_COOKIE_SECRET: cookie_secret must be a text")


@pytest.mark.parametrize(
    "text",
    [
        "cookie_secret: [hush]\n",
        "cookie_secret: {one: hush}\n",
        "cookie_secret: {1: hush}\nserver: {port: x}\n",
        "cookie_secrets: hush\n",
        "store: postgresql://me:hush@host/db\n",
        "store: {url: [postgresql://me:hush@host/db]}\n",
    ],
)
def test_no_error_carries_a_secret(text: str) -> None:
    Path("settings.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "hush" not in f"{caught.value} {caught.value!r} {caught.value.problems}"
    assert caught.value.__context__ is caught.value.__cause__ is None


def test_the_password_of_a_database_is_not_shown() -> None:
    loaded = load_settings(store={"url": "postgresql://me:hu@sh@host/db"})
    rows = {name: value for name, value, _ in loaded.rows()}
    assert rows["store.url"] == "postgresql://me:***@host/db"


def test_the_environment_can_say_true_and_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELLO_TORNADO_SESSION__ROLLING", "true")
    monkeypatch.setenv("HELLO_TORNADO_LIFETIMES__IDLE", "null")
    monkeypatch.setenv("HELLO_TORNADO_COOKIE_SECRET", "null")
    settings = load_settings().settings
    assert settings.session.rolling is True
    assert settings.lifetimes.idle is settings.cookie_secret is None


def test_a_cookie_has_no_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    (problem,) = problems("cookie:\n  max_age: 1209600\n")
    assert problem.startswith("settings.yaml:2:3: cookie.max_age is not a setting: ")
    assert '"lifetimes.idle"' in problem
    monkeypatch.setenv("HELLO_TORNADO_COOKIE__MAX_AGE", "1209600")
    (problem,) = problems("")
    assert problem.startswith("HELLO_TORNADO_COOKIE__MAX_AGE is not a setting: ")
    assert '"lifetimes.idle"' in problem


@pytest.mark.parametrize("value", ["yes", "no", "on", "off", "y", "1", "0"])
def test_only_true_and_false_are_booleans(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (problem,) = problems(f"session:\n  rolling: {value}\n")
    assert problem.startswith("settings.yaml:2:12: session.rolling: ")
    assert problem.endswith(" is neither true nor false")
    Path("settings.yaml").unlink()
    monkeypatch.setenv("HELLO_TORNADO_SESSION__ROLLING", value)
    assert problems() == [
        f'HELLO_TORNADO_SESSION__ROLLING: session.rolling: "{value}" is neither true nor false'
    ]


def test_a_variable_of_a_whole_group_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELLO_TORNADO_SERVER", "8080")
    monkeypatch.setenv("HELLO_TORNADO_PURGE__BATCH", "1")
    assert problems() == [
        'HELLO_TORNADO_SERVER is not a setting. Did you mean "HELLO_TORNADO_SERVER__PORT"?'
    ]


def test_a_group_may_be_empty_but_not_something_else() -> None:
    Path("settings.yaml").write_text("server:\nstore: {}\n")
    assert load_settings().settings == Settings()
    assert load_settings().sources == []
    assert load_settings(server={"port": 1}).sources == ["command line"]
    (problem,) = problems("server: [1]\n", server={"port": 1})
    assert problem.startswith("settings.yaml:1:9: server is a group")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server:\n  prot: 1\n", 'settings.yaml:2:3: server.prot is unknown. Did you mean "port"?'),
        ("sesion:\n  a: 1\n", 'settings.yaml:1:1: sesion is unknown. Did you mean "session"?'),
        (
            "cookie:\n  path: /\nserver: {}\ncookie:\n  path: /\n",
            "settings.yaml:4:1: cookie is given twice (first on line 1)",
        ),
        (
            "lifetimes:\n  idle: 30min\n",
            'settings.yaml:2:9: lifetimes.idle: "30min" is not a duration; write seconds, '
            "or a number with s, m, h or d, such as 30m",
        ),
        ("purge:\n  every: 0\n", "settings.yaml:2:10: purge.every: 0 must be longer than zero"),
        ("server:\n\tport: 1\n", "settings.yaml:2:1: YAML does not allow tabs here; indent"),
        ("a: b: c\n", "settings.yaml:1:5: mapping values are not allowed here"),
        ("- 1\n", "settings.yaml:1:1: settings must be a mapping of names to values"),
        (
            "server: !!python/object/apply:os.system [ls]\n",
            "settings.yaml:1:9: tags (words that begin with !) are not allowed here",
        ),
        ("server: !!python/object:os.x {port: 1}\n", "settings.yaml:1:9: tags (words that begin"),
        ("server: {port: !!int 010}\n", "settings.yaml:1:16: tags (words that begin with !)"),
        ("server: &a\n  port: *a\n", "settings.yaml:1:9: anchors (words that begin with &)"),
        ("cookie_secret: *hush\n", "settings.yaml:1:16: aliases (words that begin with *)"),
        ("? [a, b]\n: 1\n", "settings.yaml:1:3: the name of a setting must be one word"),
        ("server:\n  host: \x01\n", "settings.yaml:2:9: this character is not allowed in"),
        ("a: " + "[" * 5000 + "\n", "settings.yaml: the nesting is too deep"),
        ("session: 5\n", "settings.yaml:1:10: session is a group: write its settings below it"),
        ("server:\n  port: abc\n", 'settings.yaml:2:9: server.port: "abc" is not a whole number'),
        ("server:\n  port: true\n", "settings.yaml:2:9: server.port: true is not a whole number"),
        ("server:\n  port: 80.0\n", "settings.yaml:2:9: server.port: 80.0 is not a whole number"),
        ("server:\n  port: 010\n", 'settings.yaml:2:9: server.port: "010" is not a whole number'),
        ("server:\n  port: 65536\n", "settings.yaml:2:9: server.port: 65536 should be less than"),
        ("purge:\n  every: null\n", "settings.yaml:2:10: purge.every: null is not a duration"),
        ("purge:\n  batch: 0\n", "settings.yaml:2:10: purge.batch: 0 should be greater than"),
        ("cookie:\n  domain: 5\n", "settings.yaml:2:11: cookie.domain: 5 is not a text"),
        (
            "cookie:\n  secure: maybe\n",
            'settings.yaml:2:11: cookie.secure: "maybe" is neither true nor false '
            "and is not 'auto'",
        ),
        (
            "server:\n  mode: prod\n",
            "settings.yaml:2:9: server.mode: \"prod\" is not 'development' or 'production'",
        ),
        ("Server: {}\n", 'settings.yaml:1:1: Server is unknown. Did you mean "server"?'),
        ("_cli_parse_args: true\n", "settings.yaml:1:1: _cli_parse_args is unknown."),
        (
            "server.port: 1\n",
            'settings.yaml:1:1: server.port is unknown. Write "port" below "server", indented.',
        ),
        (
            "server:\n  rolling: true\n",
            'settings.yaml:2:3: server.rolling is unknown. Did you mean "session.rolling"?',
        ),
        (
            "cookie_secret: [hush]\n",
            "settings.yaml:1:16: cookie_secret must be a text, or a mapping of version numbers",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, expected: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(expected)


def test_all_mistakes_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELLO_TORNADO_SERVER__PROT", "1")
    monkeypatch.setenv("HELLO_TORNADO_PURGE__BATCH", "many")
    found = problems("server:\n  prot: 1\n  port: x\nzzz: 1\n")
    assert set(found) == {
        'HELLO_TORNADO_SERVER__PROT is not a setting. Did you mean "HELLO_TORNADO_SERVER__PORT"?',
        "settings.yaml:4:1: zzz is unknown.",
        'settings.yaml:3:9: server.port: "x" is not a whole number',
        'settings.yaml:2:3: server.prot is unknown. Did you mean "port"?',
        'HELLO_TORNADO_PURGE__BATCH: purge.batch: "many" is not a whole number',
    }


def test_a_file_that_was_named_must_be_there() -> None:
    assert problems(path=Path("nowhere.yaml")) == [
        "nowhere.yaml: cannot be read: No such file or directory"
    ]
    assert load_settings().sources == []
    Path("settings.yaml").write_text("")
    assert load_settings().settings == Settings()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("90s", 90), ("30m", 1800), ("1h", 3600), ("14d", 1_209_600), (60, 60), ("60", 60)],
)
def test_durations(value: Any, seconds: int) -> None:
    settings = load_settings(lifetimes={"idle": value}).settings
    assert settings.lifetimes.idle == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value", ["30min", "1 hour", "5x", "1:30", True, 0, -1, "", "1.5h", "010", "5m\n", []]
)
def test_what_is_no_duration(value: Any) -> None:
    assert len(problems(lifetimes={"idle": value})) == 1


@pytest.mark.parametrize("value", ["1:30", "010", "no", "off", "0x10", "1_000"])
def test_yaml_turns_nothing_into_something_else(value: str) -> None:
    Path("settings.yaml").write_text(f"cookie:\n  name: {value}\n")
    assert load_settings().settings.cookie.name == value

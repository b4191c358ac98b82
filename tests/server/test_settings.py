"""Settings: where each comes from, and how every mistake is named."""

import inspect
from dataclasses import MISSING, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from hello_tornado.sessions import CookiePolicy, Lifetimes, SessionManager
from hello_tornado.settings import Settings, SettingsError, flat, load_settings
from hello_tornado.settings_file import read_settings_file

DOCUMENTED = Path(__file__).parent.parent.parent / "settings.yaml"


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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
    assert set(documented) == {name for name, _, _ in load_settings().rows()}
    assert documented["cookie.max_age"] == 3600


def test_the_defaults_are_those_of_the_library() -> None:
    settings = Settings()
    assert CookiePolicy(**settings.cookie.model_dump()) == CookiePolicy()
    assert {field.name for field in fields(CookiePolicy)} == set(settings.cookie.model_dump())
    assert Lifetimes(**settings.lifetimes.model_dump()) == Lifetimes()
    parameters = inspect.signature(SessionManager).parameters
    for name, value in settings.session.model_dump().items():
        assert parameters[name].default == value
    assert all(field.default is not MISSING for field in fields(CookiePolicy))


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
    assert rows["server.port"] == ("3", "command line")
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
        "HELLO_TORNADO_COOKIE_SECRET: cookie_secret is a text, "
        "or a mapping of version numbers to texts"
    )


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
            "settings.yaml:2:9: lifetimes.idle '30min' is no duration; write seconds, "
            "or a number with s, m, h or d, such as 30m",
        ),
        ("purge:\n  every: 0\n", "settings.yaml:2:10: purge.every 0 must be longer than zero"),
        ("server:\n\tport: 1\n", "settings.yaml:2:1: YAML takes no tabs here; indent with blanks"),
        ("a: b: c\n", "settings.yaml:1:5: mapping values are not allowed here"),
        ("- 1\n", "settings.yaml:1:1: settings are a mapping of names to values"),
        (
            "server: !!python/object/apply:os.system [ls]\n",
            "settings.yaml:1:9: tags (words that begin with !) are not allowed here",
        ),
        ("session: 5\n", "settings.yaml:1:10: session 5 should be a valid dictionary"),
        ("server:\n  port: on\n", "settings.yaml:2:9: server.port 'on' should be a valid integer"),
        ("server:\n  port: true\n", "settings.yaml:2:9: server.port True is no number"),
        ("server:\n  port: 65536\n", "settings.yaml:2:9: server.port 65536 should be less than"),
        (
            "cookie:\n  secure: maybe\n",
            "settings.yaml:2:11: cookie.secure 'maybe' should be a valid boolean, unable to "
            "interpret input, or 'maybe' should be 'auto'",
        ),
        (
            "cookie_secret: [hush]\n",
            "settings.yaml:1:16: cookie_secret is a text, or a mapping of version numbers to texts",
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
    assert found == [
        'HELLO_TORNADO_SERVER__PROT is no setting. Did you mean "HELLO_TORNADO_SERVER__PORT"?',
        "settings.yaml:3:9: server.port 'x' should be a valid integer, "
        "unable to parse string as an integer",
        'settings.yaml:2:3: server.prot is unknown. Did you mean "port"?',
        "HELLO_TORNADO_PURGE__BATCH: purge.batch 'many' should be a valid integer, "
        "unable to parse string as an integer",
        "settings.yaml:4:1: zzz is unknown.",
    ]


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


@pytest.mark.parametrize("value", ["30min", "1 hour", "5x", "1:30", True, 0, -1, "", "1.5h", []])
def test_what_is_no_duration(value: Any) -> None:
    assert len(problems(lifetimes={"idle": value})) == 1


@pytest.mark.parametrize("value", ["1:30", "010", "no", "off", "0x10", "1_000"])
def test_yaml_turns_nothing_into_something_else(value: str) -> None:
    Path("settings.yaml").write_text(f"cookie:\n  name: {value}\n")
    assert load_settings().settings.cookie.name == value

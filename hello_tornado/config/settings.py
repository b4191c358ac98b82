"""The server's settings, from the command line, the environment, settings.yaml or the defaults.

The first of these that has a setting decides.
"""

import difflib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_core import ErrorDetails

from hello_tornado.config.durations import UNITS, duration
from hello_tornado.config.settings_file import Place, SettingsFile, read_settings_file
from hello_tornado.sessions.manager.manager import MAX_BYTES
from hello_tornado.sessions.stores import without_password

PREFIX: Final = "HELLO_TORNADO_"
DEFAULT_FILE: Final = Path("settings.yaml")
COMMAND_LINE: Final = "command line"
DEFAULT: Final = "default"
LONGEST: Final = timedelta(days=36_500)  # far from the year 9999, where Python's dates end
WORDS: Final = {"true": True, "false": False}


class SettingsError(Exception):
    """The settings are wrong; `problems` has one line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero")
    if value > LONGEST:
        raise ValueError(f"must not be longer than {LONGEST.days}d")
    return value


def _whole(value: Any) -> int:
    if re.fullmatch(r"-?(0|[1-9][0-9]{0,8})", str(value)) is None:
        raise ValueError("is not a whole number")
    return int(value)


def _flag(value: Any) -> bool:
    if str(value).lower() not in WORDS:
        raise ValueError("is neither true nor false")
    return WORDS[str(value).lower()]


def _by_version(value: Any) -> Any:
    # The environment has only texts: one that begins with a brace is a mapping, others are secrets.
    return json.loads(value) if isinstance(value, str) and value.startswith("{") else value


def _addresses(value: Any) -> Any:
    # The environment has only texts: 127.0.0.1,10.0.0.0/8
    return [each.strip() for each in value.split(",") if each] if isinstance(value, str) else value


def _network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError:
        raise ValueError("is not an address or network such as 127.0.0.1 or 10.0.0.0/8") from None
    return value


Duration = Annotated[timedelta, BeforeValidator(duration), AfterValidator(_positive)]
Count = Annotated[int, BeforeValidator(_whole)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Proxies = Annotated[
    tuple[Annotated[str, AfterValidator(_network)], ...], BeforeValidator(_addresses)
]
Version = Annotated[Count, Field(ge=0)]
Secrets = SecretStr | Annotated[dict[Version, SecretStr], Field(min_length=1)]


class Group(BaseModel):
    """A group of settings; an unknown name in it is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(Group):
    """Where the server listens, and how it runs."""

    host: str = "127.0.0.1"
    port: Annotated[Count, Field(ge=0, le=65_535)] = 8080
    processes: Annotated[Count, Field(ge=1, le=256)] = 1
    mode: Literal["development", "production"] = "development"
    proxies: Proxies = ()
    log_format: Literal["text", "json"] = "text"
    metrics_token: SecretStr | None = None


class HstsSettings(Group):
    """The header Strict-Transport-Security. Browsers obey it until `max_age` has passed."""

    max_age: Duration | None = None
    include_subdomains: Flag = False
    preload: Flag = False


class StoreSettings(Group):
    """Where sessions are kept."""

    url: str = "sqlite:///var/sessions.db"
    moving_from: str | None = None
    allow_plaintext: Flag = False


class SessionSettings(Group):
    """When sessions are stored, in the words of express-session."""

    resave: Flag = False
    save_uninitialized: Flag = False
    rolling: Flag = False
    unset: Literal["keep", "destroy"] = "keep"
    touch_interval: Duration = timedelta(seconds=60)
    max_sessions_per_user: Annotated[Count, Field(ge=1)] | None = None


class AnonymousSettings(Group):
    """Limits on the sessions of visitors who are not logged in."""

    max_bytes: Annotated[Count, Field(ge=0, le=MAX_BYTES)] = 4096
    sessions_per_minute: Annotated[Count, Field(ge=1, le=60_000)] = 30


class CookieSettings(Group):
    """The attributes of the cookie."""

    name: str = "session"
    persist: Flag = True
    httponly: Flag = True
    secure: Flag | Literal["auto"] = "auto"
    samesite: Literal["lax", "strict", "none", "auto"] | None = "lax"
    domain: str | None = None
    path: str = "/"
    partitioned: Flag = False
    priority: Literal["low", "medium", "high"] | None = None


class LifetimeSettings(Group):
    """When sessions end."""

    idle: Duration | None = timedelta(hours=1)
    absolute: Duration | None = timedelta(hours=24)
    remembered: Duration = timedelta(days=30)


class LoginSettings(Group):
    """How users log in."""

    mode: Literal["open", "password"] = "open"
    accounts_url: str | None = None
    fresh_for: Duration = timedelta(minutes=10)


class PurgeSettings(Group):
    """How often expired sessions are deleted."""

    every: Duration = timedelta(minutes=5)
    batch: Annotated[Count, Field(ge=1, le=100_000)] = 50


class Settings(Group):
    """All settings; settings.yaml documents them."""

    cookie_secret: Annotated[Secrets | None, BeforeValidator(_by_version)] = None
    cookie_secret_file: Path = Path("var/cookie_secret")
    server: Server = Server()
    hsts: HstsSettings = HstsSettings()
    store: StoreSettings = StoreSettings()
    session: SessionSettings = SessionSettings()
    anonymous: AnonymousSettings = AnonymousSettings()
    cookie: CookieSettings = CookieSettings()
    lifetimes: LifetimeSettings = LifetimeSettings()
    login: LoginSettings = LoginSettings()
    purge: PurgeSettings = PurgeSettings()


GROUPS: Final = frozenset(
    name for name, field in Settings.model_fields.items() if isinstance(field.default, Group)
)
GONE: Final = {
    "cookie.max_age": (
        'is not a setting: the cookie lasts as long as the session. Set "lifetimes.idle" (and '
        '"lifetimes.absolute"), or "cookie.persist: false" for a cookie that ends with the browser.'
    )
}
HIDDEN: Final = {  # these hold secrets, so an error does not quote their values
    "cookie_secret": "must be a text, or a mapping of version numbers to texts",
    "store.url": "must be a text",
    "store.moving_from": "must be a text",
    "login.accounts_url": "must be a text",
    "server.metrics_token": "must be a text",
} | dict.fromkeys(GROUPS, "is a group: write its settings below it, indented, as name: value")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and the origin of each one that is not the default."""

    settings: Settings
    origins: Mapping[str, str]

    @property
    def sources(self) -> list[str]:
        """The files, environment variables and so on that set something, each of them once."""
        return list(dict.fromkeys(self.origins.values()))

    def rows(self) -> list[tuple[str, Any, str]]:
        """Return the name, value (as in JSON) and origin of every setting; secrets are hidden."""
        return [
            (name, _shown(name, value), self.origins.get(name, DEFAULT))
            for name, value in flat(dict(self.settings)).items()
        ]


def load_settings(path: Path | None = None, **overrides: Any) -> Loaded:
    """Read the settings.

    *path* is the file; without it, settings.yaml in the working directory is read if it exists.
    *overrides* are from the command line: `server={"port": 0}`.

    Raises `SettingsError`, which names every mistake.
    """
    file = SettingsFile(str(DEFAULT_FILE))
    if path is not None or DEFAULT_FILE.exists():
        file = read_settings_file(path or DEFAULT_FILE)
    variables, problems = _variables()
    problems = file.problems + problems
    # A group is null when all of its settings are commented out.
    from_file = {k: v for k, v in file.data.items() if v is not None or k not in GROUPS}
    origins = (
        dict.fromkeys(flat(from_file), file.name)
        | variables
        | dict.fromkeys(flat(overrides), COMMAND_LINE)
    )
    given = _merged(_merged(from_file, _from_environment(variables)), overrides)
    try:
        settings = Settings(**given)
    except ValidationError as error:
        problems += _explained(error, file, origins)
    if problems:  # raised here, so that the ValidationError, which has the inputs, is not attached
        raise SettingsError(problems)
    return Loaded(settings, origins)


def flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings in groups by dotted names; the versions of a secret are one value."""
    result: dict[str, Any] = {}
    for name, value in nested.items():
        if name in GROUPS and isinstance(value, BaseModel | Mapping):
            result |= {f"{name}.{member}": each for member, each in dict(value).items()}
        else:
            result[name] = value
    return result


def _from_environment(variables: Mapping[str, str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, variable in variables.items():
        text = os.environ[variable]
        group, _, member = name.rpartition(".")
        (result.setdefault(group, {}) if group else result)[member] = (
            None if text == "null" else text
        )
    return result


def _names() -> list[str]:
    return list(flat({name: field.default for name, field in Settings.model_fields.items()}))


def _variables() -> tuple[dict[str, str], list[str]]:
    """Return the variables of the settings in the environment, and what is wrong with others."""
    known = {PREFIX + name.upper().replace(".", "__"): name for name in _names()}
    variables, problems = {}, []
    for variable in sorted(os.environ):
        if variable in known:
            variables[known[variable]] = variable
        elif variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX).lower().replace("__", ".")
            text = GONE.get(name, f"is not a setting.{_hint(variable, list(known))}")
            problems.append(f"{variable} {text}")
    return variables, problems


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings; each setting in *above* overrides the one in *below*.

    A value that should be a group but is not one is kept, so that it is reported. The versions of
    a secret are one setting: a version that *above* does not name must no longer sign.
    """
    merged = dict(below)
    for key, value in above.items():
        standing = merged.get(key)
        if key not in GROUPS or key not in merged or not isinstance(value, Mapping):
            merged[key] = value
        elif isinstance(standing, Mapping):
            merged[key] = {**standing, **value}
    return merged


def _where(
    name: str, places: Mapping[str, Place], file: SettingsFile, origins: Mapping[str, str]
) -> str:
    origin = origins.get(name, file.name)
    if origin == file.name and name in places:
        return f"{file.name}:{places[name].line}:{places[name].column}"
    return origin


def _explained(error: ValidationError, file: SettingsFile, origins: Mapping[str, str]) -> list[str]:
    """Return one line, with the place, for each setting that is wrong."""
    lines: dict[str, list[str]] = {}
    for detail in error.errors():
        name = _name_of(detail, {*_names(), *GROUPS})
        places, text = file.values, _message(detail)
        if name in HIDDEN:
            start, text = name, HIDDEN[name]
        elif detail["type"] == "extra_forbidden":
            places, start, text = file.keys, name, _unknown(name)
        else:
            start = f"{name}: {json.dumps(detail['input'], ensure_ascii=False, default=str)}"
        lines.setdefault(f"{_where(name, places, file, origins)}: {start}", []).append(text)
    return [f"{start} {' and '.join(dict.fromkeys(texts))}" for start, texts in lines.items()]


def _name_of(detail: ErrorDetails, known: set[str]) -> str:
    """Return the dotted name of a setting, without what pydantic adds for members of a union."""
    parts = [str(part) for part in detail["loc"]]
    if detail["type"] == "extra_forbidden":
        return ".".join(parts)
    return next(
        (name for end in (2, 1) if (name := ".".join(parts[:end])) in known), ".".join(parts)
    )


def _message(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "string_type" | "path_type":
            return "is not a text"
        case "literal_error":
            return f"is not {detail['ctx']['expected']}"
        case _:
            return detail["msg"].removeprefix("Value error, ").removeprefix("Input ")


def _unknown(name: str) -> str:
    if name in GONE:
        return GONE[name]
    group, _, member = name.rpartition(".")
    if name in _names():
        return f'is unknown. Write "{member}" below "{group}", indented.'
    if elsewhere := [each for each in _names() if each.rpartition(".")[2] == member]:
        return f'is unknown. Did you mean "{elsewhere[0]}"?'
    known = _names() if group else [*_names(), *GROUPS]
    return f"is unknown.{_hint(name.lower(), sorted(known), group)}"


def _hint(name: str, known: list[str], group: str = "") -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f' Did you mean "{close[0].removeprefix(f"{group}.")}"?' if close else ""


def _shown(name: str, value: Any) -> Any:
    if name in {"store.url", "store.moving_from", "login.accounts_url"} and value is not None:
        return without_password(value)
    if isinstance(value, timedelta):
        seconds = int(value.total_seconds())
        unit = next(unit for unit in "dhms" if seconds % UNITS[unit] == 0)
        return f"{seconds // UNITS[unit]}{unit}"
    if isinstance(value, Mapping):
        return [f"{version}: **********" for version in value]
    if isinstance(value, tuple):
        return list(value)
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)

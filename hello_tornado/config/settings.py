"""The server's settings: command line over environment over settings.yaml over the defaults."""

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
    """All that is wrong with the settings, a line each."""

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
        raise ValueError("is no whole number")
    return int(value)


def _flag(value: Any) -> bool:
    if str(value).lower() not in WORDS:
        raise ValueError("is neither true nor false")
    return WORDS[str(value).lower()]


def _by_version(value: Any) -> Any:
    # The environment has only texts; a mapping begins with a brace there, and all else is a secret.
    return json.loads(value) if isinstance(value, str) and value.startswith("{") else value


def _addresses(value: Any) -> Any:
    # The environment has only texts: 127.0.0.1,10.0.0.0/8
    return [each.strip() for each in value.split(",") if each] if isinstance(value, str) else value


def _network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError:
        raise ValueError("is no address or network such as 127.0.0.1 or 10.0.0.0/8") from None
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
    """Settings that belong together; a name that is not among them is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(Group):
    """Where to listen, and how strict to be about it."""

    host: str = "127.0.0.1"
    port: Annotated[Count, Field(ge=0, le=65_535)] = 8080
    processes: Annotated[Count, Field(ge=1, le=256)] = 1
    mode: Literal["development", "production"] = "development"
    proxies: Proxies = ()
    log_format: Literal["text", "json"] = "text"
    metrics_token: SecretStr | None = None


class HstsSettings(Group):
    """Strict-Transport-Security, which browsers cannot be told to forget before its time."""

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
    """What visitors who are not logged in may store."""

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
    """Who may log in."""

    mode: Literal["open", "password"] = "open"
    accounts_url: str | None = None
    fresh_for: Duration = timedelta(minutes=10)


class PurgeSettings(Group):
    """How ended sessions are cleared away."""

    every: Duration = timedelta(minutes=5)
    batch: Annotated[Count, Field(ge=1, le=100_000)] = 50


class Settings(Group):
    """Everything that can be set, as settings.yaml documents it."""

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
        'is no setting: the cookie lasts as long as the session. Set "lifetimes.idle" (and '
        '"lifetimes.absolute"), or "cookie.persist: false" for a cookie that ends with the browser.'
    )
}
HIDDEN: Final = {  # these hold secrets, so an error says what they are instead of what they were
    "cookie_secret": "is a text, or a mapping of version numbers to texts",
    "store.url": "is a text",
    "store.moving_from": "is a text",
    "login.accounts_url": "is a text",
    "server.metrics_token": "is a text",
} | dict.fromkeys(GROUPS, "is a group: its settings stand below it, indented, as name: value")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each that is not the default came from."""

    settings: Settings
    origins: Mapping[str, str]

    @property
    def sources(self) -> list[str]:
        """The files, variables and so on that had a say, each once."""
        return list(dict.fromkeys(self.origins.values()))

    def rows(self) -> list[tuple[str, Any, str]]:
        """Every setting's name, its value as JSON has it, and its origin; secrets stay hidden."""
        return [
            (name, _shown(name, value), self.origins.get(name, DEFAULT))
            for name, value in flat(dict(self.settings)).items()
        ]


def load_settings(path: Path | None = None, **overrides: Any) -> Loaded:
    """Read the settings; *overrides* are from the command line: `server={"port": 0}`.

    Without *path*, settings.yaml in the working directory if it is there. `SettingsError` names
    all that is wrong at once.
    """
    file = SettingsFile(str(DEFAULT_FILE))
    if path is not None or DEFAULT_FILE.exists():
        file = read_settings_file(path or DEFAULT_FILE)
    variables, problems = _variables()
    problems = file.problems + problems
    # A group whose settings are all commented out says nothing.
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
    if problems:  # raised out here, so that no ValidationError hangs on it with its inputs
        raise SettingsError(problems)
    return Loaded(settings, origins)


def flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Groups (models or mappings) as dotted names; the versions of a secret are one value."""
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
    """The settings that the environment gives, by variable; and the variables that are none."""
    known = {PREFIX + name.upper().replace(".", "__"): name for name in _names()}
    variables, problems = {}, []
    for variable in sorted(os.environ):
        if variable in known:
            variables[known[variable]] = variable
        elif variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX).lower().replace("__", ".")
            text = GONE.get(name, f"is no setting.{_hint(variable, list(known))}")
            problems.append(f"{variable} {text}")
    return variables, problems


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """What *above* says wins, setting by setting; what is no group stays, to be complained about.

    The versions of a secret are one setting: one that is not named above must not sign any more.
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
    """One line for each setting that is wrong, with its place."""
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
    """The setting's dotted name, without the words that pydantic adds for a union's members."""
    parts = [str(part) for part in detail["loc"]]
    if detail["type"] == "extra_forbidden":
        return ".".join(parts)
    return next(
        (name for end in (2, 1) if (name := ".".join(parts[:end])) in known), ".".join(parts)
    )


def _message(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "string_type" | "path_type":
            return "is no text"
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

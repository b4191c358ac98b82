"""The server's settings: command line over environment over settings.yaml over the defaults."""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
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
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from hello_tornado.settings_file import SettingsFile, read_settings_file

PREFIX: Final = "HELLO_TORNADO_"
DEFAULT_FILE: Final = Path("settings.yaml")
COMMAND_LINE: Final = "command line"
DEFAULT: Final = "default"
UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class SettingsError(Exception):
    """All that is wrong with the settings, a line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta) or value is None:
        return value
    match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", str(value))
    if isinstance(value, bool) or match is None:
        raise ValueError(
            "is no duration; write seconds, or a number with s, m, h or d, such as 30m"
        )
    return timedelta(seconds=int(match[1]) * UNITS[match[2] or "s"])


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero")
    return value


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("is no number")  # noqa: TRY004 - pydantic listens to ValueError
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_positive)]
Count = Annotated[int, BeforeValidator(_no_boolean)]


class Group(BaseModel):
    """Settings that belong together; a name that is not among them is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(Group):
    """Where to listen, and how strict to be about it."""

    host: str = "127.0.0.1"
    port: Annotated[Count, Field(ge=0, le=65_535)] = 8080
    mode: Literal["development", "production"] = "development"


class StoreSettings(Group):
    """Where sessions are kept."""

    url: str = "sqlite:///var/sessions.db"


class SessionSettings(Group):
    """When sessions are stored, in the words of express-session."""

    resave: bool = False
    save_uninitialized: bool = False
    rolling: bool = False
    unset: Literal["keep", "destroy"] = "keep"
    touch_interval: Duration = timedelta(seconds=60)


class CookieSettings(Group):
    """The attributes of the cookie."""

    name: str = "session"
    max_age: Duration | None = timedelta(seconds=3600)
    http_only: bool = True
    secure: bool | Literal["auto"] = "auto"
    same_site: Literal["lax", "strict", "none", "auto"] = "lax"
    domain: str | None = None
    path: str = "/"
    partitioned: bool = False
    priority: Literal["low", "medium", "high"] | None = None


class LifetimeSettings(Group):
    """When sessions end."""

    idle: Duration | None = timedelta(hours=1)
    absolute: Duration | None = timedelta(hours=24)


class PurgeSettings(Group):
    """How ended sessions are cleared away."""

    every: Duration = timedelta(minutes=5)
    batch: Annotated[Count, Field(ge=1, le=100_000)] = 1000


class Settings(BaseSettings):
    """Everything that can be set, as settings.yaml documents it."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter="__"
    )

    cookie_secret: SecretStr | dict[int, SecretStr] | None = None
    cookie_secret_file: Path = Path("var/cookie_secret")
    server: Server = Server()
    store: StoreSettings = StoreSettings()
    session: SessionSettings = SessionSettings()
    cookie: CookieSettings = CookieSettings()
    lifetimes: LifetimeSettings = LifetimeSettings()
    purge: PurgeSettings = PurgeSettings()

    @classmethod
    def settings_customise_sources(cls, *_: Any, **given: Any) -> tuple[Any, ...]:
        """`load_settings` has merged the sources already, and knows what came from where."""
        return (given["init_settings"],)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each that is not the default came from."""

    settings: Settings
    origins: Mapping[str, str]

    @property
    def sources(self) -> list[str]:
        """The files, variables and so on that had a say, each once."""
        return list(dict.fromkeys(self.origins.values()))

    def rows(self) -> list[tuple[str, str, str]]:
        """Every setting's name, its value as text, and its origin; secrets stay hidden."""
        return [
            (name, _shown(value), self.origins.get(name, DEFAULT))
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
    read = flat(EnvSettingsSource(Settings)()) if variables else {}
    from_environment = _nested({name: read[name] for name in variables})
    origins = (
        dict.fromkeys(flat(file.data), file.name)
        | variables
        | dict.fromkeys(flat(overrides), COMMAND_LINE)
    )
    try:
        settings = Settings(**_merged(_merged(file.data, from_environment), overrides))
    except ValidationError as error:
        raise SettingsError(problems + _explained(error, file, origins)) from None
    if problems:
        raise SettingsError(problems)
    return Loaded(settings, origins)


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping (or model) as dotted names; the versions of a secret are one value."""
    result: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, BaseModel):
            result |= flat(dict(value), f"{name}.")
        elif isinstance(value, Mapping) and name != "cookie_secret":
            result |= flat(value, f"{name}.")
        else:
            result[name] = value
    return result


def _nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in dotted.items():
        group, _, member = name.rpartition(".")
        (result.setdefault(group, {}) if group else result)[member] = value
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
            problems.append(f"{variable} is no setting.{_hint(variable, list(known))}")
    return variables, problems


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        standing = merged.get(key)
        if isinstance(standing, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(standing, value)
        else:
            merged[key] = value
    return merged


def _explained(error: ValidationError, file: SettingsFile, origins: Mapping[str, str]) -> list[str]:
    """One line for each setting that is wrong, with its place."""
    known = {*_names(), *Settings.model_fields}
    messages: dict[str, list[str]] = {}
    for detail in error.errors():
        name = _name_of(detail, known)
        places = file.keys if detail["type"] == "extra_forbidden" else file.values
        where = origins.get(name, file.name)
        if where == file.name and name in places:
            where = f"{file.name}:{places[name].line}:{places[name].column}"
        messages.setdefault(f"{where}: {name}", []).append(_message(detail, name, known))
    return [f"{place} {', or '.join(dict.fromkeys(texts))}" for place, texts in messages.items()]


def _name_of(detail: ErrorDetails, known: set[str]) -> str:
    """The setting's dotted name, without the words that pydantic adds for a union's members."""
    parts = [str(part) for part in detail["loc"]]
    if detail["type"] == "extra_forbidden":
        return ".".join(parts)
    return next(
        (name for end in (2, 1) if (name := ".".join(parts[:end])) in known), ".".join(parts)
    )


def _message(detail: ErrorDetails, name: str, known: set[str]) -> str:
    if detail["type"] == "extra_forbidden":
        return f"is unknown.{_hint(name, sorted(known))}"
    if name == "cookie_secret":
        return "is a text, or a mapping of version numbers to texts"
    text = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{detail['input']!r} {text[:1].lower()}{text[1:]}"


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f' Did you mean "{close[0].rpartition(".")[2]}"?' if close else ""


def _shown(value: Any) -> str:
    if isinstance(value, timedelta):
        seconds = int(value.total_seconds())
        unit = next(unit for unit in "dhms" if seconds % UNITS[unit] == 0)
        return f"{seconds // UNITS[unit]}{unit}"
    if isinstance(value, Mapping):
        return ", ".join(f"{version}: **********" for version in value)
    return {None: "null", True: "true", False: "false"}.get(value, str(value))

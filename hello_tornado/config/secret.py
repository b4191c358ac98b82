"""The secret that signs the cookies: from the settings, or from a file that is made once."""

import os
import secrets
import stat
from pathlib import Path

from pydantic import SecretStr

from hello_tornado.config.guessable import MIN_LENGTH, weakness_of
from hello_tornado.config.settings import Settings
from hello_tornado.problem import Problem
from hello_tornado.sessions.carriers.signing import MIN_SECRET

MAKE_ONE = "make one with: python -m hello_tornado secret --write"


def new_secret() -> str:
    """A fresh one, of 512 random bits."""
    return secrets.token_urlsafe(64)


def cookie_secret(settings: Settings) -> str | dict[int, str]:
    """The secret, or the secrets by version; `Problem` for one that must not be used.

    In development a missing file is made, with mode 0600; in production it has to be there.
    """
    given = settings.cookie_secret
    if isinstance(given, SecretStr):
        return _checked(given.get_secret_value(), "cookie_secret", settings)
    if given is not None:
        return {
            version: _checked(one.get_secret_value(), f"cookie_secret {version}", settings)
            for version, one in given.items()
        }
    path = settings.cookie_secret_file
    if not path.exists():
        if is_production(settings):
            raise Problem(
                f"cookie_secret is not set and {path} is not there (mode: production)",
                f"{MAKE_ONE} {path}",
            )
        write_secret(path)
    if is_production(settings) and belongs_to_somebody_else(path):
        raise Problem(f"{path} belongs to another user", f"chown {os.geteuid()} {path}")
    return _checked(_read(path), str(path), settings)


def is_production(settings: Settings) -> bool:
    """Whether strangers may reach this server."""
    return settings.server.mode == "production"


def write_secret(path: Path) -> None:
    """Put a fresh secret in a new file that only its owner can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise Problem(
            f"{path} is there already, and a new secret would end every session",
            "name another file, or delete this one if that is what you want",
        ) from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(new_secret() + "\n")


def _read(path: Path) -> str:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise Problem(
            f"{path} can be read or written by others (mode {mode:04o})", f"chmod 600 {path}"
        )
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise Problem(f"{path} is no text", f"delete it, then {MAKE_ONE} {path}") from None


def _checked(secret: str, name: str, settings: Settings) -> str:
    weakness = weakness_of(secret)
    is_refused = len(secret.encode(errors="replace")) < MIN_SECRET  # everywhere
    if is_refused or (is_production(settings) and weakness is not None):
        raise Problem(
            f"{name} is too weak: {weakness}; it takes {MIN_LENGTH} random characters",
            f"{MAKE_ONE} FILE, and name it in cookie_secret_file",
        )
    return secret


def belongs_to_somebody_else(path: Path) -> bool:
    """Whether another user than this process's, or root, owns a file and so can read it."""
    return path.stat().st_uid not in {0, os.geteuid()}

"""The secret that signs the cookies, from the settings or from a file that is made once."""

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
    """Return a new secret of 512 random bits."""
    return secrets.token_urlsafe(64)


def cookie_secret(settings: Settings) -> str | dict[int, str]:
    """Return the secret, or the secrets by version.

    In development a missing file is made, with mode 0600. Raises `Problem` for a secret that is
    too weak, for a file that other users can read, and in production for a missing file.
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
                f"cookie_secret is not set and {path} does not exist (mode: production)",
                f"{MAKE_ONE} {path}",
            )
        write_secret(path)
    if is_production(settings) and belongs_to_somebody_else(path):
        raise Problem(f"{path} belongs to another user", f"chown {os.geteuid()} {path}")
    return _checked(_read(path), str(path), settings)


def is_production(settings: Settings) -> bool:
    """Whether the mode is "production": strangers may reach this server."""
    return settings.server.mode == "production"


def write_secret(path: Path) -> None:
    """Write a new secret to a new file that only its owner can read.

    Raises `Problem` if the file exists.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise Problem(
            f"{path} exists already, and a new secret would end every session",
            "name another file, or delete this one if that is intended",
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
        raise Problem(f"{path} is not a text file", f"delete it, then {MAKE_ONE} {path}") from None


def _checked(secret: str, name: str, settings: Settings) -> str:
    weakness = weakness_of(secret)
    is_refused = len(secret.encode(errors="replace")) < MIN_SECRET  # in development, too
    if is_refused or (is_production(settings) and weakness is not None):
        raise Problem(
            f"{name} is too weak: {weakness}; it needs {MIN_LENGTH} random characters",
            f"{MAKE_ONE} FILE, and name it in cookie_secret_file",
        )
    return secret


def belongs_to_somebody_else(path: Path) -> bool:
    """Whether the file's owner, who can read it, is neither this process's user nor root."""
    return path.stat().st_uid not in {0, os.geteuid()}

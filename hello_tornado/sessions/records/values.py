"""Checks of the arguments that a session gets beside its data, made when they are passed."""

from typing import Any, Final

MAX_USER_ID: Final = 255


def check_user_id(given: Any) -> None:
    """Raise unless every store can store *given* as a user id and find it again.

    Raises:
        TypeError: It is not a str.
        ValueError: It does not have 1 to 255 characters, or it contains NUL (PostgreSQL cannot
            store it) or lone surrogates (UTF-8 cannot encode them).

    """
    if not isinstance(given, str):
        raise TypeError(f"user_id must be a str, not {_kind(given)}: write str(user_id)")
    if not 0 < len(given) <= MAX_USER_ID:
        raise ValueError(f"user_id must have 1 to {MAX_USER_ID} characters; it has {len(given)}")
    if "\0" in given or not is_utf8(given):
        raise ValueError("user_id must not contain NUL or lone surrogates: stores cannot find them")


def check_handle(given: Any) -> None:
    """Raise `TypeError` unless *given* is a str."""
    if not isinstance(given, str):
        raise TypeError(f"a handle must be a str, not {_kind(given)}: write session.handle")


def check_remember(given: Any) -> None:
    """Raise `TypeError` unless *given* is True, False or None; the text of a form field is not."""
    if given is not None and not isinstance(given, bool):
        raise TypeError(
            f"remember must be True, False or None, not {_kind(given)}: "
            'write remember=bool(self.get_body_argument("remember", None))'
        )


def check_flash(message: Any, category: Any) -> None:
    """Raise `TypeError` if either is not a str, `ValueError` if UTF-8 cannot encode it."""
    for name, given in (("message", message), ("category", category)):
        if not isinstance(given, str):
            raise TypeError(
                f"a flash's {name} must be a str, not {_kind(given)}: write str({name})"
            )
        if not is_utf8(given):
            raise ValueError(f"a flash's {name} contains a lone surrogate; no page can show that")


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can encode *text*: it contains no lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__qualname__}"

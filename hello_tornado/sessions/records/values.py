"""What a session is given beside its data, checked where it is given."""

from typing import Any, Final

MAX_USER_ID: Final = 255


def check_user_id(given: Any) -> None:
    """Raise unless every store can hold *given* as a user id and find it again.

    That is a str (else a `TypeError`) of 1 to 255 characters, without NUL (PostgreSQL stores none)
    and without lone surrogates (UTF-8 has no form for them).
    """
    if not isinstance(given, str):
        raise TypeError(f"a user_id is a str, not {_kind(given)}: write str(user_id)")
    if not 0 < len(given) <= MAX_USER_ID:
        raise ValueError(f"a user_id has 1 to {MAX_USER_ID} characters; this one has {len(given)}")
    if "\0" in given or not is_utf8(given):
        raise ValueError("a user_id holds no NUL and no lone surrogate: no store can find it again")


def check_handle(given: Any) -> None:
    """Raise `TypeError` unless *given* is a str, as every handle is."""
    if not isinstance(given, str):
        raise TypeError(f"a handle is a str, not {_kind(given)}: write session.handle")


def check_remember(given: Any) -> None:
    """Raise `TypeError` unless *given* is True, False or None, and not the text of a form field."""
    if given is not None and not isinstance(given, bool):
        raise TypeError(
            f"remember is True, False or None, not {_kind(given)}: "
            'write remember=bool(self.get_body_argument("remember", None))'
        )


def check_flash(message: Any, category: Any) -> None:
    """Raise unless both are text that a page can show: `TypeError`, or `ValueError`."""
    for name, given in (("message", message), ("category", category)):
        if not isinstance(given, str):
            raise TypeError(f"a flash's {name} is a str, not {_kind(given)}: write str({name})")
        if not is_utf8(given):
            raise ValueError(f"a flash's {name} holds a lone surrogate, which no page can show")


def is_utf8(text: str) -> bool:
    """Whether UTF-8 has a form for *text*: it holds no lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__qualname__}"

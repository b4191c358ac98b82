"""JSON as text: by msgspec where it is installed, else by the standard library; one language.

msgspec reads less than the standard library (no lone surrogates), and nothing otherwise; so what it
refuses is asked of the standard library, whose word is final.
"""

import json
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, Final, NamedTuple, NoReturn


class JsonText(NamedTuple):
    """A way to write and to read JSON. What is no JSON raises `ValueError` or `RecursionError`."""

    library: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def installed() -> JsonText:
    """The fastest way there is."""
    return STANDARD if find_spec("msgspec") is None else with_msgspec()


def with_msgspec() -> JsonText:
    """By msgspec, five times as fast as the standard library."""
    import msgspec  # noqa: PLC0415 - only who has installed it gets here

    read, write = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode

    def encode(value: Any) -> bytes:
        try:
            return write(value)
        except UnicodeEncodeError:
            return STANDARD.encode(value)

    def decode(text: bytes) -> Any:
        try:
            return read(text)
        except msgspec.MsgspecError:
            return STANDARD.decode(text)

    return JsonText("msgspec", encode, decode)


def reader(object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Callable[[bytes], Any]:
    """The standard library's way to read, that passes each object through *object_hook*."""
    decoder = json.JSONDecoder(object_hook=object_hook, parse_constant=_refuse_constant)
    return lambda text: decoder.decode(text.decode())


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _written(value: Any) -> bytes:
    try:
        return _AS_IT_IS.encode(value).encode()
    except UnicodeEncodeError:  # a lone surrogate has no bytes of its own, only an escape
        return _ESCAPED.encode(value).encode()


_compact = partial(json.JSONEncoder, separators=(",", ":"), allow_nan=False)
_AS_IT_IS: Final = _compact(ensure_ascii=False)
_ESCAPED: Final = _compact(ensure_ascii=True)
STANDARD: Final = JsonText("json", _written, reader())

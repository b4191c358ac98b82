"""JSON as text: by msgspec where it is installed, else by the standard library; one language.

msgspec reads less than the standard library (no lone surrogates), and nothing otherwise; so what it
refuses is asked of the standard library, whose word is final.
"""

import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final, NamedTuple, NoReturn


class JsonText(NamedTuple):
    """A way to write and to read JSON. What is no JSON raises `ValueError` or `RecursionError`.

    A lone surrogate is read from its escape, but not written.
    """

    library: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def installed() -> JsonText:
    """The fastest way there is."""
    return STANDARD if find_spec("msgspec") is None else with_msgspec()


def with_msgspec() -> JsonText:
    """By msgspec, five times as fast as the standard library."""
    import msgspec  # noqa: PLC0415 - only who has installed it gets here

    read = msgspec.json.Decoder().decode

    def decode(text: bytes) -> Any:
        try:
            return read(text)
        except msgspec.MsgspecError:
            return STANDARD.decode(text)

    return JsonText("msgspec", msgspec.json.Encoder().encode, decode)


def reader(object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Callable[[bytes], Any]:
    """The standard library's way to read, that passes each object through *object_hook*."""
    decoder = json.JSONDecoder(object_hook=object_hook, parse_constant=_refuse_constant)
    return lambda text: decoder.decode(text.decode())


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _written(value: Any) -> bytes:
    return _ENCODER.encode(value).encode()


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False)
STANDARD: Final = JsonText("json", _written, reader())

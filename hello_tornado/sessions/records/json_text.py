"""Read and write JSON with msgspec if it is installed, else with the standard library.

Both give the same results. msgspec refuses some texts that the standard library reads (those with
lone surrogates), so the standard library tries again to read a text that msgspec has refused.
"""

import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final, NamedTuple, NoReturn


class JsonText(NamedTuple):
    """The functions that write and read JSON, and the name of their library.

    Both raise `ValueError` or `RecursionError` for a value or text that is not JSON. `decode`
    accepts an escaped lone surrogate, `encode` does not write one.
    """

    library: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def installed() -> JsonText:
    """Return the fastest implementation that is installed."""
    return STANDARD if find_spec("msgspec") is None else with_msgspec()


def with_msgspec() -> JsonText:
    """Return the implementation by msgspec, five times as fast as the standard library."""
    import msgspec  # noqa: PLC0415 - not always installed

    read = msgspec.json.Decoder().decode

    def decode(text: bytes) -> Any:
        try:
            return read(text)
        except msgspec.MsgspecError:
            return STANDARD.decode(text)

    return JsonText("msgspec", msgspec.json.Encoder().encode, decode)


def reader(object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Callable[[bytes], Any]:
    """Return a function that reads JSON and passes each object to *object_hook*."""
    decoder = json.JSONDecoder(object_hook=object_hook, parse_constant=_refuse_constant)
    return lambda text: decoder.decode(text.decode())


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _written(value: Any) -> bytes:
    return _ENCODER.encode(value).encode()


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False)
STANDARD: Final = JsonText("json", _written, reader())

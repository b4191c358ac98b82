"""How the server keeps Python's garbage collector out of its requests' way."""

import gc
from typing import Final

THRESHOLD: Final = 10_000  # Python 3.11 looks after 700, which a dozen requests in flight hold


def spare_requests() -> None:
    """To be called once everything is loaded, which is then never looked through again."""
    gc.freeze()
    gc.set_threshold(THRESHOLD)

"""Where a session was logged in to: a browser, a system and an address, in plain words."""

import re
from dataclasses import dataclass
from typing import Final

MAX_USER_AGENT: Final = 256
# The first that fits: browsers name their ancestors, too. Substrings, for these texts are written
# by strangers, and no pattern can be made to run for long.
BROWSERS: Final = {
    "Edg": "Edge",
    "OPR/": "Opera",
    "SamsungBrowser/": "Samsung Internet",
    "Firefox/": "Firefox",
    "FxiOS/": "Firefox",
    "CriOS/": "Chrome",
    "Chrome/": "Chrome",
    "Safari/": "Safari",
}
SYSTEMS: Final = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "CrOS": "ChromeOS",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}
PRODUCT: Final = re.compile(r"[A-Za-z][\w.-]{0,39}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Device:
    """What a login's request told of its sender; anybody can send any `user_agent`."""

    user_agent: str
    address: str

    def __str__(self) -> str:
        browser = _first(BROWSERS, self.user_agent)
        system = _first(SYSTEMS, self.user_agent)
        if browser is None:
            product = PRODUCT.match(self.user_agent)
            browser = product[0] if product and product[0] != "Mozilla" else "Unknown browser"
        return browser if system is None else f"{browser} on {system}"


def _first(words: dict[str, str], text: str) -> str | None:
    return next((name for word, name in words.items() if word in text), None)

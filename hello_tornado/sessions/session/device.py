"""The device on which a user logged in: browser, operating system and address, for display."""

import re
from dataclasses import dataclass
from typing import Final

MAX_USER_AGENT: Final = 256
# The first match counts, because the user agents of many browsers also contain the names of others.
# Substrings are searched instead of regular expressions: clients write these texts, and a crafted
# one cannot make the search slow.
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
    """The device of a login, as stated by its request. Clients can send any `user_agent`.

    `str(device)` is a description such as "Firefox on Linux".
    """

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

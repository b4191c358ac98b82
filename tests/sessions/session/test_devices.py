"""What a device is called."""

import pytest

from hello_tornado.sessions.session.device import Device

MOZILLA = "Mozilla/5.0"
GECKO = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (
            f"{MOZILLA} (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
            "Firefox on Linux",
        ),
        (
            f"{MOZILLA} (Windows NT 10.0; Win64; x64) {GECKO} Chrome/142.0.0.0 Safari/537.36",
            "Chrome on Windows",
        ),
        (
            f"{MOZILLA} (Windows NT 10.0) {GECKO} Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
            "Edge on Windows",
        ),
        (
            f"{MOZILLA} (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/19.1 Safari/605.1.15",
            "Safari on macOS",
        ),
        (
            f"{MOZILLA} (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/19.1 Mobile/15E148 Safari/604.1",
            "Safari on iPhone",
        ),
        (
            f"{MOZILLA} (Linux; Android 10; K) {GECKO} SamsungBrowser/29.0 Chrome/136.0.0.0 "
            "Mobile Safari/537.36",
            "Samsung Internet on Android",
        ),
        (f"{MOZILLA} (X11; CrOS x86_64 14541.0.0) {GECKO} Chrome/142.0.0.0", "Chrome on ChromeOS"),
        (f"{MOZILLA} (PlayStation; PlayStation 5)", "Unknown browser"),
        ("curl/8.17.0", "curl"),
        ("python-requests/2.32 Linux", "python-requests on Linux"),
        ("", "Unknown browser"),
        ("<script>alert(1)</script>", "Unknown browser"),
        ("a" * 100_000, "a" * 40),
    ],
)
def test_a_device_is_a_browser_on_a_system(user_agent: str, name: str) -> None:
    assert str(Device(user_agent, "192.0.2.1")) == name

"""The server says which event loop it runs on, and serves alike on each."""

import sys
from pathlib import Path

import pytest
from running import running

# As it is where uvloop is not installed.
WITHOUT_UVLOOP = """
import sys
sys.modules["uvloop"] = None
from hello_tornado.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("program", "loop"), [(["-m", "hello_tornado"], "uvloop"), (["-c", WITHOUT_UVLOOP], "asyncio")]
)
def test_it_serves_on_what_it_reports(program: list[str], loop: str, tmp_path: Path) -> None:
    with running([sys.executable, *program, "serve", "--port", "0"], tmp_path) as server:
        assert server.wait_for(r"Tornado [\d.]+, (\w+)")[1] == loop
        cookie = server.log_in("Ada")
        assert "Ada" in server.request("GET", "/", cookie=cookie)[2]
        assert server.stop() == 0

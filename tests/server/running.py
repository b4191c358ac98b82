"""The real server as a process of its own, for tests that stop, kill and restart it."""

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

START_SECONDS = 20


@dataclass
class Server:
    """A running server: where it listens, and what it has printed so far."""

    process: subprocess.Popen[str]
    port: int = 0
    printed: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def text(self) -> str:
        return "".join(self.printed)

    def request(
        self, method: str, path: str, body: Mapping[str, str] | str | None = None, cookie: str = ""
    ) -> tuple[int, dict[str, str], str]:
        """One request on a connection of its own: status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            data = urlencode(body) if isinstance(body, Mapping) else body
            headers = {"Cookie": cookie} if cookie else {}
            if isinstance(body, Mapping):
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()
        finally:
            connection.close()

    def log_in(self, name: str) -> str:
        """Log *name* in; returns the cookie, as a browser would send it."""
        status, headers, _ = self.request("POST", "/user/login", {"username": name})
        assert status == 303
        return headers["Set-Cookie"].partition(";")[0]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(START_SECONDS)


@contextmanager
def running_server(
    directory: Path, *arguments: str, before: tuple[str, ...] = (), **environment: str
) -> Iterator[Server]:
    """`python -m hello_tornado *before* serve *arguments*` in *directory*, listening."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hello_tornado", *before, "serve", *(arguments or ("--port", "0"))],
        cwd=directory,
        env=clean_environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = Server(process)
    assert process.stdout is not None
    for line in process.stdout:
        server.printed.append(line)
        if found := re.search(r"listening http://[^/]*:(\d+)/", line):
            server.port = int(found[1])
        if "settings" in line and server.port:
            break
    reader = Thread(target=server.printed.extend, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        assert server.port, f"the server did not start: {server.text}"
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()
        process.stdout.close()


def run_command(
    directory: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python -m hello_tornado *arguments*` in *directory*, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "hello_tornado", *arguments],
        cwd=directory,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of the server."""
    ours = {name: text for name, text in os.environ.items() if "HELLO_TORNADO" not in name}
    return ours | {"PYTHONUNBUFFERED": "1"}

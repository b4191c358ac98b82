"""The real server as a process of its own, for tests that stop, kill and restart it."""

import asyncio
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread
from urllib.parse import urlencode

import services

START_SECONDS = 20
SOON = 5.0  # seconds, on a busy machine; on a quiet one a socket ends within one
PASSWORD = "correct horse battery staple"
PASSWORD_MODE = {"HELLO_TORNADO_LOGIN__MODE": "password"}
free_port = services.free_port  # a test that names a port of a server imports it from here
Answer = tuple[int, dict[str, str], str]


@dataclass
class Server:
    """A running server: where it listens, and what it has printed so far."""

    process: subprocess.Popen[str]
    port: int = 0
    printed: list[str] = field(default_factory=list)
    news: Condition = field(default_factory=Condition)
    is_over: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def text(self) -> str:
        return "".join(self.printed)

    @property
    def memory(self) -> int:
        """How many bytes of the machine's memory the process has now."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096

    def read(self) -> None:
        """Collect what the process prints, to its end; runs in a thread of its own."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.news:
                self.printed.append(line)
                self.news.notify_all()
        with self.news:
            self.is_over = True
            self.news.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """What matches in the text, as soon as the process has printed it."""
        with self.news:
            self.news.wait_for(lambda: self.is_over or re.search(pattern, self.text), START_SECONDS)
            found = re.search(pattern, self.text)
        assert found, f"{pattern!r} was not printed: {self.text}"
        return found

    def send(
        self, method: str, path: str, body: Mapping[str, str] | str | None = None, cookie: str = ""
    ) -> http.client.HTTPConnection:
        """Send one request on a connection of its own; `received` takes the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        data = urlencode(body) if isinstance(body, Mapping) else body
        headers = {"Cookie": cookie} if cookie else {}
        if isinstance(body, Mapping):
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, data, headers)
        except BaseException:
            connection.close()
            raise
        return connection

    def request(
        self, method: str, path: str, body: Mapping[str, str] | str | None = None, cookie: str = ""
    ) -> Answer:
        """One request on a connection of its own: status, headers and body."""
        return received(self.send(method, path, body, cookie))

    def log_in(self, name: str) -> str:
        """Log *name* in; returns the cookie, as a browser would send it."""
        status, headers, _ = self.request("POST", "/user/login", {"username": name})
        assert status == 303
        return headers["Set-Cookie"].partition(";")[0]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(START_SECONDS)


def received(connection: http.client.HTTPConnection) -> Answer:
    """The answer to what was sent, read to its end."""
    try:
        response = connection.getresponse()
        # A login with a password sets a second cookie, which is no session.
        headers = {
            name: value
            for name, value in response.getheaders()
            if not value.startswith("known-device=")
        }
        return response.status, headers, response.read().decode()
    finally:
        connection.close()


@contextmanager
def running_server(
    directory: Path, *arguments: str, before: tuple[str, ...] = (), **environment: str
) -> Iterator[Server]:
    """`python -m hello_tornado *before* serve *arguments*` in *directory*, listening."""
    command = [sys.executable, "-m", "hello_tornado", *before, "serve"]
    with running([*command, *(arguments or ("--port", "0"))], directory, **environment) as server:
        yield server


@contextmanager
def running(command: Sequence[str | Path], directory: Path, **environment: str) -> Iterator[Server]:
    """The server that *command* starts in *directory*, listening; stopped at the end."""
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=clean_environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with reading(process) as server:
        server.port = int(server.wait_for(r"listening http://[^/]*:(\d+)/")[1])
        server.wait_for(r"settings  .*\n")  # the last line of what it says at the start
        yield server


@contextmanager
def reading(
    process: subprocess.Popen[str], send: Callable[[int], object] | None = None
) -> Iterator[Server]:
    """The server in *process*, whose output is read; ended by the signals that *send* sends."""
    send = send or process.send_signal
    server = Server(process)
    reader = Thread(target=server.read, daemon=True)
    reader.start()
    try:
        yield server
    finally:
        if process.poll() is None:
            send(signal.SIGTERM)
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            send(signal.SIGKILL)
            process.wait()
        reader.join()
        assert process.stdout is not None
        process.stdout.close()


def wait_until_it_listens(port: int) -> None:
    """Until somebody accepts connections on a port of this machine."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


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


def user_command(
    directory: Path, environment: dict[str, str], *arguments: str, password: str = PASSWORD
) -> subprocess.CompletedProcess[str]:
    """`python -m hello_tornado users *arguments*`, with a password as its input, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "hello_tornado", "users", *arguments],
        cwd=directory,
        env=clean_environment() | environment,
        input=f"{password}\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of the server."""
    ours = {name: text for name, text in os.environ.items() if "HELLO_TORNADO" not in name}
    return ours | {"PYTHONUNBUFFERED": "1"}


async def forget(writer: asyncio.StreamWriter) -> None:
    """Close a connection at once, whatever the server has not read of it yet.

    `close()` alone would wait for that, and an event loop that ends before leaves the socket open.
    """
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()

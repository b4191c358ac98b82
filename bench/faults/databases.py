"""The databases, as an administrator handles them: each has a directory and a server of its own."""

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.load import with_children
from hello_tornado.database import migrate

START_SECONDS = 60
DISK = "size=700m"
BALLAST = "ballast"
SMALL = 512  # bytes: what is left over is less than a page


class Database(ABC):
    """A database in a directory, with the little that all of them have."""

    name: str
    user: str | None = None  # to run as, when root starts it
    allowed_connections = 5  # that one process may hold when it has nothing to do

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @abstractmethod
    def create(self) -> None:
        """Make an empty database, and start its server."""

    @abstractmethod
    def url(self, port: int) -> str:
        """The store's URL, when the way to the server leads over *port*."""

    def prepare(self) -> None:
        """Make the tables."""
        migrate.upgrade(self.url(self.leading_port))

    @property
    def leading_port(self) -> int:
        """Where the server is that takes writes; 0 without a server."""
        return 0

    def port_for(self, process: int) -> int:
        """Where the server is that this process of the application uses."""
        del process  # all use the same, but for databases with several that take writes
        return self.leading_port

    @abstractmethod
    def connections(self, pids: Sequence[int]) -> int:
        """How many connections the processes *pids* have."""

    @abstractmethod
    def stop(self) -> None:
        """End the server."""

    def ensure_running(self) -> None:
        """Start the server again, if it has ended; without a server there is nothing to do."""
        return

    def fill_disk(self) -> None:
        """Leave no byte free on the disk of the database, which is one of its own."""
        with (self.directory / BALLAST).open("wb", buffering=0) as ballast, suppress(OSError):
            disk = os.statvfs(self.directory)
            os.posix_fallocate(ballast.fileno(), 0, disk.f_bavail * disk.f_frsize)
        with (self.directory / BALLAST).open("ab", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(SMALL))

    def empty_disk(self) -> None:
        """Give the room back."""
        (self.directory / BALLAST).unlink(missing_ok=True)


class Server(ABC):
    """A server process with a directory, at a port."""

    name: str
    user: str | None = None  # to run as, when root starts it
    stop_signal = signal.SIGTERM

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """What starts the server."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers."""

    def launch(self) -> None:
        """Start the server process and wait until it answers."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), **identity(self.user), cwd=self.directory, stdout=log, stderr=log
            )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until the server answers; `RuntimeError` when it has ended, or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            has_ended = self._process is None or self._process.poll() is not None
            if has_ended or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start; see {self.directory / 'log'}")
            time.sleep(0.05)

    def ensure_running(self) -> None:
        """Start the server again, if it has ended."""
        if self._process is None or self._process.poll() is not None:
            self.launch()

    def kill(self) -> None:
        """SIGKILL, to the server and its children."""
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._wait()

    def freeze(self) -> None:
        """SIGSTOP, to the server and its children."""
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT, to the server and its children."""
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def shut_down(self) -> None:
        """End the server in the orderly way, its connections included."""
        if self._process is not None:
            self._process.send_signal(self.stop_signal)
            self._wait()

    def stop(self) -> None:
        """End the server, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _pids(self) -> list[int]:
        return [*with_children(self._process.pid)] if self._process else []

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait(START_SECONDS)


class ServerDatabase(Server, Database):
    """A database with a server process, and perhaps a twin that takes over."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.twin: ServerDatabase | None = None
        self.has_failed_over = False

    @abstractmethod
    def end_connections(self) -> None:
        """End every connection of the application, as an administrator would."""

    @abstractmethod
    def make_twin(self) -> None:
        """Start a second server that has, and goes on to get, what this one has."""

    @abstractmethod
    def fail_over(self) -> None:
        """Make this server refuse writes, and the twin take them. Nothing acknowledged is lost."""

    @property
    def leading_port(self) -> int:
        """Where the server is that takes writes."""
        return self.twin.port if self.twin is not None and self.has_failed_over else self.port

    def stop(self) -> None:
        """End the server and its twin."""
        if self.twin is not None:
            self.twin.stop()
        super().stop()


class Fronted(ServerDatabase):
    """A database whose clients know only a server in *front* of it, started after it."""

    front: Server

    @property
    def leading_port(self) -> int:
        """Where the server in front is."""
        return self.front.port

    def ensure_running(self) -> None:
        super().ensure_running()
        self.front.ensure_running()

    def stop(self) -> None:
        self.front.stop()
        super().stop()


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def identity(user: str | None) -> dict[str, str]:
    """These servers refuse to run as root."""
    return {"user": user, "group": user} if user is not None and os.geteuid() == 0 else {}


def give(directory: Path, user: str | None) -> None:
    """Make the directory that of the user as whom the server runs."""
    if user is not None and os.geteuid() == 0:
        for path in (directory, *directory.rglob("*")):
            shutil.chown(path, user, user)


def run(command: Sequence[str | Path], user: str | None) -> None:
    """Run a program of the database; its output is the error message when it fails."""
    done = subprocess.run(
        [*map(str, command)], **identity(user), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stderr}")


def program(name: str, *directories: Path) -> Path:
    """Where a program is; `FileNotFoundError` when it is not installed."""
    places = os.pathsep.join([*map(str, directories), os.environ["PATH"]])
    found = shutil.which(name, path=places)
    if found is None:
        raise FileNotFoundError(f"{name} is missing: install the database's server")
    return Path(found)


@contextmanager
def disk_of_its_own(directory: Path) -> Iterator[bool]:
    """A small file system in *directory*, in memory; only root can mount one, yields whether."""
    command = ["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(directory)]
    is_mounted = (
        os.geteuid() == 0
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)

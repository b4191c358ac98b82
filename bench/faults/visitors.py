"""The visitors: each keeps beginning sessions, uses them in parallel, and logs out of some.

A visitor never repeats a write. What came back, or did not, stands in the ledger.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError

from bench.faults.ledger import ANSWERED, Answer, Kind, Request, Seen

PATIENCE_SECONDS = 8
LANES = ("a", "b", "c")
PAUSE_SECONDS = 0.02
MOST_ROUNDS = 12
LAST_LOOKS_AT_ONCE = 8


@dataclass
class Visited:
    """A session that a visitor has begun."""

    name: str
    old_cookie: str = ""
    cookie: str = ""
    is_ended: bool = False
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))


class Visitors:
    """All visitors of one run, and their ledger.

    `ports` are those of the processes. A visitor asks any of the *askable* ones, and for a logout
    any of the *enders*; both are places in `ports`.
    """

    def __init__(
        self, ports: Sequence[int], *, askable: Sequence[int], enders: Sequence[int]
    ) -> None:
        self.ledger: list[Request] = []
        self._ports = ports
        self._askable = askable
        self._enders = enders
        self._sessions: list[Visited] = []
        self._is_over = asyncio.Event()
        self._http = AsyncHTTPClient(
            force_instance=True,
            defaults={
                "request_timeout": PATIENCE_SECONDS,
                "connect_timeout": PATIENCE_SECONDS,
                "follow_redirects": False,
            },
            max_clients=1_000,
        )

    async def visit(self, count: int) -> None:
        """Let *count* visitors visit until `leave()`."""
        await asyncio.gather(*(self._visitor(number) for number in range(count)))

    def leave(self) -> None:
        """Let every visitor finish the request that is under way."""
        self._is_over.set()

    async def last_look(self, seconds: float) -> int:
        """Look at every session once more; returns how many could not be seen in *seconds*."""
        places = asyncio.Semaphore(LAST_LOOKS_AT_ONCE)
        deadline = time.monotonic() + seconds

        async def look(session: Visited) -> bool:
            async with places:
                while time.monotonic() < deadline:
                    done = await self._ask(session, "read", is_last_look=True)
                    if done.answer in ANSWERED:
                        return True
                    await asyncio.sleep(0.2)
                return False

        seen = await asyncio.gather(*(look(one) for one in self._sessions if one.cookie))
        return seen.count(False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    async def _visitor(self, number: int) -> None:
        for turn in itertools.count():
            if self._is_over.is_set():
                return
            session = Visited(f"visitor{number}-{turn}")
            if await self._begin(session):
                rounds = random.randint(3, MOST_ROUNDS)
                lanes = [self._lane(session, lane, rounds) for lane in LANES]
                if random.random() < 0.5:
                    lanes.append(self._logout(session, random.uniform(0, rounds * 0.03)))
                await asyncio.gather(*lanes)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _begin(self, session: Visited) -> bool:
        """Begin and log in; False when either is in doubt, and with it the session's id."""
        begun = await self._ask(session, "begin", owner=session.name)
        if not begun.is_acknowledged:
            return False
        session.old_cookie = session.cookie
        login = await self._ask(session, "login")
        if not login.is_acknowledged:
            session.cookie = ""
            return False
        self._sessions.append(session)
        await self._ask(session, "read", is_old_id=True)
        return True

    async def _lane(self, session: Visited, lane: str, rounds: int) -> None:
        for _ in range(rounds):
            if self._is_over.is_set() or session.is_ended:
                return
            number = next(session.numbers)
            match random.randrange(4):
                case 0:
                    await self._ask(session, "increment")
                case 1:
                    mark = f"{session.name}/{number}"
                    await self._ask(session, "append", mark=mark)
                case 2:
                    await self._ask(session, "set", lane=lane, value=number)
                case _:
                    await self._ask(session, "read")
            await asyncio.sleep(random.uniform(0, 2 * PAUSE_SECONDS))

    async def _logout(self, session: Visited, delay: float) -> None:
        """Log out while the lanes go on, again until it is acknowledged; then look twice."""
        await asyncio.sleep(delay)
        while not (await self._ask(session, "logout")).is_acknowledged:
            if self._is_over.is_set():
                return
            await asyncio.sleep(5 * PAUSE_SECONDS)
        for process in self._askable:
            await self._ask(session, "read", process=process)
        await self._ask(session, "increment")
        session.is_ended = True

    async def _ask(
        self,
        session: Visited,
        kind: Kind,
        *,
        process: int | None = None,
        owner: str = "",
        lane: str = "",
        mark: str = "",
        value: int = 0,
        is_old_id: bool = False,
        is_last_look: bool = False,
    ) -> Request:
        if process is None:
            process = random.choice(self._enders if kind == "logout" else self._askable)
        cookie = session.old_cookie if is_old_id else session.cookie
        fields = {"owner": owner, "lane": lane, "mark": mark, "value": value}
        sent = time.monotonic()
        answer, seen, new_cookie = await self._exchange(kind, process, cookie, fields)
        if new_cookie and kind in {"begin", "login"}:
            session.cookie = new_cookie
        done = Request(
            session.name,
            kind,
            process,
            sent,
            time.monotonic(),
            answer,
            seen,
            lane=lane,
            mark=mark,
            value=value,
            is_old_id=is_old_id,
            is_last_look=is_last_look,
        )
        self.ledger.append(done)
        return done

    async def _exchange(
        self, kind: Kind, process: int, cookie: str, fields: dict[str, str | int]
    ) -> tuple[Answer, Seen | None, str]:
        request = HTTPRequest(
            f"http://127.0.0.1:{self._ports[process]}/{kind}",
            method="GET" if kind == "read" else "POST",
            headers={"Cookie": cookie} if cookie else {},
            body=None if kind == "read" else urlencode(fields),
        )
        try:
            response = await self._http.fetch(request, raise_error=False)
        except HTTPTimeoutError:
            return "silent", None, ""
        except (HTTPStreamClosedError, ConnectionResetError, BrokenPipeError):
            return "closed", None, ""
        except OSError:
            return "refused", None, ""
        new_cookie = response.headers.get("Set-Cookie", "").partition(";")[0]
        if response.code not in {200, 401}:
            return str(response.code), None, ""
        answer = "ok" if response.code == 200 else "anonymous"
        return answer, Seen.from_json(json.loads(response.body)), new_cookie

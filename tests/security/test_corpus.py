"""Past exploits and malformed input, sent to the letter.

Nothing of it may start a session, ask the store, end in a 500, or leave a secret in the log.
"""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from running import forget
from visiting import SECRET, Visits

from hello_tornado.logs import WithoutCookies
from hello_tornado.server import BODY_SECONDS, HEADER_SECONDS, MAX_BODY_BYTES, MAX_HEADER_BYTES

CORPUS = Path(__file__).parent / "corpus"


def cases(name: str) -> Any:
    return json.loads((CORPUS / f"{name}.json").read_text(encoding="utf-8"))


class Raw(Visits):
    """Bytes in, bytes out."""

    def get_httpserver_options(self) -> dict[str, Any]:
        return {
            "max_header_size": MAX_HEADER_BYTES,
            "max_body_size": MAX_BODY_BYTES,
            "idle_connection_timeout": HEADER_SECONDS,
            "body_timeout": BODY_SECONDS,
        }

    def setUp(self) -> None:
        super().setUp()
        self.caplog.set_level(logging.DEBUG)
        as_the_servers = WithoutCookies()
        self.caplog.handler.addFilter(as_the_servers)
        self.addCleanup(self.caplog.handler.removeFilter, as_the_servers)
        self.log_in()
        self.value = (self.cookie or "").partition("=")[2]
        self.caplog.clear()
        self.store.calls.clear()
        self.before = self.rows_of_all()

    def rows_of_all(self) -> int:
        return self.io_loop.run_sync(self.store._store.count)

    def send(self, raw: str) -> tuple[int, bytes]:
        async def exchange() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.get_http_port())
            writer.write(raw.encode("latin-1"))
            try:
                return await asyncio.wait_for(reader.read(), 20)
            except ConnectionResetError:
                return b""
            finally:
                await forget(writer)

        answer = self.io_loop.run_sync(exchange)
        return int(answer.split(b" ", 2)[1]) if answer else 0, answer

    def assert_nothing_happened(self, name: str, answer: bytes) -> None:
        assert b"Ada" not in answer, name
        assert b"Set-Cookie" not in answer, name
        assert b"Traceback" not in answer, name
        assert self.rows_of_all() == self.before, name
        assert self.store.calls == [], name
        errors = [record for record in self.caplog.records if record.levelno >= logging.ERROR]
        assert errors == [], name
        assert self.value[:20] not in self.caplog.text
        assert self.value[-20:] not in self.caplog.text
        assert SECRET not in self.caplog.text


class TestCorpus(Raw):
    def cookie_header(self, pattern: str) -> str:
        value = self.value
        for name, text in {
            "value": value,
            "head": value[:20],
            "tail": value[1:],
            "percent": quote(value, safe=""),
        }.items():
            pattern = pattern.replace(f"{{{name}}}", text)
        return pattern

    def test_no_cookie_of_the_corpus_is_a_session(self) -> None:
        for case in cases("cookies"):
            cookie = self.cookie_header(case["cookie"])
            head = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            status, answer = self.send(f"{head}Cookie: {cookie}\r\n\r\n")
            assert status in {200, 400}, case["name"]
            self.assert_nothing_happened(case["name"], answer)

    def test_the_cookie_as_it_was_sent_is_a_session(self) -> None:
        """Or the corpus would show nothing. In double quotes it is the same cookie (RFC 6265)."""
        for value in (self.value, f'"{self.value}"'):
            status, answer = self.send(
                f"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: session={value}\r\n"
                "Connection: close\r\n\r\n"
            )
            assert status == 200
            assert b"Hello Ada" in answer

    def test_no_request_of_the_corpus_does_anything(self) -> None:
        for case in cases("requests"):
            status, answer = self.send(case["raw"])
            assert status in case["answers"], (case["name"], status)
            self.assert_nothing_happened(case["name"], answer)

    def test_every_flipped_byte_and_every_truncation_is_worthless(self) -> None:
        changed = [self.value[:end] for end in range(len(self.value))]
        for place, byte in enumerate(self.value):
            others = (chr(ord(byte) ^ 1), "0" if byte != "0" else "1")
            changed += [self.value[:place] + other + self.value[place + 1 :] for other in others]
        requests = "".join(
            f"GET /api/session HTTP/1.1\r\nHost: localhost\r\nCookie: session={value}\r\n\r\n"
            for value in changed
        )
        requests += "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        _, answer = self.send(requests)
        assert answer.count(b"HTTP/1.1 200 OK") == len(changed) + 1
        assert answer.count(b'"user": null') == len(changed)
        self.assert_nothing_happened("changed", answer)


class TestRejectedCookiesInTheLog(Raw):
    def test_many_rejected_cookies_are_one_line(self) -> None:
        for _ in range(50):
            self.visit("/", Cookie="session=forged")
        lines = [one for one in self.caplog.messages if "CookieRejected" in one]
        assert lines == ["CookieRejected reason='not_ours'"]
        self.clock.advance(minutes=1)
        self.visit("/", Cookie="session=forged")
        lines = [one for one in self.caplog.messages if "CookieRejected" in one]
        assert lines[1:] == ["CookieRejected reason='not_ours' left_out=49"]


@pytest.mark.parametrize("name", ["cookies", "requests"])
def test_the_corpus_names_each_case_once(name: str) -> None:
    names = [case["name"] for case in cases(name)]
    assert len(names) == len(set(names)) > 20

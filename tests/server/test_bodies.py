"""Bodies are bounded by the page that they are for, and what is too long is not kept."""

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from running import running_server
from visiting import Visits

from hello_tornado.handlers.base import BaseHandler


class TestTooLarge(Visits):
    def test_a_page_says_so_in_its_own_way(self) -> None:
        form = "username=" + "x" * BaseHandler.max_body_bytes
        page = self.visit("/user/login", "POST", body=form)
        assert page.code == 413
        assert b"larger than this page accepts" in page.body
        assert self.visit("/user/logout", "POST", body="x" * 20_000).code == 413
        answer = self.visit("/api/session/x", "PUT", body="x" * 70_000)
        assert answer.code == 413
        assert b"the body is larger than a session may be: 65,536 bytes" in answer.body
        assert self.store.calls == []

    def test_what_is_not_there_or_reads_no_body_is_told_first(self) -> None:
        for path, code in (("/nowhere", 404), ("/healthz", 405), ("/static/style.css", 405)):
            assert self.visit(path, "POST", body="x" * 100_000).code == code

    def test_a_body_without_a_length_is_bounded_too(self) -> None:
        def chunks() -> list[bytes]:
            return [b"username=Ada&x=", *[b"y" * 5000] * 10]

        assert self.sent_in_chunks(chunks()) == 413
        assert self.sent_in_chunks([b"username=", b"Ada"]) == 303

    def sent_in_chunks(self, chunks: list[bytes]) -> int:
        async def produce(write: object) -> None:
            for chunk in chunks:
                await write(chunk)  # type: ignore[operator]

        return self.fetch(
            "/user/login",
            method="POST",
            body_producer=produce,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            follow_redirects=False,
        ).code

    def test_a_form_of_the_wrong_type_is_too_large_before_it_is_malformed(self) -> None:
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        assert self.visit("/user/login", "POST", body="--b\r\n" * 5000, **kind).code == 413

    def test_a_multipart_form_is_not_taken_apart(self) -> None:
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        part = '--b\r\nContent-Disposition: form-data; name="username"\r\n\r\nAda\r\n'
        answer = self.visit("/user/login", "POST", body=part + "--b--\r\n", **kind)
        assert answer.code == 400
        assert b"Please enter a name." in answer.body
        assert self.visit("/api/session/x", "PUT", body="1", **kind).code == 200


def test_a_query_of_many_fields_is_refused_before_it_is_taken_apart(tmp_path: Path) -> None:
    fields = [f"a{n}=1" for n in range(101)]
    with running_server(tmp_path) as server:
        assert server.request("GET", f"/user/login?{'&'.join(fields[:100])}")[0] == 200
        status, headers, body = server.request("GET", f"/user/login?{'&'.join(fields)}")
        assert (status, headers["Connection"], body) == (414, "close", "")
        assert server.request("POST", f"/user/logout?{'&'.join(fields)}", "x" * 1000)[0] == 414
        assert server.request("GET", "/healthz")[0] == 200
        assert "Traceback" not in server.text


@pytest.mark.parametrize("path", ["/nowhere", "/", "/user/login", "/static/style.css"])
def test_many_long_bodies_are_not_kept(tmp_path: Path, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\n".encode()
    with running_server(tmp_path) as server, ExitStack() as stack:
        before = server.memory
        for _ in range(50):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            stack.enter_context(client).sendall(head + b"x" * 1_048_000)  # all but the end
        assert server.request("GET", "/healthz")[0] == 200
        assert server.memory - before < 20 * 2**20, "they were 50 MiB"

"""One's own session as JSON, and every way to ask for it wrongly."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from tornado.httpclient import HTTPResponse
from visiting import Visits

from hello_tornado.config.settings import Server, Settings
from hello_tornado.sessions import Store, open_store


class TestTheApi(Visits):
    def put(self, key: str, value: Any) -> Any:
        response = self.visit(f"/api/session/{quote(key, safe='')}", "PUT", body=json.dumps(value))
        assert response.code == 200, response.body
        return json.loads(response.body)

    def refused(self, path: str, method: str, body: str | bytes | None, code: int) -> str:
        """The message of a refusal, which changes nothing."""
        before = self.data()
        response = self.visit(path, method, body=body)
        assert response.code == code, response.body
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        error = json.loads(response.body)["error"]
        assert error["status"] == code
        assert self.data() == before
        message: str = error["message"]
        return message

    def test_a_stranger_has_an_empty_session_that_is_not_stored(self) -> None:
        response = self.visit("/api/session")
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        session = json.loads(response.body)
        assert (session["handle"], session["user"], session["data"]) == (None, None, {})
        assert self.store.calls == []

    def test_it_shows_the_session_with_its_times(self) -> None:
        self.log_in()
        self.clock.advance(minutes=1)
        session = json.loads(self.visit("/api/session").body)
        assert (session["user"], session["data"]) == ("ada", {"username": "Ada"})
        assert len(session["handle"]) == 20
        assert session["expires_in"] == 59 * 60
        times = [
            datetime.fromisoformat(session[name])
            for name in ("created_at", "accessed_at", "expires_at")
        ]
        assert [time.utcoffset() for time in times] == [timedelta(0)] * 3
        assert times[2] - times[1] == timedelta(hours=1)

    def test_values_are_set_read_and_removed(self) -> None:
        for key, value in (
            ("text", "grüße 🦊"),
            ("null", None),
            ("nested", {"a": [1, 2.5, True, {"b": None}]}),
            ("a/b c", 1),
            ("ключ", 2),
            ("increment", 3),
        ):
            assert self.put(key, value)["data"][key] == value
            assert self.data()[key] == value
        self.visit("/api/session/text", "DELETE")
        assert "text" not in self.data()
        assert self.visit("/api/session/text", "DELETE").code == 200

    def test_counting(self) -> None:
        for body, expected in (
            (b"", 1),
            (b"{}", 2),
            (b'{"by": 40}', 42),
            (b'{"by": -2}', 40),
        ):
            response = self.visit("/api/session/n/increment", "POST", body=body)
            assert json.loads(response.body)["data"]["n"] == expected

    def test_parallel_increments_all_count_and_each_reads_its_own(self) -> None:
        self.put("n", 0)

        async def count() -> list[int]:
            responses = await asyncio.gather(
                *(
                    self.http_client.fetch(
                        self.get_url("/api/session/n/increment"),
                        method="POST",
                        body=b"",
                        headers={"Cookie": self.cookie or ""},
                    )
                    for _ in range(20)
                )
            )
            return [json.loads(response.body)["data"]["n"] for response in responses]

        seen = self.io_loop.run_sync(count)
        assert min(seen) >= 1
        assert max(seen) == self.data()["n"] == 20

    def test_what_is_no_json_is_named_with_its_place(self) -> None:
        self.put("kept", 1)
        path = "/api/session/x"
        assert self.refused(path, "PUT", b'{"a": 1,\n "b" 2}', 400) == (
            "the body is not JSON: Expecting ':' delimiter at line 2, column 6"
        )
        assert "line 1, column 1" in self.refused(path, "PUT", b"", 400)
        assert "not UTF-8" in self.refused(path, "PUT", b'"\xff"', 400)
        assert "NaN is not JSON" in self.refused(path, "PUT", b"[NaN]", 400)
        assert "Infinity" in self.refused(path, "PUT", b"-Infinity", 400)

    def test_what_cannot_be_stored_is_named(self) -> None:
        self.log_in()
        path = "/api/session/x"
        assert "beyond 64 bits" in self.refused(path, "PUT", str(2**63), 400)
        assert "digits" in self.refused(path, "PUT", "9" * 5_000, 400)
        assert "deeper than 64 levels" in self.refused(path, "PUT", "[" * 80 + "]" * 80, 400)
        assert "recursion" in self.refused(path, "PUT", "[" * 30_000 + "]" * 30_000, 400)

    def test_a_key_is_short_and_printable(self) -> None:
        for key in ("x" * 201, "a\nb", "\x00", "\u202e"):
            path = f"/api/session/{quote(key, safe='')}"
            for method in ("PUT", "DELETE"):
                body = b"1" if method == "PUT" else None
                assert "1 to 200 printable" in self.refused(path, method, body, 400)
            assert "1 to 200 printable" in self.refused(path + "/increment", "POST", b"", 400)
        assert self.put("x" * 200, 1)

    def test_only_whole_numbers_count(self) -> None:
        self.put("word", "hello")
        path = "/api/session/word/increment"
        assert "'word'] is a str" in self.refused(path, "POST", b"", 409)
        for body in (b'{"by": 1.5}', b'{"by": true}', b'{"by": "1"}'):
            assert '"by" must be a whole number' in self.refused(path, "POST", body, 400)
        for body in (b"[]", b"1", b'{"to": 1}'):
            assert 'the body must be {"by": n}' in self.refused(path, "POST", body, 400)
        self.put("n", 2**63 - 1)
        assert "64 bits" in self.refused("/api/session/n/increment", "POST", b"", 400)

    def test_too_much_is_refused_with_the_size_and_the_biggest_keys(self) -> None:
        self.log_in()
        self.put("small", 1)
        message = self.refused("/api/session/big", "PUT", json.dumps("x" * 70_000), 413)
        assert "larger than a session may be: 65,536 bytes" in message
        self.put("half", "x" * 40_000)
        message = self.refused("/api/session/big", "PUT", json.dumps("x" * 41_000), 413)
        assert "max_bytes is 65,536. The biggest keys, in bytes: 'big' (41," in message
        assert self.put("half", 2)["data"] == {"username": "Ada", "small": 1, "half": 2}

    def test_a_method_that_is_not_there_is_a_405_in_json(self) -> None:
        for path, method in (
            ("/api/session", "POST"),
            ("/api/session", "DELETE"),
            ("/api/session/x", "GET"),
            ("/api/session/x", "POST"),
            ("/api/session/x/increment", "PUT"),
            ("/api/session/x/increment", "GET"),
        ):
            body = b"" if method in {"POST", "PUT"} else None
            assert "does not support" in self.refused(path, method, body, 405)

    def test_a_dead_store_is_a_503_in_json(self) -> None:
        self.log_in()
        self.store.is_down = True
        for path, method, body in (
            ("/api/session", "GET", None),
            ("/api/session/x", "PUT", b"1"),
            ("/api/session/n/increment", "POST", b""),
        ):
            response = self.visit(path, method, body=body)
            assert (response.code, response.headers["Retry-After"]) == (503, "5")
            assert json.loads(response.body)["error"]["status"] == 503

    def test_what_other_handlers_store_is_shown_tagged(self) -> None:
        self.log_in()

        async def store() -> None:
            (found,) = await self.manager.sessions_of("ada")
            async with self.manager.transaction(found.handle) as session:
                session.update(when=datetime(2026, 11, 23, tzinfo=UTC), raw=b"\xff", some={1})

        self.io_loop.run_sync(store)
        data = self.data()
        assert data["when"] == {"$datetime": "2026-11-23T00:00:00+00:00"}
        assert data["raw"] == {"$bytes": "/w=="}
        assert data["some"] == {"$set": [1]}
        assert "2026-11-23T00:00:00+00:00" in self.page()

    def test_a_session_that_ended_meanwhile_takes_nothing(self) -> None:
        self.log_in()
        save = self.store.save

        async def end_before(swaps: Any) -> Any:
            await self.manager.revoke_user("ada")
            return await save(swaps)

        self.manager._writer._committer._save = end_before
        response = self.visit("/api/session/x", "PUT", body=b"1")
        assert response.code == 409
        assert "ended during this request" in json.loads(response.body)["error"]["message"]
        assert "Set-Cookie" not in response.headers

    def test_other_sites_can_change_nothing(self) -> None:
        self.put("n", 1)
        for path, method in (("n", "PUT"), ("n", "DELETE"), ("n/increment", "POST")):
            for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
                body = None if method == "DELETE" else b"5"
                response = self.visit(f"/api/session/{path}", method, body=body, **headers)
                assert response.code == 403
                assert json.loads(response.body)["error"]["status"] == 403
        assert self.data() == {"n": 1}

    def test_a_key_that_is_no_utf_8_is_a_400_in_json(self) -> None:
        self.refused("/api/session/%ff", "PUT", b"1", 400)
        self.refused("/api/session/%ff", "DELETE", None, 400)

    def test_a_number_too_great_for_a_float_is_refused(self) -> None:
        assert "inf" in self.refused("/api/session/x", "PUT", b"1e400", 400)

    def test_half_of_a_character_is_refused_and_breaks_no_page(self) -> None:
        self.log_in()
        for key in ("x", "username"):
            for body in (b'"\\ud800"', b'{"\\ud800": 1}', b'["\\udfff"]'):
                assert "a lone surrogate" in self.refused(f"/api/session/{key}", "PUT", body, 400)
                for page in ("/", "/user/sessions", "/api/session"):
                    assert self.visit(page).code == 200, body

    def test_any_value_under_the_name_of_the_visitor_breaks_no_page(self) -> None:
        for value in (5, True, [1], {"a": 1}, None, "", "<b>"):
            self.put("username", value)
            assert "<b>" not in self.page()

    def test_what_looks_like_a_tag_is_kept_as_data(self) -> None:
        for value in ({"$datetime": "x"}, {"$": 1}, {"$$bytes": None}):
            assert self.put("x", value)["data"]["x"] == value
            assert self.data()["x"] == value

    def test_head_is_get_without_the_body(self) -> None:
        get, head = self.visit("/api/session"), self.visit("/api/session", "HEAD")
        assert (head.code, head.body) == (200, b"")
        for name in ("Content-Type", "Content-Length", "Cache-Control"):
            assert head.headers[name] == get.headers[name]

    def test_the_biggest_keys_come_first(self) -> None:
        self.log_in()
        self.put("little", "x" * 30)
        self.put("great", "x" * 30_000)
        message = self.refused("/api/session/greater", "PUT", json.dumps("x" * 40_000), 413)
        assert message.index("'greater'") < message.index("'great'") < message.index("'little'")
        self.visit("/api/session/great", "DELETE")
        assert self.put("greater", "x" * 40_000)

    def test_what_was_written_by_a_session_that_ended_is_gone(self) -> None:
        self.put("x", 1)
        old = self.cookie
        self.visit("/user/logout", "POST")
        self.cookie = old
        assert self.data() == {}
        self.clock.advance(minutes=1)  # until then it may belong to a request that was under way
        self.put("y", 2)
        assert self.cookie != old
        assert self.data() == {"y": 2}


class TestAnonymous(Visits):
    """What visitors who are not logged in may store."""

    settings = Settings(anonymous={"max_bytes": 1000, "sessions_per_minute": 3})  # type: ignore[arg-type]

    def put(self, key: str, size: int) -> HTTPResponse:
        return self.visit(f"/api/session/{key}", "PUT", body=json.dumps("x" * size))

    def begin(self, address: str = "") -> HTTPResponse:
        self.cookie = None
        return self.visit("/api/session/n", "PUT", body="1", **{"X-Forwarded-For": address})

    def test_a_session_is_small_until_its_user_logs_in(self) -> None:
        assert self.put("a", 900).code == 200
        for key, size in (("b", 900), ("a", 1000), ("a", 60_000)):
            refused = self.put(key, size)
            assert refused.code == 413
            assert b"at most 1,000 bytes before a login" in refused.body
        assert self.visit("/api/session/n/increment", "POST").code == 200
        assert self.data() == {"a": "x" * 900, "n": 1}
        self.log_in()
        assert self.put("b", 60_000).code == 200

    def test_many_small_values_count_as_what_they_cost(self) -> None:
        for element in ("1", "[]", "{}", '"x"'):
            for count, code in ((300, 413), (25, 200)):
                body = f"[{','.join([element] * count)}]"
                assert self.visit("/api/session/a", "PUT", body=body).code == code, element
        body = json.dumps({f"key {n}": n for n in range(60)})
        refused = self.visit("/api/session/b", "PUT", body=body)
        assert refused.code == 413
        assert b"each comma, [ and { counts as 16 more bytes" in refused.body

    def test_blanks_in_json_do_not_count_once_it_is_stored(self) -> None:
        assert self.visit("/api/session/a", "PUT", body="[" + " " * 900 + "]").code == 200
        assert self.put("b", 900).code == 200

    def test_no_row_is_left_by_what_was_refused(self) -> None:
        assert self.put("a", 1000).code == 413
        assert self.store._store._records == {}
        assert self.put("a", 600).code == 200
        assert self.put("b", 600).code == 413
        assert self.data() == {"a": "x" * 600}

    def test_an_address_begins_so_many_sessions_a_minute(self) -> None:
        assert [self.begin().code for _ in range(5)] == [200, 200, 200, 429, 429]
        refused = self.begin()
        assert refused.headers["Retry-After"] == "21"
        assert b"too many new sessions" in refused.body
        assert self.visit("/").code == 200, "a page begins none"
        self.clock.advance(seconds=20)
        assert [self.begin().code for _ in range(2)] == [200, 429]
        assert len(self.store._store._records) == 4

    def test_a_session_that_has_begun_and_logins_are_not_counted(self) -> None:
        for _ in range(10):
            assert self.put("a", 10).code == 200
        for _ in range(10):
            self.cookie = None
            assert self.log_in().code == 303


class TestAnonymousBehindAProxy(TestAnonymous):
    settings = TestAnonymous.settings.model_copy(update={"server": Server(proxies=("127.0.0.1",))})

    def test_addresses_are_counted_apart_and_wide_networks_more_leniently(self) -> None:
        for address in ("192.0.2.1", "192.0.2.2"):
            assert [self.begin(address).code for _ in range(4)] == [200, 200, 200, 429]
        assert self.begin("::ffff:192.0.2.1").code == 429
        codes = [self.begin(f"2001:db8:0:{n:x}::1").code for n in range(20)]
        assert codes == [200] * 6 + [429] * 14, "they are all of one /56"


class TestTheApiOnSqlite(TestTheApi):
    def make_store(self) -> Store:
        return open_store(f"sqlite:///{self.directory}/sessions.db")

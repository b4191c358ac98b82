"""What a cookie and a row are worth, each on its own."""

import base64
import pickle
import re
from typing import Any

from tornado.web import create_signed_value
from visiting import SECRET, Visits

from hello_tornado.sessions.carriers.signing import Keyring
from hello_tornado.sessions.records.ids import key_of, new_session_id
from hello_tornado.sessions.records.record import SessionRecord, Swap


class TestRows(Visits):
    def record(self) -> SessionRecord:
        (listed,) = self.io_loop.run_sync(lambda: self.store._store.page(None, 10))
        found = self.io_loop.run_sync(lambda: self.store._store.load([listed.key]))
        return found[listed.key]

    def put(self, **fields: Any) -> None:
        """Change the row as somebody at the database would."""
        old = self.record()
        new = old._replace(version=old.version + 1, **fields)
        self.io_loop.run_sync(lambda: self.store._store.save([Swap(old, new)]))

    def is_ada(self, cookie: str) -> bool:
        return "Hello Ada" in self.visit("/", Cookie=cookie).body.decode()

    def signed(self, name: str, value: bytes | str, **options: Any) -> str:
        signed = create_signed_value(
            SECRET, name, value, clock=lambda: self.clock.now / 1e6, **options
        )
        return signed.decode()

    def session_id(self) -> str:
        value = (self.cookie or "").partition("=")[2]
        signed = Keyring.of({"cookie_secret": SECRET}).verify("session", value, self.clock.now)
        assert signed is not None
        return signed.session_id

    def test_a_signature_alone_opens_nothing(self) -> None:
        self.log_in()
        cookie = self.cookie or ""
        assert self.is_ada(cookie)
        key = self.record().key
        self.io_loop.run_sync(lambda: self.store._store.delete([key]))
        assert not self.is_ada(cookie)

    def test_ids_are_random_and_say_nothing(self) -> None:
        ids = {new_session_id() for _ in range(10_000)}
        assert len(ids) == 10_000
        assert all(re.fullmatch(r"[\w-]{36}", one) for one in ids), "216 bits"
        self.log_in()
        assert self.session_id() not in {"Ada", ""}
        assert len(base64.urlsafe_b64decode(self.session_id())) == 27

    def test_a_login_makes_every_earlier_cookie_worthless(self) -> None:
        self.visit("/api/session/gathered", "PUT", body="1")
        cookies = [self.cookie or ""]
        for _ in range(2):
            self.log_in()
            cookies.append(self.cookie or "")
        assert len(set(cookies)) == 3
        assert [self.is_ada(cookie) for cookie in cookies] == [False, False, True]
        assert self.rows("ada") == 1
        assert self.data()["gathered"] == 1

    def test_a_cookie_of_version_1_is_rejected_though_we_signed_it(self) -> None:
        self.log_in()
        assert self.is_ada(f"session={self.signed('session', self.session_id(), version=2)}")
        assert not self.is_ada(f"session={self.signed('session', self.session_id(), version=1)}")

    def test_a_signed_value_of_another_name_is_no_session(self) -> None:
        self.log_in()
        for name in ("Session", "other", "__Host-session", "X-Session-Token"):
            assert not self.is_ada(f"session={self.signed(name, self.session_id(), version=2)}")

    def test_a_version_of_the_secret_that_nobody_has_is_no_error(self) -> None:
        self.log_in()
        session_id = self.session_id()
        self._app.settings["cookie_secret"] = {1: SECRET, 2: "b" * 40}
        for version in (0, 1, 7, 999):
            secrets = {version: SECRET}
            value = create_signed_value(
                secrets,
                "session",
                session_id,
                version=2,
                clock=lambda: self.clock.now / 1e6,
                key_version=version,
            ).decode()
            assert self.is_ada(f"session={value}") == (version == 1)
        assert self.visit("/", Cookie="session=abc").code == 200, "a5: shaped like version 1"

    def test_what_a_thief_of_the_store_has_makes_no_cookie(self) -> None:
        """Not even with the right secret."""
        self.log_in()
        record = self.record()
        for stolen in (record.key, record.key.hex(), record.handle, base64.b64encode(record.key)):
            value = stolen if isinstance(stolen, str) else bytes(stolen)
            for secret in (SECRET, "another one"):
                self._app.settings["cookie_secret"] = secret
                assert not self.is_ada(f"session={self.signed('session', value, version=2)}")
        assert self.session_id().encode() not in record.data
        assert key_of(self.session_id()) == record.key  # type: ignore[arg-type]

    def test_a_row_that_cannot_be_read_is_a_503_and_nobody(self) -> None:
        self.log_in()
        cookie = self.cookie or ""
        pickled = pickle.dumps({"data": {"username": "Ada"}})
        for data in (pickled, b"", b"\xff", b"[1]", b'{"data":1', b'{"data":1}', b'{"meta":[]}'):
            self.put(data=data)
            answer = self.visit("/", Cookie=cookie)
            assert (answer.code, answer.headers.get_list("Set-Cookie")) == (503, []), data
            assert "Hello Ada" not in answer.body.decode()
        assert "RecordUnreadable" in self.caplog.text
        assert self.record().handle in self.caplog.text, "and it is still there, to be looked at"

    def test_what_looks_like_sql_is_a_name(self) -> None:
        name = "'; DROP TABLE sessions;--"
        self.log_in(name)
        assert "Hello &#x27;; DROP TABLE sessions;--" in self.page().replace("&#39;", "&#x27;")
        assert self.rows(name.lower()) == 1

    def test_what_looks_like_html_is_a_name(self) -> None:
        self.log_in("<img src=x onerror=1>\"'")
        assert "<img" not in self.page()
        refused = self.visit("/user/login", "POST", {"username": "<img>" * 99})
        assert (refused.code, b"<img" in refused.body) == (400, False)

"""The page of one's devices, as the server has it."""

import re

from visiting import Visits

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) Version/19.1 Safari/604.1"


class TestDevices(Visits):
    def log_in_elsewhere(self, name: str = "Ada") -> str:
        """The cookie of another device, without losing ours."""
        mine, self.cookie = self.cookie, None
        self.visit("/user/login", "POST", {"username": name}, **{"User-Agent": PHONE})
        theirs, self.cookie = self.cookie, mine
        assert theirs is not None
        return theirs

    def is_logged_in(self, cookie: str) -> bool:
        return b"Hello Ada" in self.visit("/", Cookie=cookie).body

    def test_the_page_lists_the_devices(self) -> None:
        self.log_in()
        assert "not signed in anywhere else" in self.page("/user/sessions")
        self.log_in_elsewhere()
        page = self.page("/user/sessions")
        assert page.count("This device") == 1
        assert page.count("Safari on iPhone") == 3  # the name, and for screen readers two buttons
        assert "127.0.0.1" in page
        assert "in 1 hour" in page
        assert page.count("<form") == 3  # log out, this one, all others

    def test_one_is_signed_out_and_told_on_the_page(self) -> None:
        self.log_in()
        theirs = self.log_in_elsewhere()
        (path,) = re.findall(r'action="(/user/sessions/[^"]+/revoke)"', self.page("/user/sessions"))
        response = self.visit(path, "POST")
        assert response.headers["Location"] == "/user/sessions"
        page = self.page("/user/sessions")
        assert "Signed out: Safari on iPhone." in page
        assert not self.is_logged_in(theirs)
        assert self.is_logged_in(self.cookie or "")
        assert self.visit(path, "POST").code == 404

    def test_all_others_are_signed_out(self) -> None:
        self.log_in()
        others = [self.log_in_elsewhere() for _ in range(3)]
        self.visit("/user/sessions/revoke-others", "POST")
        assert "Signed out on 3 other devices." in self.page("/user/sessions")
        assert not any(map(self.is_logged_in, others))

    def test_no_secret_is_in_the_page(self) -> None:
        self.log_in()
        theirs = self.log_in_elsewhere()
        page = self.page("/user/sessions")
        for cookie in (self.cookie or "", theirs):
            assert cookie.partition("=")[2].strip('"') not in page
        for record in self.store._store._records.values():
            assert record.key.hex() not in page

    def test_who_is_not_logged_in_is_sent_to_the_login_and_back(self) -> None:
        response = self.visit("/user/sessions")
        assert response.code == 302
        assert response.headers["Location"] == "/user/login?next=%2Fuser%2Fsessions"
        assert self.visit("/user/sessions/revoke-others", "POST").code == 403
        assert self.visit("/user/sessions/some-handle/revoke", "POST").code == 403

    def test_another_site_signs_nobody_out(self) -> None:
        self.log_in()
        theirs = self.log_in_elsewhere()
        foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
        response = self.visit("/user/sessions/revoke-others", "POST", **foreign)
        assert response.code == 403
        assert self.is_logged_in(theirs)

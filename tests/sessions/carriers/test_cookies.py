"""The cookie: what is read from the header, what is written, what is refused."""

import base64
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import pytest
from fakes import SECRET
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import create_signed_value, decode_signed_value

from hello_tornado.sessions import CookiePolicy
from hello_tornado.sessions.carriers.signing import Keyring
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.records.ids import SessionId, new_session_id
from hello_tornado.sessions.testing import HOUR, NOW

KEYRING = Keyring.of({"cookie_secret": SECRET})
ID = new_session_id()
POLICY = CookiePolicy()


class Connection:
    """As much of a connection as a request asks for."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.remote_ip = "127.0.0.1"

    context: Any = property(lambda self: self)


def request(
    *cookies: str, protocol: str = "http", host: str = "localhost", path: str = "/"
) -> HTTPServerRequest:
    headers = HTTPHeaders({"Host": host})
    for cookie in cookies:
        headers.add("Cookie", cookie)
    connection: Any = Connection(protocol)
    start_line = RequestStartLine("GET", path, "HTTP/1.1")
    return HTTPServerRequest(headers=headers, connection=connection, start_line=start_line)


def ids(*cookies: str, policy: CookiePolicy = POLICY, protocol: str = "http") -> list[SessionId]:
    sent, https = request(*cookies, protocol=protocol), protocol == "https"
    reading = policy.read(sent, KEYRING, NOW, https=https)
    return [signed.session_id for signed in reading.signed]


def rejected(*cookies: str) -> str | None:
    return POLICY.read(request(*cookies), KEYRING, NOW, https=False).rejected


VALUE = KEYRING.sign("session", ID, NOW)


def test_what_was_issued_is_read() -> None:
    header = POLICY.issue(KEYRING, ID, NOW + HOUR, NOW, https=False)
    assert header == f"session={VALUE}; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax"
    assert ids(header.partition(";")[0]) == [ID]
    assert ids(f"a=b; session={VALUE} ;c=d") == [ID]


def test_double_quotes_around_a_value_mean_nothing() -> None:
    other = new_session_id()
    second = KEYRING.sign("session", other, NOW)
    assert ids(f'session="{VALUE}"') == [ID]
    assert ids(f'a="b"; session="{VALUE}" ; session={VALUE}') == [ID]
    assert ids(f'session="{VALUE}"; session={second}') == [ID, other]
    assert rejected("; ".join([f'session="{VALUE}"'] * 5)) == "too_many"


@given(st.binary(min_size=27, max_size=27))
def test_no_client_has_a_reason_to_quote_the_value_of_a_new_id(random: bytes) -> None:
    """Python's http.cookies, and aiohttp with it, quotes values with = / ( ) and others in them."""
    session_id = SessionId(base64.urlsafe_b64encode(random).decode())
    assert len(session_id) == len(ID) == 36
    for keyring in (KEYRING, Keyring.of({"cookie_secret": {7: SECRET}})):
        for name in ("session", "__Host-session"):
            value = keyring.sign(name, session_id, NOW)
            assert SimpleCookie({"a": value})["a"].coded_value == value


COMES_BACK_FROM = [
    ("/admin", ["/admin", "/admin/", "/admin/users", "/admin//"]),
    ("/admin/", ["/admin/", "/admin/users"]),
    ("/caf%C3%A9", ["/caf%C3%A9/x"]),
    ("/", ["/", "/anything", "/admin/users", "//"]),
]
GOES_ASTRAY_FROM = [
    ("/admin", ["/", "/administrator", "/Admin", "/shop/admin", "/adm%69n"]),
    ("/admin/", ["/admin", "/"]),
]


@pytest.mark.parametrize(("path", "asked"), COMES_BACK_FROM)
def test_a_cookie_for_a_path_is_for_requests_below_it(path: str, asked: list[str]) -> None:
    policy = CookiePolicy(path=path)
    for one in asked:
        assert policy.refuses(request(path=one), https=False) is None
        assert policy.refuses(request(path=one + "?next=/"), https=False) is None


@pytest.mark.parametrize(("path", "asked"), GOES_ASTRAY_FROM)
def test_a_cookie_for_another_path_is_refused_with_the_cure(path: str, asked: list[str]) -> None:
    policy = CookiePolicy(path=path)
    for one in asked:
        assert f"for the path {path}" in (policy.refuses(request(path=one), https=False) or "")
        given = request(f"session={VALUE}", path=one)
        assert policy.read(given, KEYRING, NOW, https=False).signed == (), (
            "the browser would not send it"
        )


@pytest.mark.parametrize(
    ("domain", "host", "comes_back"),
    [
        ("example.org", "example.org", True),
        ("example.org", "EXAMPLE.org:8080", True),
        (".example.org", "www.example.org", True),
        ("Example.Org", "a.b.example.org", True),
        ("example.org", "badexample.org", False),
        ("example.org", "example.org.evil", False),
        ("www.example.org", "example.org", False),
        ("example.org", "localhost:8080", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("0.0.1", "10.0.0.1", False),
        ("example.org", "[::1]:80", False),
    ],
)
def test_a_cookie_for_a_domain_is_for_its_hosts(domain: str, host: str, comes_back: bool) -> None:
    refusal = CookiePolicy(domain=domain).refuses(request(host=host), https=False)
    assert (refusal is None) == comes_back
    if refusal is not None:
        assert f"the domain {domain}" in refusal


@pytest.mark.parametrize("name", ["__Secure-sid", "__Host-sid", "__HOST-sid", "__secure-sid"])
def test_a_name_that_browsers_keep_over_https_only_is_refused_over_http(name: str) -> None:
    policy = CookiePolicy(name=name)
    assert policy.refuses(request(), https=True) is None
    assert "over https only" in (policy.refuses(request(), https=False) or "")
    with pytest.raises(ConfigurationError, match="needs secure"):
        CookiePolicy(name=name, secure=False)


@pytest.mark.parametrize("name", ["connect.sid", "!#$%&'*+.^_`|~-", "a" * 128])
def test_any_name_that_a_cookie_can_have_comes_back(name: str) -> None:
    policy = CookiePolicy(name=name)
    given = policy.issue(KEYRING, ID, None, NOW, https=False).partition(";")[0]
    reading = policy.read(request(given), KEYRING, NOW, https=False)
    assert [found.session_id for found in reading.signed] == [ID]


def test_over_https_it_is_a_host_cookie() -> None:
    header = POLICY.issue(KEYRING, ID, NOW + HOUR, NOW, https=True)
    name, _, rest = header.partition("=")
    assert name == "__Host-session"
    assert rest.endswith("; Max-Age=3600; Path=/; HttpOnly; Secure; SameSite=Lax")
    assert ids(header.partition(";")[0], protocol="https") == [ID]
    assert ids(header.partition(";")[0]) == []
    assert ids(f"session={VALUE}", protocol="https") == []


def test_every_attribute_is_written_and_cleared_alike() -> None:
    policy = CookiePolicy(
        name="sid",
        httponly=False,
        secure=True,
        samesite="none",
        domain="example.org",
        path="/app",
        partitioned=True,
        priority="high",
    )
    attributes = "Path=/app; Domain=example.org; Secure; SameSite=None; Partitioned; Priority=High"
    assert policy.issue(KEYRING, ID, None, NOW, https=False).endswith(f"; {attributes}")
    assert policy.issue(KEYRING, ID, NOW + HOUR // 2, NOW, https=False).endswith(
        f"; Max-Age=1800; {attributes}"
    )
    assert policy.clear(https=False) == (
        f"sid=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; {attributes}"
    )


@pytest.mark.parametrize(
    ("given", "written"),
    [(None, ""), ("Lax", "; SameSite=Lax"), ("strict", "; SameSite=Strict")],
)
def test_samesite_may_be_unsaid(given: Any, written: str) -> None:
    header = CookiePolicy(samesite=given).clear(https=False)
    assert header.endswith(f"Path=/; HttpOnly{written}")


def test_what_browsers_take_from_secure_cookies_only_is_not_said_over_http() -> None:
    policy = CookiePolicy(samesite="none", partitioned=True)
    assert policy.clear(https=False).endswith("HttpOnly; SameSite=Lax")
    secure = policy.clear(https=True)
    assert secure.endswith("HttpOnly; Secure; SameSite=None; Partitioned")


@pytest.mark.parametrize(("left", "seconds"), [(HOUR, 3600), (1, 1), (0, 0), (-HOUR, 0)])
def test_the_seconds_of_a_cookie_are_rounded_up_and_never_negative(left: int, seconds: int) -> None:
    assert f"; Max-Age={seconds};" in POLICY.issue(KEYRING, ID, NOW + left, NOW, https=False)


@pytest.mark.parametrize("persist", [True, False])
def test_a_login_decides_whether_its_cookie_outlives_the_browser(*, persist: bool) -> None:
    policy = CookiePolicy(persist=persist)
    assert [policy.persists(one) for one in (None, True, False)] == [persist, True, False]


@pytest.mark.parametrize(("protocol", "samesite"), [("http", "Lax"), ("https", "None")])
def test_samesite_auto_follows_the_request(protocol: str, samesite: str) -> None:
    header = CookiePolicy(samesite="auto").clear(https=protocol == "https")
    assert header.endswith(f"SameSite={samesite}")


@pytest.mark.parametrize("place", range(len(VALUE)))
def test_no_byte_can_be_changed_and_no_end_cut_off(place: int) -> None:
    for other in {"0", "a", "|", ":", "=", "%", " ", "\xa0", ";"} - {VALUE[place]}:
        assert ids(f"a=b; session={VALUE[:place]}{other}{VALUE[place + 1 :]}; c=d") == []
    assert ids(f"session={VALUE[:place]}") == []


NOT_OURS = [
    "",
    '""',
    f'"{VALUE}',
    f'{VALUE}"',
    f'""{VALUE}""',
    f'" {VALUE}"',
    f"'{VALUE}'",
    VALUE.replace("|", "\\174"),
    f"s%3A{ID}.{'A' * 43}",
    f"s:{ID}.{'A' * 43}",
    "2|",
    "2|-1:0|",
    "2|1:0|" + "9" * 9_999 + ":x|",
    "3|" + VALUE[2:],
    "2|3:999|10:1795447556|7:session|4:eHl6|00",
    create_signed_value(SECRET, "session", ID, version=1).decode(),
    create_signed_value(SECRET, "other", ID).decode(),
    create_signed_value("another secret", "session", ID).decode(),
    create_signed_value(SECRET, "session", b"\xff\xfe").decode(),
    create_signed_value(SECRET, "session", "x" * 400).decode(),
    "x" * 60_000,
]


@pytest.mark.parametrize("value", NOT_OURS, ids=range(len(NOT_OURS)))
def test_what_is_not_ours_is_rejected(value: str) -> None:
    assert ids(f"session={value}") == []
    assert rejected(f"session={value}") == "not_ours"


@pytest.mark.parametrize(
    "cookie",
    ["\xa0session=", "\x85session=", "Session=", "session =", "=session=", "xsession=", "session"],
)
def test_a_name_is_read_to_the_letter(cookie: str) -> None:
    assert ids(cookie + VALUE) == []
    assert rejected(cookie + VALUE) is None


def test_of_several_cookies_each_that_verifies_is_a_candidate() -> None:
    other = new_session_id()
    second = KEYRING.sign("session", other, NOW)
    assert ids(f"session={VALUE}; session={VALUE}") == [ID]
    assert ids(f"session=forged; session={VALUE}") == [ID]
    assert ids(f"session={VALUE}; session={second}") == [ID, other]
    assert ids(f"session={VALUE}", f"session={second}") == [ID, other]
    assert rejected("; ".join(["session=x"] * 4)) == "not_ours"
    assert rejected("; ".join([f"session={VALUE}"] * 5)) == "too_many"


def test_secrets_rotate() -> None:
    old = Keyring.of({"cookie_secret": {1: SECRET}})
    both = Keyring.of({"cookie_secret": {1: SECRET, 2: "b" * 40}})
    pinned = Keyring.of({"cookie_secret": {1: SECRET, 2: "b" * 40}, "key_version": 1})
    new = Keyring.of({"cookie_secret": {2: "b" * 40}})
    value = old.sign("session", ID, NOW)
    assert (both.current, pinned.current, new.current) == (2, 1, 2)
    found = both.verify("session", value, NOW)
    assert found is not None
    assert (found.session_id, found.key_version, found.signed_at) == (ID, 1, NOW)
    assert new.verify("session", value, NOW) is None
    assert new.verify("session", both.sign("session", ID, NOW), NOW) is not None
    zeroth = Keyring.of({"cookie_secret": {0: SECRET, 1: "b" * 40}})
    assert zeroth.verify("session", VALUE, NOW) is not None, "a single secret is version 0"


def test_a_list_of_secrets_signs_with_its_first() -> None:
    """As express-session does it: first signs, all verify."""
    old = Keyring.of({"cookie_secret": [SECRET.encode()]})
    both = Keyring.of({"cookie_secret": ["b" * 40, SECRET]})
    for value in (VALUE, old.sign("session", ID, NOW)):
        found = both.verify("session", value, NOW)
        assert found is not None
        assert (found.session_id, both.is_current(found)) == (ID, False)
    found = both.verify("session", both.sign("session", ID, NOW), NOW)
    assert found is not None
    assert both.is_current(found)
    alone = Keyring.of({"cookie_secret": "b" * 40})
    assert alone.verify("session", both.sign("session", ID, NOW), NOW) is not None
    assert alone.verify("session", VALUE, NOW) is None


def test_what_was_verified_before_is_judged_by_todays_clock_and_its_own_secrets() -> None:
    """A keyring remembers values; a value that is remembered is worth no more than a new one."""
    keyring, other = Keyring.of({"cookie_secret": SECRET}), Keyring.of({"cookie_secret": "b" * 40})
    value, forged = keyring.sign("session", ID, NOW), other.sign("session", ID, NOW)
    for _ in range(2):
        found = keyring.verify("session", value, NOW)
        assert found is not None
        assert found.session_id == ID
        assert keyring.verify("another", value, NOW) is None
        assert keyring.verify("session", value, NOW + 401 * 86_400 * 1_000_000) is None
        assert keyring.verify("session", forged, NOW) is None
        assert other.verify("session", value, NOW) is None


def test_nothing_long_is_remembered() -> None:
    keyring = Keyring.of({"cookie_secret": "c" * 40})
    assert keyring.verify("session", "x" * 100_000, NOW) is None
    assert keyring._remembered.cache_info().currsize == 0


def test_a_signature_grows_too_old_only_after_all_lifetimes() -> None:
    day = timedelta(days=1) // timedelta(microseconds=1)
    assert KEYRING.verify("session", VALUE, NOW + 399 * day) is not None
    assert KEYRING.verify("session", VALUE, NOW + 401 * day) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "cookie_secret: a random string"),
        ({"cookie_secret": ""}, "cookie_secret: a random string"),
        ({"cookie_secret": {}}, "cookie_secret: a random string"),
        ({"cookie_secret": []}, "cookie_secret: a random string"),
        ({"cookie_secret": ["x" * 40, "b" * 15]}, "cookie_secret: a random string"),
        ({"cookie_secret": {1: "changeme"}}, "cookie_secret: a random string"),
        ({"cookie_secret": 7}, "cookie_secret: a random string"),
        ({"cookie_secret": "secret"}, "of at least 16 bytes"),
        ({"cookie_secret": "\ud800" * 40}, "of at least 16 bytes"),
        ({"cookie_secret": {"a": "x" * 40}}, r"by version \(a whole number\)"),
        ({"cookie_secret": {1: "x" * 40, "a": "x" * 40}}, r"by version \(a whole number\)"),
        ({"cookie_secret": b"b" * 15}, "of at least 16 bytes"),
        ({"cookie_secret": {1: "x" * 40}, "key_version": 2}, "no secret for key_version 2"),
        ({"cookie_secret": {0: "x" * 40}, "key_version": None}, "no secret for key_version None"),
    ],
)
def test_a_keyring_needs_a_secret(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Keyring.of(settings)


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "a;b"},
        {"path": "app"},
        {"path": "/;x"},
        {"path": "/a b"},
        {"path": None},
        {"name": None},
        {"name": b"sid"},
        {"domain": "a;b"},
        {"domain": ""},
        {"domain": "https://example.org"},
        {"domain": "example.org/app"},
        {"domain": "example.org:8080"},
        {"domain": "bücher.example"},
        {"domain": ["example.org"]},
        {"persist": 1},
        {"httponly": "no"},
        {"partitioned": 1},
        {"secure": 1},
        {"samesite": 1},
        {"samesite": 0},
        {"secure": False, "samesite": "none"},
        {"secure": False, "partitioned": True},
        {"samesite": "loose"},
        {"samesite": True},
        {"samesite": False},
        {"secure": "yes"},
        {"priority": "urgent"},
        {"path": "/" + "a" * 1024},
        {"domain": "a" * 1025},
        {"name": "__Secure-sid", "secure": False},
        {"name": "__Host-sid", "domain": "example.org"},
        {"name": "__Host-sid", "path": "/app"},
        {"name": "__Host-sid", "secure": False},
    ],
)
def test_what_browsers_refuse_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CookiePolicy(**options)
    assert any(name in str(caught.value) for name in ("__Host-", "__Secure-", *options))


def test_words_are_accepted_in_capitals_as_cookies_have_them() -> None:
    policy = CookiePolicy(samesite="Strict", priority="High")
    assert policy == CookiePolicy(samesite="strict", priority="high")
    assert policy.clear(https=False).endswith("HttpOnly; SameSite=Strict; Priority=High")


@given(st.binary(max_size=200) | st.text(max_size=60).map(lambda text: (VALUE + text).encode()))
def test_we_accept_nothing_that_tornado_does_not(raw: bytes) -> None:
    value = raw.decode("latin-1")
    ours = KEYRING.verify("session", value, NOW)
    theirs = decode_signed_value(
        SECRET, "session", value, max_age_days=400, clock=lambda: NOW / 1e6, min_version=2
    )
    assert ours is None or ours.session_id.encode() == theirs

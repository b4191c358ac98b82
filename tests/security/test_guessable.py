"""A secret that somebody made up is refused, however long it is; one that was drawn never is."""

import base64
import hashlib
import secrets
import string
import uuid
from collections.abc import Callable

import pytest

from hello_tornado.config.guessable import weakness_of
from hello_tornado.config.secret import new_secret

MADE_UP = [
    "__TODO:_GENERATE_YOUR_OWN_RANDOM_VALUE_HERE__",
    "my-super-secret-cookie-secret-for-production-2024",
    "YOUR_COOKIE_SECRET_GOES_HERE_PLEASE_CHANGE_IT",
    "replace-with-a-long-random-string-in-production!!",
    "change me please, this is not a real secret at all",
    "the cat sat on the mat and the dog ran off to it",
    "To be, or not to be, that is the question: whether",
    "I am the very model of a modern Major-General, you",
    "correct horse battery staple correct horse battery",
    "correcthorsebatterystaplecorrecthorsebatterystaple!",
    "thisismyverylongsecretkeyforthetornadoapplication",
    "ThisIsMyVeryLongSecretKeyForTheTornadoApplication",
    "hello_tornado-development-secret-do-not-use-0001",
    "Das ist mein sehr geheimes Passwort fuer die Produktion",
    "mein-geheimes-passwort-fuer-das-labor-im-keller-2024",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit",
    "cookie.secret.for.the.dashboard.of.the.physics.lab",
    "P4ssw0rd-P4ssw0rd-S3cr3t-K3y-F0r-T0rnad0-App",
    "d3v3l0pm3nt-s3cr3t-k3y-ch4ng3-m3-1n-pr0duct10n",
    "Tr0ub4dor&3-Tr0ub4dor&3-Tr0ub4dor&3",
    "password1234567890password1234567890",
    "secretsecretsecretsecretsecretsecret1",
    "terces-eikooc-rof-drowssap-ym-si-siht-drowssap",
    "qwertyuiopasdfghjklzxcvbnm1234567890",
    "asdfghjklqwertyuiopzxcvbnm,./1234567890-=",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    "zyxwvutsrqponmlkjihgfedcba9876543210",
    "0123456789abcdef0123456789abcdef",
    "deadbeefdeadbeefcafebabecafebabe",
    "11111111112222222222333333333344444444445555",
    "2024-01-01 2024-02-02 2024-03-03 2024-04-04",
    "x8Kq2Lm9x8Kq2Lm9x8Kq2Lm9x8Kq2Lm9x8Kq",
    *(hashlib.new(name, b"").hexdigest() for name in ("md5", "sha1", "sha256", "sha512")),
    *(hashlib.new(name, b"password").hexdigest() for name in ("md5", "sha1", "sha256", "sha384")),
    hashlib.sha256(b"letmein").hexdigest().upper(),
    base64.b64encode(hashlib.sha256(b"secret").digest()).decode(),
    base64.b64encode(b"this is the secret of my cookies").decode(),
    base64.urlsafe_b64encode(b"this is the secret of my cookie!").decode().rstrip("="),
    b"this is the secret of my cookies".hex(),
]


@pytest.mark.parametrize("secret", MADE_UP)
def test_what_somebody_made_up_is_refused(secret: str) -> None:
    weakness = weakness_of(secret)
    assert weakness is not None
    assert secret not in weakness


def of(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


@pytest.mark.parametrize(
    "draw",
    [
        new_secret,
        lambda: secrets.token_urlsafe(24),
        lambda: secrets.token_urlsafe(32),
        lambda: secrets.token_hex(16),
        lambda: secrets.token_hex(32),
        lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
        lambda: base64.b32encode(secrets.token_bytes(25)).decode(),
        lambda: f"{uuid.uuid4()}{uuid.uuid4()}",
        lambda: of(string.ascii_letters + string.digits, 32),
        lambda: of(string.ascii_letters + string.digits + string.punctuation, 48),
    ],
    ids=["ours", "url24", "url32", "hex16", "hex32", "base64", "base32", "uuids", "alnum", "all"],
)
@pytest.mark.slow
def test_what_was_drawn_is_never_refused(draw: Callable[[], str]) -> None:
    assert [weakness_of(draw()) for _ in range(40)] == [None] * 40


def test_a_long_secret_takes_no_longer_to_judge() -> None:
    assert weakness_of(secrets.token_hex(4096)) is None
    assert weakness_of("secret " * 4096) is not None

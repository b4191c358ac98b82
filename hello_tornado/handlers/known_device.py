"""A cookie by which a login page knows a device at which this user has logged in before.

It logs nobody in. Guesses from a known device are counted apart from everybody else's, so that an
attack on an account does not lock its owner out (OWASP calls these device cookies).
"""

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Final

from hello_tornado.handlers.base import BaseHandler
from hello_tornado.sessions.carriers.signing import Keyring
from hello_tornado.sessions.records.ids import SessionId

NAME: Final = "known-device"
REMEMBERED: Final = timedelta(days=180)


def known_device(handler: BaseHandler, user_id: str) -> str | None:
    """The random name of the device that sent the request, if *user_id* has logged in there."""
    cookie = _name(handler)
    now = handler.session_manager.now()
    signed = Keyring.of(handler.settings).verify(cookie, handler.get_cookie(cookie, ""), now)
    if signed is None:
        return None
    user, _, device = signed.session_id.partition(".")
    return device if hmac.compare_digest(user, _digest(user_id)) else None


def remember_device(handler: BaseHandler, user_id: str) -> None:
    """Let the browser keep that *user_id* has logged in there."""
    device = known_device(handler, user_id) or secrets.token_urlsafe(16)
    cookie, now = _name(handler), handler.session_manager.now()
    value = SessionId(f"{_digest(user_id)}.{device}")
    handler.set_cookie(
        cookie,
        Keyring.of(handler.settings).sign(cookie, value, now),
        max_age=int(REMEMBERED.total_seconds()),
        httponly=True,
        secure=handler.is_https,
        samesite="Strict",
    )


def _name(handler: BaseHandler) -> str:
    return f"__Host-{NAME}" if handler.is_https else NAME


def _digest(user_id: str) -> str:
    return hashlib.sha256(user_id.encode()).hexdigest()[:32]

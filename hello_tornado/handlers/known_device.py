"""A cookie by which the login page recognizes a device on which a user has logged in before.

It does not log the user in. Guesses from a known device are counted separately, so that an attack
on an account does not lock its owner out (OWASP calls these device cookies). When the password is
changed, only the device on which it was changed stays known.
"""

import secrets
from datetime import timedelta
from typing import Final

from hello_tornado.accounts.accounts import Account, KnownDevice, stamp_of
from hello_tornado.handlers.base import BaseHandler
from hello_tornado.sessions.carriers.signing import Keyring
from hello_tornado.sessions.records.ids import SessionId

NAME: Final = "known-device"
REMEMBERED: Final = timedelta(days=180)


def known_device(handler: BaseHandler) -> KnownDevice | None:
    """Return the device that sent the request, if a user has logged in on it before."""
    cookie = _name(handler)
    now = handler.session_manager.now()
    signed = Keyring.of(handler.settings).verify(cookie, handler.get_cookie(cookie, ""), now)
    if signed is None:
        return None
    stamp, _, name = signed.session_id.partition(".")
    return KnownDevice(name, stamp)


def remember_device(handler: BaseHandler, account: Account) -> None:
    """Set the cookie that says that the user of *account* has logged in on this device."""
    device, name = known_device(handler), secrets.token_urlsafe(16)
    if device is not None and device.is_known_to(account):
        name = device.name
    cookie, now = _name(handler), handler.session_manager.now()
    value = SessionId(f"{stamp_of(account)}.{name}")
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

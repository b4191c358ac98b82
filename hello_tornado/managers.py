"""The session manager and the cookie that the settings describe."""

from datetime import timedelta
from typing import Any, Final

from hello_tornado.sessions import CookiePolicy, Lifetimes, SessionManager, Store
from hello_tornado.settings import Settings

REMEMBER_ENDED: Final = timedelta(hours=1)


def make_manager(settings: Settings, store: Store, **options: Any) -> SessionManager:
    """A manager over *store*; *options* go to it as they are."""
    lifetimes = Lifetimes(**settings.lifetimes.model_dump())
    return SessionManager(
        store,
        lifetimes=lifetimes,
        remember_ended=min(REMEMBER_ENDED, lifetimes.idle or REMEMBER_ENDED),
        **settings.session.model_dump(),
        **options,
    )


def cookie_policy(settings: Settings) -> CookiePolicy:
    """The cookie that the settings describe."""
    proxies = settings.server.proxies
    return CookiePolicy(
        **settings.cookie.model_dump(), proxies=proxies, proxy=True if proxies else None
    )

"""The session manager and the cookie that the settings describe."""

from typing import Any

from hello_tornado.config.settings import Settings
from hello_tornado.sessions import CookiePolicy, Lifetimes, SessionManager, Store


def make_manager(settings: Settings, store: Store, **options: Any) -> SessionManager:
    """A manager over *store*; *options* go to it as they are."""
    return SessionManager(
        store,
        lifetimes=Lifetimes(**settings.lifetimes.model_dump()),
        cookie=cookie_policy(settings),
        purge_every=settings.purge.every,
        purge_batch=settings.purge.batch,
        **settings.session.model_dump(),
        **options,
    )


def cookie_policy(settings: Settings) -> CookiePolicy:
    """The cookie that the settings describe."""
    proxies = settings.server.proxies
    return CookiePolicy(
        **settings.cookie.model_dump(), proxies=proxies, proxy=True if proxies else None
    )

"""The session manager and the cookie that the settings describe."""

from typing import Any

from hello_tornado.config.settings import Settings
from hello_tornado.sessions import CookiePolicy, Lifetimes, SessionManager, Store


def make_manager(settings: Settings, store: Store, **options: Any) -> SessionManager:
    """A manager over *store*; *options* go to it as they are."""
    return SessionManager(
        store,
        lifetimes=Lifetimes(**settings.lifetimes.model_dump()),
        cookie=CookiePolicy(**settings.cookie.model_dump()),
        trusted_proxies=settings.server.proxies or None,
        purge_every=settings.purge.every,
        purge_batch=settings.purge.batch,
        **settings.session.model_dump(),
        **options,
    )

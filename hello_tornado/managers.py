"""Makes the session manager that the settings describe."""

from typing import Any

from hello_tornado.config.settings import Settings
from hello_tornado.sessions import CookiePolicy, Lifetimes, SessionManager, Store


def make_manager(settings: Settings, store: Store, **options: Any) -> SessionManager:
    """Make a manager over *store*; *options* are passed on to `SessionManager`."""
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

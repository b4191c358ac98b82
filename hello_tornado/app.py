"""Builds the Tornado application: its routes and its settings."""

from collections.abc import Awaitable, Callable
from weakref import WeakSet

from tornado.routing import URLSpec
from tornado.web import Application, url

from hello_tornado import resource
from hello_tornado.accounts.accounts import Accounts
from hello_tornado.bodies import BoundedApplication
from hello_tornado.config.settings import Settings
from hello_tornado.database.databases import store_name
from hello_tornado.handlers.account import ConfirmingHandler
from hello_tornado.handlers.api import (
    AnonymousLimits,
    SessionApiHandler,
    SessionIncrementApiHandler,
    SessionKeyApiHandler,
)
from hello_tornado.handlers.base import (
    BaseHandler,
    NotFoundHandler,
    SafeStaticFileHandler,
)
from hello_tornado.handlers.check import CheckHandler
from hello_tornado.handlers.health import HealthHandler, ReadyHandler
from hello_tornado.handlers.home import HomeHandler
from hello_tornado.handlers.in_flight import InFlight
from hello_tornado.handlers.login import LoginHandler, LogoutHandler, PasswordLoginHandler
from hello_tornado.handlers.metrics import MetricsHandler
from hello_tornado.handlers.password import PasswordHandler
from hello_tornado.handlers.socket import SocketHandler
from hello_tornado.rates import Rate
from hello_tornado.sessions import SessionManager
from hello_tornado.sessions.metrics import SessionMetrics
from hello_tornado.sessions.web.account.handlers import account_routes

MAX_MESSAGE_BYTES = 64 * 1024
PING_SECONDS = 30  # shorter than the time after which proxies close a silent connection


def make_app(
    settings: Settings,
    manager: SessionManager,
    *,
    cookie_secret: str | dict[int, str],
    check: Callable[[], Awaitable[None]],
    accounts: Accounts | None = None,
    metrics: SessionMetrics | None = None,
) -> Application:
    """Build the application that serves the sessions of *manager*.

    Args:
        settings: The settings of the server.
        manager: Opens and stores the session of each request.
        cookie_secret: Signs cookies; several secrets are a dictionary by key version.
        check: Raises unless requests can be served; `/readyz` calls it.
        accounts: The users and their passwords. Without them (the default) people log in with a
            name alone.
        metrics: What `/metrics` shows. Without them (the default) there is no such page.

    """
    templates = resource("templates")
    return BoundedApplication(
        _routes(check, accounts) + _metrics(settings, metrics),
        anonymous=AnonymousLimits(
            settings.anonymous.max_bytes, Rate(settings.anonymous.sessions_per_minute)
        ),
        cookie_secret=cookie_secret,
        cross_origin_protection=True,
        default_handler_class=NotFoundHandler,
        fresh_for=settings.login.fresh_for,
        has_passwords=accounts is not None,
        hsts=_hsts(settings),
        in_flight=InFlight(),
        login_url="/user/login",
        session_manager=manager,
        sockets=WeakSet(),
        static_handler_class=SafeStaticFileHandler,
        static_path=str(templates / "static"),
        store_name=store_name(settings),
        template_path=str(templates),
        websocket_max_message_size=MAX_MESSAGE_BYTES,
        websocket_ping_interval=PING_SECONDS,
    )


def _hsts(settings: Settings) -> str | None:
    """Return the value of the Strict-Transport-Security header; None when it is not sent."""
    hsts = settings.hsts
    if hsts.max_age is None:
        return None
    words = [f"max-age={int(hsts.max_age.total_seconds())}"]
    words += ["includeSubDomains"] * hsts.include_subdomains + ["preload"] * hsts.preload
    return "; ".join(words)


def _routes(check: Callable[[], Awaitable[None]], accounts: Accounts | None) -> list[URLSpec]:
    return [
        url("/", HomeHandler, name="home"),
        *(_open_login() if accounts is None else _password_login(accounts)),
        url("/user/logout", LogoutHandler, name="logout"),
        url("/auth/check", CheckHandler),
        url("/api/session", SessionApiHandler),
        url("/api/session/([^/]+)", SessionKeyApiHandler),
        url("/api/session/([^/]+)/increment", SessionIncrementApiHandler),
        url("/ws", SocketHandler),
        url("/healthz", HealthHandler),
        url("/readyz", ReadyHandler, {"check": check}),
    ]


def _metrics(settings: Settings, metrics: SessionMetrics | None) -> list[URLSpec]:
    if metrics is None:
        return []
    token = settings.server.metrics_token
    shown = {
        "metrics": metrics,
        "token": None if token is None else token.get_secret_value(),
        "is_proxied": bool(settings.server.proxies) or settings.server.mode == "production",
    }
    return [url("/metrics", MetricsHandler, shown)]


def _open_login() -> list[URLSpec]:
    return [
        url("/user/login", LoginHandler, name="login"),
        *account_routes("/user", base=BaseHandler, template="sessions.html"),
    ]


def _password_login(accounts: Accounts) -> list[URLSpec]:
    needed = {"accounts": accounts}
    return [
        url("/user/login", PasswordLoginHandler, needed, name="login"),
        url("/user/password", PasswordHandler, needed),
        *account_routes("/user", base=ConfirmingHandler, template="sessions.html"),
    ]

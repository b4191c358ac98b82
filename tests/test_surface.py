"""What others lean on, and what we lean on: our public names, and private ones of Tornado."""

import ast
import inspect
from pathlib import Path
from types import ModuleType

import pytest
import tornado.http1connection
import tornado.httpserver
import tornado.httputil
import tornado.web
import tornado.websocket

from hello_tornado.sessions import (
    CookiePolicy,
    Lifetimes,
    Session,
    SessionDoor,
    SessionManager,
    SessionMixin,
    SqlStore,
    WebSocketSessionMixin,
)
from hello_tornado.sessions.integrations.bokeh import BokehSessions
from hello_tornado.sessions.integrations.jupyter import SessionIdentityProvider

ROOT = Path(__file__).parent.parent
TORNADO = (
    tornado.web,
    tornado.websocket,
    tornado.httpserver,
    tornado.http1connection,
    tornado.httputil,
)
# A new version of Tornado may take any of these away. They are used in these files alone.
PRIVATE = {
    "hello_tornado/handlers/api.py": {"_unimplemented_method"},
    "hello_tornado/handlers/base.py": {"_unimplemented_method"},
    "hello_tornado/bodies.py": {"_request_summary"},
    "hello_tornado/sessions/web/xsrf.py": {
        "_check_cross_origin",
        "_decode_xsrf_token",
        "_get_raw_xsrf_token",
        "_origin_matches_host",
        "_xsrf_token",
    },
    "hello_tornado/sessions/web/binding.py": {
        "_execute",
        "_finished",
        "_handle_request_exception",
        "_headers",
        "_headers_written",
        "_request_summary",
        "_transforms",
    },
    "hello_tornado/sessions/web/mixin.py": {"_request_summary"},
    "hello_tornado/sessions/web/websocket.py": {"_accept_connection"},
}
# Of the same name in a class of ours that is none of Tornado's.
OURS = {"_connections", "_delegate", "_open", "_waiting"}

PUBLIC: dict[type, str] = {
    Session: """
        accessed_at append become changes clear copy created_at destroy device document end ended
        ended_reason expire expires_at expires_in expiry flash flash_now flashes generation get
        give_back handle idle_timeout increment intent is_fresh is_lifetime_changed is_new items
        keep_flashes keeps_alive keys leases lifetime logged_in_at login logout logs_in merge
        modified next_id operations pop popitem presented rebase_on record refusal renew renewal
        reset response setdefault take_draft tombstone touch typed update user_id values
    """,
    SessionManager: """
        aclose all clear commit committing draw_id emit facts_of find intent is_living length on
        open purge read reload revoke revoke_user sessions_of transaction update update_from
    """,
    SessionMixin: """
        check_xsrf_cookie current_user finish flush get_current_user get_session_device
        log_exception prepare refuse_other_origins reload_session save_session send_error session
        session_exclusive session_lease session_manager session_read_only session_required
        session_touch session_wait update_session xsrf_token
    """,
    WebSocketSessionMixin: """
        get get_websocket_protocol login_required on_session_change on_session_end
        session_touch session_transaction
    """,
    SqlStore: """
        aclose count database delete find_by_handle find_by_user from_engine from_url load page
        purge save touch
    """,
    SessionDoor: "open save session_of watch",
    BokehSessions: "get_user_async",
    SessionIdentityProvider: """
        accept_tokens auth_enabled clear_login_cookie cookie_secret door ended_reason get_handlers
        get_user get_user_cookie log_in log_in_by_form log_out may_log_in messages_keep_alive
        persist_user_model sessions set_login_cookie validate_security
    """,
    Lifetimes: "absolute expires_at idle is_living remembered touch_after",
    CookiePolicy: """
        clear domain httponly ids_in issue name partitioned path persist persists
        priority read refuses request_header response_header samesite secure
    """,
}


def private_names(module: ModuleType) -> set[str]:
    """The private attributes and functions that a module's source names."""
    return {name for name in names_in(inspect.getsource(module)) if is_private(name)}


def names_in(source: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(source)))
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return attributes | {node.name for node in nodes if isinstance(node, functions)}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_private_names_of_tornado_are_used_where_they_are_listed() -> None:
    theirs = set[str]().union(*map(private_names, TORNADO)) - OURS
    used: dict[str, set[str]] = {}
    for path in sorted((ROOT / "hello_tornado").rglob("*.py")):
        if names := names_in(path.read_text(encoding="utf-8")) & theirs:
            used[str(path.relative_to(ROOT))] = names
    assert used == PRIVATE


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_nothing_else_is_public(kind: type) -> None:
    bases = [base for base in kind.__mro__ if base.__module__.startswith("hello_tornado")]
    own = bases if kind in {Session, SessionMixin} else [kind]
    inherited = {"get", "items", "keys", "pop", "popitem", "update", "values"}
    found = {name for base in own for name in vars(base) if not name.startswith("_")}
    expected = set(PUBLIC[kind].split())
    assert found | (inherited if kind is Session else set()) == expected

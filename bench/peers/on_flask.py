"""Flask with Flask-Session: `python on_flask.py STORE PORT`, where STORE is a store's URL."""

import sys
import time
from typing import Any

from flask import Flask, current_app, request, session
from flask_session import Session
from flask_sqlalchemy import SQLAlchemy
from redis import Redis
from sqlalchemy import event
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from wsgi import Gunicorn

GREETING = "Hello Ada"


def read() -> str:
    return f"Hello {session.get('username', 'you')}"


def write() -> str:
    session["visits"] = session.get("visits", 0) + 1
    return GREETING


def login() -> str:
    current_app.session_interface.regenerate(session)
    session.update(user_id="ada", username="Ada")
    return GREETING


def set_later() -> str:
    time.sleep(request.args.get("after", type=int) / 1_000)
    session[request.args["key"]] = 1
    return GREETING


def logout() -> str:
    session.clear()
    return "Goodbye"


def show() -> dict[str, Any]:
    return dict(session)


def bare() -> Flask:
    app = Flask("bare")
    app.add_url_rule("/", view_func=lambda: GREETING, endpoint="bare")
    return app


def with_sessions(url: str) -> Flask:
    app = Flask("sessions")
    if url.startswith("redis:"):
        app.config.update(SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(url))
    else:
        app.config["SQLALCHEMY_DATABASE_URI"] = url
        database = SQLAlchemy(app)
        app.config.update(SESSION_TYPE="sqlalchemy", SESSION_SQLALCHEMY=database)
        if url.startswith("sqlite:"):
            with app.app_context():
                event.listen(database.engine, "connect", _as_durable_as_ours)
    Session(app)
    for view in (read, write, login):
        app.add_url_rule(f"/{view.__name__}", view_func=view)
    app.add_url_rule("/set", view_func=set_later)
    app.add_url_rule("/logout", view_func=logout)
    app.add_url_rule("/session", view_func=show)
    return app


def _as_durable_as_ours(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


if __name__ == "__main__":
    Gunicorn(DispatcherMiddleware(with_sessions(sys.argv[1]), {"/bare": bare()}), sys.argv[2]).run()

"""Django's sessions: `python on_django.py STORE PORT`, where STORE is a store's URL."""

import sys
import time
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from sqlalchemy import make_url
from wsgi import Gunicorn

Answer = Callable[[HttpRequest], HttpResponse]


def bare(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("Hello Ada")


def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"Hello {request.session.get('username', 'you')}")


def write(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse("Hello Ada")


def login(request: HttpRequest) -> HttpResponse:
    request.session.cycle_key()
    request.session.update({"user_id": "ada", "username": "Ada"})
    return HttpResponse("Hello Ada")


def set_later(request: HttpRequest) -> HttpResponse:
    time.sleep(int(request.GET["after"]) / 1_000)
    request.session[request.GET["key"]] = 1
    return HttpResponse("Hello Ada")


def logout(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return HttpResponse("Goodbye")


def session(request: HttpRequest) -> HttpResponse:
    return JsonResponse(dict(request.session))


def sessions_but_where_bare(get_response: Answer) -> Answer:
    """The middleware that every page passes through, but the one to compare with."""
    with_sessions = SessionMiddleware(get_response)
    return lambda request: (
        get_response(request) if request.path == "/bare" else with_sessions(request)
    )


views = (bare, read, write, login, logout, session)
urlpatterns = [path("set", set_later), *(path(view.__name__, view) for view in views)]


def database(text: str) -> dict[str, Any]:
    url = make_url(text)
    if url.drivername == "sqlite":
        pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        options = {"init_command": pragmas, "transaction_mode": "IMMEDIATE"}
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": url.database,
            "OPTIONS": options,
            "CONN_MAX_AGE": None,
        }
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.database,
        "USER": url.username,
        "PASSWORD": url.password,
        "HOST": url.host,
        "PORT": url.port,
        "CONN_MAX_AGE": None,
    }


def main(url: str, port: str) -> None:
    settings.configure(
        SECRET_KEY="of the benchmark",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF="__main__",
        MIDDLEWARE=["__main__.sessions_but_where_bare"],
        INSTALLED_APPS=["django.contrib.sessions"],
        DATABASES={"default": database(url)},
    )
    django.setup()
    call_command("migrate", verbosity=0)
    Gunicorn(WSGIHandler(), port).run()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Starlette with starsessions: `python on_starlette.py STORE PORT`, given a store's URL."""

import asyncio
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from starsessions import InMemoryStore, SessionAutoloadMiddleware, SessionMiddleware
from starsessions.session import regenerate_session_id
from starsessions.stores.base import SessionStore
from starsessions.stores.redis import RedisStore

from hello_tornado import runtime


async def bare(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("Hello Ada")


async def read(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"Hello {request.session.get('username', 'you')}")


async def write(request: Request) -> PlainTextResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return PlainTextResponse("Hello Ada")


async def login(request: Request) -> PlainTextResponse:
    regenerate_session_id(request)
    request.session.update(user_id="ada", username="Ada")
    return PlainTextResponse("Hello Ada")


async def set_later(request: Request) -> PlainTextResponse:
    await asyncio.sleep(int(request.query_params["after"]) / 1_000)
    request.session[request.query_params["key"]] = 1
    return PlainTextResponse("Hello Ada")


async def logout(request: Request) -> PlainTextResponse:
    request.session.clear()
    return PlainTextResponse("Goodbye")


async def session(request: Request) -> JSONResponse:
    return JSONResponse(dict(request.session))


def application(url: str) -> Starlette:
    store: SessionStore = InMemoryStore() if url.startswith("memory:") else RedisStore(url)
    with_sessions = Starlette(
        routes=[
            Route("/read", read),
            Route("/write", write),
            Route("/login", login),
            Route("/set", set_later),
            Route("/logout", logout),
            Route("/session", session),
        ],
        middleware=[
            Middleware(SessionMiddleware, store=store, lifetime=3600, cookie_https_only=False),
            Middleware(SessionAutoloadMiddleware),
        ],
    )
    return Starlette(routes=[Route("/bare", bare), Mount("/", with_sessions)])


if __name__ == "__main__":
    served = application(sys.argv[1])
    runtime.spare_requests()  # as our server does
    uvicorn.run(served, port=int(sys.argv[2]), log_level="warning")

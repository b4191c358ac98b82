"""A WSGI application in one process of gunicorn with eight threads."""

from typing import Any

from gunicorn.app.base import BaseApplication

from hello_tornado import runtime


class Gunicorn(BaseApplication):  # type: ignore[misc]
    """gunicorn, set up by us instead of by its command line."""

    def __init__(self, application: Any, port: str) -> None:
        self._application, self._port = application, port
        super().__init__()

    def load_config(self) -> None:
        given = {"bind": f"127.0.0.1:{self._port}", "worker_class": "gthread", "threads": 8}
        for name, value in {**given, "loglevel": "warning"}.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        runtime.spare_requests()  # as our server does
        return self._application

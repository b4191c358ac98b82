"""The home page: a greeting, and the data that the server stores about the visitor."""

import json
from typing import Any

from hello_tornado.handlers.base import BaseHandler, shown
from hello_tornado.sessions.records.serializers import to_json


class HomeHandler(BaseHandler):
    """GET /"""

    def get(self) -> None:
        """Greet users who are logged in by name; show other visitors how to log in."""
        session = self.session
        pairs = [(shown(key), shown(_json(key, value))) for key, value in session.items()]
        self.render(
            "home.html",
            session=session,
            pairs=pairs,
            store_name=self.settings["store_name"],
        )


def _json(key: str, value: Any) -> str:
    return json.dumps(to_json(value, key, escaped=False), ensure_ascii=False)

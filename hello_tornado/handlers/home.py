"""The home page: a greeting, and what the server keeps about this visitor."""

import json

from hello_tornado.handlers.base import BaseHandler
from hello_tornado.sessions.serializers import to_json


class HomeHandler(BaseHandler):
    """GET /"""

    def get(self) -> None:
        """Greet by name whoever has left one; everybody else is told the way to log in."""
        session = self.session
        pairs = [
            (key, json.dumps(to_json(value, key), ensure_ascii=False))
            for key, value in session.items()
        ]
        self.render(
            "home.html",
            session=session,
            username=session.get("username"),
            pairs=pairs,
            store_name=self.settings["store_name"],
        )

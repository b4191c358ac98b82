"""The numbers of this server for Prometheus: from this machine, or with a token."""

import hmac
import os
import re
from ipaddress import ip_address

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from tornado.web import HTTPError

from hello_tornado.handlers.base import PlainHandler
from hello_tornado.sessions import SessionManager
from hello_tornado.sessions.metrics import SessionMetrics

# What proxies add, for one that nobody has named in server.proxies.
FORWARDING = re.compile(r"X-|Forwarded$|Via$|True-Client-|Cf-|Fly-|Fastly-", re.IGNORECASE)
SHARED = "PROMETHEUS_MULTIPROC_DIR"  # where several processes put their numbers together


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class MetricsHandler(PlainHandler):
    """GET /metrics"""

    is_routine = True

    def initialize(self, metrics: SessionMetrics, token: str | None, is_proxied: bool) -> None:
        """*metrics* are this process's; a *token* lets other machines in.

        When the server *is_proxied*, everybody seems to be here, and only the token counts.
        """
        self._metrics = metrics
        self._token = token
        self._is_proxied = is_proxied

    async def get(self) -> None:
        """All numbers, those of the other processes included."""
        if not self._is_allowed():
            raise HTTPError(403)
        manager: SessionManager = self.settings["session_manager"]
        self._metrics.sessions_live.set(await manager.length())
        self._metrics.sockets_open.set(len(manager.watcher))
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.set_header("Cache-Control", "no-store")
        self.finish(generate_latest(self._registry()))

    def _is_allowed(self) -> bool:
        given = self.request.headers.get("Authorization", "")
        if self._token is not None and given:
            return hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode())
        if self._is_proxied or any(map(FORWARDING.match, self.request.headers)):
            return False
        # A name of somebody else's that leads here makes a browser ask for its page (rebinding).
        return _is_here(self.address) and _is_here(self.request.host_name.strip("[]"))

    def _registry(self) -> CollectorRegistry:
        if SHARED not in os.environ:
            return REGISTRY
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry

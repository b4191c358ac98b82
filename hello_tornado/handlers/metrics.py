"""The metrics of this server for Prometheus, from this machine or with a token."""

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

# Headers that proxies add; a proxy may be missing in server.proxies.
FORWARDING = re.compile(r"X-|Forwarded$|Via$|True-Client-|Cf-|Fly-|Fastly-", re.IGNORECASE)
SHARED = "PROMETHEUS_MULTIPROC_DIR"  # the directory in which several processes share metrics


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class MetricsHandler(PlainHandler):
    """GET /metrics"""

    is_routine = True

    def initialize(self, metrics: SessionMetrics, token: str | None, is_proxied: bool) -> None:
        """*metrics* are those of this process; a *token* allows access from other machines.

        With *is_proxied* all clients seem to be on this machine, so the token is required.
        """
        self._metrics = metrics
        self._token = token
        self._is_proxied = is_proxied

    async def get(self) -> None:
        """Send all metrics, including those of the other processes."""
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
        # The host is checked against DNS rebinding: a foreign name may resolve to this machine.
        return _is_here(self.address) and _is_here(self.request.host_name.strip("[]"))

    def _registry(self) -> CollectorRegistry:
        if SHARED not in os.environ:
            return REGISTRY
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry

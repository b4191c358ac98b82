"""Handlers that have their session to themselves: one request of a session at a time."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from tornado.web import OutputTransform

from hello_tornado.sessions import options
from hello_tornado.sessions.manager.leases import Lease, lease
from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.web.mixin import SessionMixin


class ExclusiveSessionMixin(SessionMixin):
    """A `SessionMixin` whose requests of one session run one after the other, in all processes.

    For what cannot be said in operations and must not be done twice, such as a payment. A request
    waits for at most `session_wait` and is then answered with 503; after `session_lease` the next
    one is let in, though this one has not come to its end. Handlers without this mixin go on beside
    it. A visitor without a session has nothing that could be shared, and does not wait.
    """

    session_wait = timedelta(seconds=10)
    session_lease = timedelta(seconds=30)

    _attribute_checks: ClassVar[Mapping[str, options.Check]] = {
        "session_wait": options.duration(least=timedelta(0)),
        "session_lease": options.duration(),
    }

    _lease: Lease | None = None

    async def _open_session(self) -> Session:
        session = await super()._open_session()
        if session.record is None:
            return session
        leased = await lease(
            self.session_manager,
            session.record,
            wait=self.session_wait,
            lasts=self.session_lease,
        )
        if leased is None:  # it has ended while this request waited
            return await self.session_manager.reload(session)
        session, self._lease = leased
        return session

    async def _execute(
        self, transforms: list[OutputTransform], *args: bytes, **kwargs: bytes
    ) -> None:
        try:
            await super()._execute(transforms, *args, **kwargs)
        finally:
            if self._lease is not None and self._session is not None:
                await self._lease.release(self._session)

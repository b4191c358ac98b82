"""The session of one request: opens it by its cookie, stores it, and sets the cookie.

It needs a request and the headers of the response, but no Tornado handler. `SessionMixin` and
`SessionDoor` use it; they decide when the session is stored.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final, Literal, TypeAlias

from tornado.httputil import HTTPHeaders, HTTPServerRequest

from hello_tornado.sessions.carriers.carrier import NOTHING_PRESENTED, PresentedIds, carrier_of
from hello_tornado.sessions.carriers.proxies import address_of, is_https
from hello_tornado.sessions.carriers.signing import Keyring, SignedId
from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.events import CookieRejected, SessionNotBegun
from hello_tornado.sessions.manager.actions import KEEP, Clear, CookieAction, Issue, Keep
from hello_tornado.sessions.manager.leases import Lease, lease
from hello_tornado.sessions.manager.manager import SessionManager, refuse_coroutine
from hello_tornado.sessions.records.ids import SessionId, key_of
from hello_tornado.sessions.records.immutable import immutable
from hello_tornado.sessions.records.lifetimes import MICROSECOND
from hello_tornado.sessions.session.device import Device
from hello_tornado.sessions.session.draft import NOTHING, Create, End, Intent, Update
from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.stores.deadlines import Wait

# A cookie that ends with the browser is signed again this often, so that its signature stays valid.
RESIGN_AFTER: Final = timedelta(days=1) // MICROSECOND

Use: TypeAlias = Literal[
    "unused",
    "used",  # the response depends on the session, so caches must not share it
    "dropped",  # by `del handler.session`; only a logout is still stored
]
"""How the handler has used the session."""


@immutable
class Due:
    """What must be done before the response is sent."""

    intent: Intent
    resigns: bool = False  # the cookie must be sent again

    @property
    def changes_cookie(self) -> bool:
        """Whether the cookie will have another id or be deleted."""
        return self.gives_id or isinstance(self.intent, End)

    @property
    def gives_id(self) -> bool:
        """Whether the session gets a new id."""
        match self.intent:
            case Create():
                return True
            case Update(renewal=renewal):
                return renewal is not None
        return False


NOT_DUE: Final = Due(NOTHING)


async def open_presented(
    manager: SessionManager, presented: PresentedIds
) -> tuple[Session, SignedId | None]:
    """Open the session of a request and return it with its id.

    If none of the *presented* ids has a valid session, return a new session and None. If several
    have one, do the same and emit an event.
    """
    if presented is NOTHING_PRESENTED:
        return await manager.open(None), None
    if len(presented.signed) != 1 or presented.rejected is not None:
        return await _open_one_of(manager, presented)
    (signed,) = presented.signed
    session = await manager.open(signed.session_id)
    if session.record is not None:
        return session, signed
    session.presented = (key_of(signed.session_id),)
    return session, None


async def _open_one_of(
    manager: SessionManager, presented: PresentedIds
) -> tuple[Session, SignedId | None]:
    if presented.rejected is not None:
        manager.emit(CookieRejected(presented.rejected))
    living: list[tuple[Session, SignedId]] = []
    over: list[Session] = []
    for signed in presented.readable:
        session = await manager.open(signed.session_id)
        if session.is_new:
            over.append(session)
        else:
            living.append((session, signed))
    chosen: SignedId | None = None
    if len(living) == 1:
        ((session, chosen),) = living
    elif living:
        manager.emit(CookieRejected("ambiguous"))
        session = await manager.open(None)
    else:  # a new one, which knows why the session before has ended
        session = over[0] if over else await manager.open(None)
    others = [one for one in presented.signed if one != chosen]
    session.presented = tuple(key_of(one.session_id) for one in others)  # a logout ends them
    return session, chosen


class RequestSession:
    """The session of a request, and its cookie.

    The caller passes `presented`, the ids in the request, to `open_presented`. Then it sets
    `session`, and `signed` to its id (None for a new session). `wait` measures how long the request
    has waited for the store, because all its calls share one time limit.

    Args:
        manager: The manager of the session.
        keyring: Signs and verifies ids.
        request: The request.

    """

    __slots__ = (
        "_cookie_action",
        "_headers_have_left",
        "_told",
        "carrier",
        "https",
        "keyring",
        "lease",
        "manager",
        "presented",
        "request",
        "session",
        "signed",
        "use",
        "wait",
    )

    session: Session
    signed: SignedId | None

    def __init__(
        self, manager: SessionManager, keyring: Keyring, request: HTTPServerRequest
    ) -> None:
        self.manager, self.keyring, self.request = manager, keyring, request
        self.carrier = carrier_of(manager.cookie, request)
        self.https = is_https(request, manager.trusted_proxies)
        self.presented = self.carrier.read(request, keyring, manager.now(), https=self.https)
        self.wait = Wait()
        self.use: Use = "unused"
        self.lease: Lease | None = None
        self._cookie_action: CookieAction = KEEP
        self._headers_have_left = False
        self._told: str | None = None  # the reported reason why no session could begin

    @property
    def device(self) -> Device:
        """The User-Agent and the address of the client."""
        user_agent = self.request.headers.get("User-Agent", "")
        return Device(user_agent, address_of(self.request, self.manager.trusted_proxies))

    async def take_lease(self, *, wait: timedelta, lasts: timedelta) -> None:
        """Lock the session for this request and read it again; it may have ended since.

        Args:
            wait: How long to wait for other requests.
            lasts: How long the lease is valid.

        """
        session, manager = self.session, self.manager
        if session.record is None:
            return
        others = session.presented  # a logout ends them, too
        leased = await lease(manager, session.record, wait=wait, lasts=lasts)
        if leased is None:
            self.session = await manager.reload(session)
        else:
            self.session, self.lease = leased
        self.session.presented += others

    @property
    def session_id(self) -> SessionId | None:
        """The id that the browser has, or gets with this response."""
        if isinstance(self._cookie_action, Issue):
            return self._cookie_action.session_id
        return self.signed.session_id if self.signed else None

    @property
    def living_id(self) -> SessionId | None:
        """The same as `session_id`, or None if the session has ended."""
        return None if self.session.ended else self.session_id

    def id_after_response(self, *, is_needed: bool, is_failing: bool) -> SessionId | None:
        """Return the id that the browser has after this response.

        Args:
            is_needed: If the session is new and unchanged, return the id that it would get; else
                None.
            is_failing: The request fails, so it neither begins nor renews a session.

        """
        session = self.session
        if session.tombstone or isinstance(session.refusal, StoreUnavailable):
            signed = self.presented.signed  # the browser keeps this id
            return signed[0].session_id if len(signed) == 1 else self.session_id
        if session.response != "not started" or session.ended or is_failing:
            return self.session_id
        if self.use == "unused":
            self.use = "used"
        if session.renewal is not None or (
            session.is_new and (is_needed or session.modified) and self._can_begin()
        ):
            return self.manager.draw_id(session, self.request)
        return self.session_id

    def due(self, *, only_end: bool = False) -> Due:
        """Return what must be stored and sent to the browser; with *only_end*, only a logout.

        Raises an error if the session was changed and may not be.
        """
        session, manager = self.session, self.manager
        only_end = only_end or self.use == "dropped"
        now = manager.now()
        intent = session.intent(manager.rules, now, only_end=only_end)
        if isinstance(intent, Create) and not self._can_begin(intent):
            intent = NOTHING
        signed = None if only_end else self.signed
        resigns = signed is not None and self._is_resign_due(signed, manager, now)
        return Due(intent, resigns) if resigns or intent is not NOTHING else NOT_DUE

    def _can_begin(self, intent: Create | None = None) -> bool:
        """Whether the cookie of a new session can be sent; if not, report an *intent* to begin."""
        reason = self.carrier.refuses(self.request, https=self.https)
        if reason is not None and intent and intent.changes and reason != self._told:
            self._told = reason
            self.manager.emit(SessionNotBegun(reason))
        return reason is None and self.session.refusal is None

    def _is_resign_due(self, signed: SignedId, manager: SessionManager, now: int) -> bool:
        """Whether the cookie must be sent again although the id is the same.

        That is the case with `rolling`, after a change of the lifetime, if another secret signs
        now, and if the signature is old, so that the cookie of an active user does not expire.
        Before the cookie is sent, the session is checked again. Otherwise it could replace the
        newer cookie of a parallel login.
        """
        session = self.session
        if session.ended or self._headers_have_left or isinstance(self._cookie_action, Issue):
            return False
        if manager.rolling or session.is_lifetime_changed or not self.keyring.is_current(signed):
            return True
        if not session.keeps_alive:
            return False
        age, touch_after = now - signed.signed_at, session._touch_after(manager.rules)
        if age < touch_after and age < RESIGN_AFTER:
            return False
        persists = self.carrier.persists(session.lifetime.remember)
        return age >= (touch_after if persists else RESIGN_AFTER)

    async def carry_out(self, due: Due) -> None:
        """Carry out what is *due*."""
        manager = self.manager
        with self.wait:
            action = await manager.commit(self.session, self.request, due.intent)
            if not isinstance(action, Keep):
                self._cookie_action = action
            elif due.resigns and self.signed is not None:
                session_id = self.signed.session_id
                if await manager.is_living(session_id):
                    self._cookie_action = Issue(session_id)

    async def update(self, function: Callable[[Session], object]) -> None:
        """Apply a *function* to the newest copy of a stored session until the result is stored."""
        session, manager = self.session, self.manager
        assert session.record is not None  # noqa: S101 - the caller has checked it
        copies: list[Session] = []

        def applied(copy: Session) -> object:
            copies[:] = [copy]
            return function(copy)

        before, keeps_alive = session.lifetime, session.keeps_alive
        try:
            with self.wait:
                updated = await manager.update_from(
                    session.record, applied, keeps_alive=keeps_alive
                ) or await manager.reload(session)
        finally:
            if copies and copies[0].ended:  # by the function, even if it fails afterwards
                self._cookie_action = Clear()
                session.become(copies[0])
        if updated.ended or updated.record is None:
            session.become(updated)
            return
        session.rebase_on(updated.record, updated.document)
        current = self.session_id
        is_same = current is not None and key_of(current) == updated.record.key
        if current and is_same and session.lifetime != before and not self._headers_have_left:
            self._cookie_action = Issue(current)  # the cookie gets the new lifetime

    def update_unstored(self, function: Callable[[Session], object]) -> None:
        """Apply a *function* to a session that is not stored yet."""
        with self.session._updating():
            refuse_coroutine(function(self.session))

    def write_headers(self, headers: HTTPHeaders) -> bool:
        """Add the cookie and the headers for caches to *headers*, which are about to be sent.

        Returns whether the browser gets an id.
        """
        session, carrier = self.session, self.carrier
        self._headers_have_left = True
        if session.response == "not started":
            session.response = "started"
        action = self._cookie_action
        header = None if action is KEEP else self._id_header(session)
        if header is not None:
            headers.add(carrier.response_header, header)
        if header is not None or isinstance(session.refusal, StoreUnavailable):
            headers["Cache-Control"] = "no-store"
        elif self.use != "unused" and "Cache-Control" not in headers:
            headers["Cache-Control"] = "private"
        if header is not None or self.use != "unused":
            _vary_by(headers, carrier.request_header)
        return isinstance(action, Issue)

    def _id_header(self, session: Session) -> str | None:
        match self._cookie_action:
            case Keep():
                return None
            case Clear():
                has_one = bool(self.presented.signed)
                return self.carrier.clear(https=self.https) if has_one else None
            case Issue(session_id):
                persists = self.carrier.persists(session.lifetime.remember)
                expires_at = session.expiry + self.manager.reason_told_for
                return self.carrier.issue(
                    self.keyring,
                    session_id,
                    expires_at if persists else None,
                    self.manager.now(),
                    https=self.https,
                )


def _vary_by(headers: HTTPHeaders, name: str) -> None:
    if "Vary" not in headers:
        headers["Vary"] = name
        return
    given = headers["Vary"]
    if name.lower() not in (item.strip().lower() for item in given.split(",")):
        headers["Vary"] = f"{given}, {name}"

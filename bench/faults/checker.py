"""Decides from a ledger which promises were broken. Pure: no clock, no network, no store.

Only a 2xx is an acknowledgement. A write without one may have been done or not, and both are right.
A write that was acknowledged has to be there in every later look at the session.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.faults.ledger import Request, Seen

INVARIANTS = {
    "lost acknowledgement": "an acknowledged append or session is not there",
    "lost update": "a counter or a key is behind what was acknowledged",
    "done twice": "one request was applied more than once",
    "accepted after logout": "an id was accepted that a logout or a login had ended",
    "revived": "an id was refused after the logout, and accepted later",
    "read of another's session": "an answer showed the session of somebody else",
    "anonymous answer": "a signed-in cookie was answered as if it were unknown",
    "torn": "an answer showed one half of a write",
    "hung": "a request got no answer at all",
    "answered 500": "the server reported a bug in itself",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise, with its evidence."""

    invariant: str
    session: str
    evidence: str


def violations(requests: Sequence[Request]) -> list[Violation]:
    """Every broken promise in a ledger; of each kind at most one for each session and request."""
    found: list[Violation] = []
    sessions: dict[str, list[Request]] = defaultdict(list)
    for request in requests:
        sessions[request.session].append(request)
        if request.answer == "silent":
            found.append(_violation("hung", request, f"no answer in {request.seconds:.1f} s"))
        if request.answer == "500":
            found.append(_violation("answered 500", request, "a 500"))
    for of_session in sessions.values():
        history = _History(sorted(of_session, key=lambda request: request.sent))
        for look in history.looks:
            for rule in RULES:
                found += rule(history, look)
    return found


def counted(found: Sequence[Violation]) -> dict[str, int]:
    """How many violations of each invariant there are, the zeros included."""
    counts = Counter(violation.invariant for violation in found)
    return {name: counts[name] for name in INVARIANTS}


class _History:
    """What happened to one session, in the order in which its requests were sent."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests
        self.looks = [request for request in requests if request.seen is not None]
        logins = [request for request in requests if request.kind == "login"]
        logouts = [request for request in requests if request.kind == "logout"]
        self.logged_in_at = _first(logins)
        self.logout_sent_at = min((request.sent for request in logouts), default=None)
        self.logged_out_at = _first(logouts)

    def written(self, kind: str) -> list[Request]:
        return [request for request in self.requests if request.kind == kind]

    def acknowledged(self, kind: str, before: float) -> list[Request]:
        return [
            request
            for request in self.written(kind)
            if request.is_acknowledged and request.answered <= before
        ]


def _first(requests: Sequence[Request]) -> float | None:
    """When the first of them was acknowledged."""
    return min((one.answered for one in requests if one.is_acknowledged), default=None)


def _violation(invariant: str, request: Request, evidence: str) -> Violation:
    text = f"{request.kind} at process {request.process}, sent at {request.sent:.3f}: {evidence}"
    return Violation(invariant, request.session, text)


def _seen(look: Request) -> Seen:
    if look.seen is None:
        raise ValueError("a look without an answer")
    return look.seen


def _begins(history: _History, look: Request) -> Iterator[Violation]:
    """A login finds the anonymous session that was acknowledged before."""
    begun = history.acknowledged("begin", before=look.sent)
    if look.kind == "login" and look.answer == "anonymous" and begun:
        yield _violation("lost acknowledgement", look, "the session before its login")


def _belongs_to_its_visitor(_history: _History, look: Request) -> Iterator[Violation]:
    seen = _seen(look)
    names = {seen.user, seen.owner, *(mark.partition("/")[0] for mark in seen.marks)}
    for name in names - {None, look.session}:
        yield _violation("read of another's session", look, f"it showed what belongs to {name}")


def _is_whole(_history: _History, look: Request) -> Iterator[Violation]:
    seen = _seen(look)
    if seen.left != seen.right:
        yield _violation("torn", look, f"left is {seen.left}, right is {seen.right}")


def _ends_at_its_logout(history: _History, look: Request) -> Iterator[Violation]:
    seen = _seen(look)
    is_accepted = seen.user is not None or seen.owner is not None
    ended_at = history.logged_in_at if look.is_old_id else history.logged_out_at
    if look.kind in {"begin", "login", "logout"} or not is_accepted:
        return
    if ended_at is None or look.sent < ended_at:
        return
    was_refused = any(
        request.answer == "anonymous"
        and request.is_old_id == look.is_old_id
        and ended_at <= request.sent
        and request.answered <= look.sent
        for request in history.looks
    )
    invariant = "revived" if was_refused else "accepted after logout"
    yield _violation(invariant, look, f"{look.sent - ended_at:.3f} s after its end")


def _is_known_while_it_lives(history: _History, look: Request) -> Iterator[Violation]:
    if _seen(look).user is not None or look.is_old_id or history.logged_in_at is None:
        return
    if look.kind in {"begin", "login", "logout"} or look.sent < history.logged_in_at:
        return
    if history.logout_sent_at is not None and history.logout_sent_at <= look.answered:
        return
    yield _violation("anonymous answer", look, "the session was signed in")
    if look.is_last_look:
        writes = sum(request.is_acknowledged for request in history.requests)
        yield _violation("lost acknowledgement", look, f"the session and its {writes} writes")


def _has_what_was_acknowledged(history: _History, look: Request) -> Iterator[Violation]:
    """Of reads alone: what a write answers is the session as its own request saw it."""
    seen = _seen(look)
    if look.kind != "read" or seen.user != look.session or look.is_old_id:
        return
    marks = {one.mark for one in history.acknowledged("append", before=look.sent)}
    if missing := marks - {*seen.marks}:
        yield _violation("lost acknowledgement", look, f"{len(missing)} of {len(marks)} appends")
    increments = len(history.acknowledged("increment", before=look.sent))
    if seen.count < increments:
        yield _violation("lost update", look, f"{seen.count} of {increments} increments")
    newest: dict[str, int] = {}
    for one in history.acknowledged("set", before=look.sent):
        newest[one.lane] = max(one.value, newest.get(one.lane, 0))
    for lane, value in newest.items():
        if seen.lanes.get(lane, 0) < value:
            evidence = f"lane {lane} is {seen.lanes.get(lane)}, acknowledged was {value}"
            yield _violation("lost update", look, evidence)


def _is_done_once(history: _History, look: Request) -> Iterator[Violation]:
    seen = _seen(look)
    if look.kind != "read" or seen.user != look.session:
        return
    sent = sum(one.sent < look.answered for one in history.written("increment"))
    if seen.count > sent:
        yield _violation("done twice", look, f"{seen.count} increments of {sent} that were sent")
    twice = [mark for mark, times in Counter(seen.marks).items() if times > 1]
    if twice:
        yield _violation("done twice", look, f"{len(twice)} appends")


RULES: tuple[Callable[[_History, Request], Iterator[Violation]], ...] = (
    _begins,
    _belongs_to_its_visitor,
    _is_whole,
    _ends_at_its_logout,
    _is_known_while_it_lives,
    _has_what_was_acknowledged,
    _is_done_once,
)

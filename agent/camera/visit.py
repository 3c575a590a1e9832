"""A visit: a person on site sees the view on one phone during setup. Masked, at most two pictures a second, never stored (R35).

It exists only in the camera process's memory: a restart ends it. Its rules: `basis.rule_visit`.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from agent.outbox.backlog import Work
from agent.outbox.telling import Telling
from agent.runtime.control import Reply, verb_of
from agent.runtime.rate_limit import Limit
from agent.runtime.requests import (
    Admit,
    Admitted,
    AskPicture,
    AskVisit,
    AskVisitWord,
    Ended,
    EndVisit,
    VisitPicture,
    VisitState,
    VisitWord,
)
from agent.runtime.service import Runtime
from privacy.errors import AccessError, MediaError, UsageError
from privacy.masking.frames import MaskedFrame
from privacy.masking.preview import jpeg, shrunk
from privacy.records.basis import PROFILES, Permit, Profile, Ruling, rule_visit

LONG_SIDE = 640
EVERY_NS = 500_000_000
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Letters of the access word: none that is easily confused with another on a phone."""
_WORD, _MOST_WRONG, _MOST_REFUSALS = 8, 10, 10


@dataclass(frozen=True)
class Shown:
    """A picture: JPEG, time of exposure (monotonic), and why it is fully masked, or ""."""

    jpeg: bytes
    mono_ns: int
    cause: str


class Visit:
    """One visit. `leaves` comes from the capture thread, the others from any.

    begun_ms  since boot
    ended     why, once it is over before its time
    word      access word that the phone must send once; `lykta status` prints it to users who may command the node
    """

    def __init__(self, begun_ms: int) -> None:
        self.begun_ms = begun_ms
        self.word = "".join(secrets.choice(LETTERS) for _ in range(_WORD))
        self._wrong = 0
        self.pictures = 0
        self.ended = ""
        self._phone = ""
        self._shown: Shown | None = None
        self._lock = Lock()

    def leaves(self, picture: MaskedFrame) -> None:
        """Keep one picture per half second; it replaces the one before."""
        if self._shown is None or picture.mono_ns - self._shown.mono_ns >= EVERY_NS:
            self._shown = Shown(jpeg(shrunk(picture, LONG_SIDE)), picture.mono_ns, picture.record.cause)
            self.pictures += 1

    def admit(self, phone: str, word: str) -> None:
        """Admit this phone, the only one, if it sends the word; `AccessError` otherwise. Many wrong words end the visit.

        phone  a secret that identifies this phone
        """
        with self._lock:
            if self._phone:
                self._check(phone)
            elif phone and _same(word.strip().lower(), self.word):
                self._phone = phone
            else:
                self._wrong += 1
                self.ended = self.ended or ("wrong_words" if self._wrong >= _MOST_WRONG else "")
                raise AccessError("visit: this is not its word", _ASK)

    def check(self, phone: str) -> None:
        """`AccessError` unless this is the admitted phone."""
        with self._lock:
            self._check(phone)

    def _check(self, phone: str) -> None:
        if not self._phone:
            raise AccessError("visit: no phone has said its word yet", _ASK)
        if not _same(phone, self._phone):
            raise AccessError("visit: another phone looks already", "end the visit on that one; then hold the service button")

    def newest(self) -> Shown:
        """The newest picture; `MediaError` before the first."""
        if self._shown is None:
            raise MediaError("visit: no picture yet", "the camera opens: a few seconds")
        return self._shown


_ASK = "type the word that `lykta status` prints on the node"


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))


class Visits:
    """Begins, checks and ends a visit, and answers its page. `begin` is called on the thread that receives notices, the page's
    requests on their socket's thread, the others on the service's.

    defer  queues a write for the keeper's thread
    now    the current visit
    """

    def __init__(self, runtime: Runtime, permit: Permit, telling: Telling, defer: Callable[[Work], None]) -> None:
        self._runtime, self._permit, self._telling, self._defer = runtime, permit, telling, defer
        self.now: Visit | None = None
        self._refusals = Limit(_MOST_REFUSALS, 3600.0)

    @property
    def profile(self) -> Profile:
        """The stricter of the configured profile and `strict`."""
        return max("strict", self._runtime.config.mask.profile, key=PROFILES.index)

    def listen(self) -> None:
        """Answer the page, after the marks of a visit that a crash ended are removed."""
        self._runtime.layout.visit.unlink(missing_ok=True)
        replies = (
            Reply(AskVisit, self._status),
            Reply(Admit, self._admit),
            Reply(AskPicture, self._picture),
            Reply(EndVisit, self._end),
        )
        self._runtime.open_socket("setup", {verb_of(reply.kind): reply for reply in replies})
        # Only technicians may read the word: neither the page that asks for it nor the uplink.
        self._runtime.answer(AskVisitWord, self._word, on="ctl")

    def begin(self) -> None:
        """The service button was held: begin a visit. Holding it again does not prolong the visit."""
        if self.now:
            return
        visit = Visit(self._runtime.clock.mono_ms())
        ruling = self.rule(visit)
        if not ruling.open:
            missed = self._refusals.take(time.monotonic())
            if missed is not None:
                self._refused(ruling.reason, missed)
            return
        self.now = visit
        facts = {"basis": self._permit.basis.id, "view": self._permit.view.id, "profile": self.profile}
        self._defer(lambda: self._telling.note("visit_begun", **facts))

    def _refused(self, reason: str, unnoted: int) -> None:
        self._runtime.log("warning", "visit: refused", reason=reason, unnoted=unnoted)
        self._defer(lambda: self._telling.note("visit_refused", reason=reason, unnoted=unnoted))

    def rule(self, visit: Visit) -> Ruling:
        clock = self._runtime.clock
        return rule_visit(self._permit.basis, clock.now(), clock.trusted(), visit.begun_ms, clock.mono_ms())

    def why_over(self, visit: Visit) -> str:
        """Why the visit is over; "" while it lasts."""
        ruling = self.rule(visit)
        return "service_stops" if self._runtime.stop.is_set() else visit.ended or ("" if ruling.open else ruling.reason)

    def show(self) -> None:
        """Pictures are available: systemd may start the page."""
        self._runtime.layout.visit.parent.mkdir(parents=True, exist_ok=True)
        self._runtime.layout.visit.touch()

    def close(self, visit: Visit) -> None:
        """If the visit is over: stop its page, and journal it."""
        if why := self.why_over(visit):
            self.now = None
            self._runtime.layout.visit.unlink(missing_ok=True)
            self._telling.note("visit_over", reason=why, pictures=visit.pictures)

    def _status(self, _request: AskVisit) -> VisitState:
        visit, standing = self.now, self._runtime.standing
        until = self.rule(visit).until if visit and not visit.ended else None
        return VisitState(until, standing.state, standing.reason)

    def _word(self, _request: AskVisitWord) -> VisitWord:
        return VisitWord(self.now.word if self.now else None)

    def _admit(self, request: Admit) -> Admitted:
        self._current().admit(request.phone, request.word)
        return Admitted()

    def _picture(self, request: AskPicture) -> VisitPicture:
        shown = self._of(request.phone).newest()
        return VisitPicture(shown.jpeg, shown.mono_ns // 1_000_000, shown.cause)

    def _end(self, request: EndVisit) -> Ended:
        self._of(request.phone).ended = "ended_on_site"
        return Ended()

    def _of(self, phone: str) -> Visit:
        """The current visit, if this is the admitted phone; else `AccessError`."""
        visit = self._current()
        visit.check(phone)
        return visit

    def _current(self) -> Visit:
        visit = self.now
        if not visit or visit.ended:
            raise UsageError("visit: there is none", "hold the service button for five seconds")
        return visit

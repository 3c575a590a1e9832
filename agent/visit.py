"""A visit: who is on site looks, on one phone, while the node is set up. Masked, two pictures a second at most, kept nowhere (R35).

It lives in the camera's memory alone: a camera that starts again has none. What follows from it is `privacy.basis.rule_visit`.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from agent.control import Request
from agent.keeping import Keeper
from agent.later import Work
from agent.service import Runtime
from privacy.basis import PROFILES, Permit, Profile, Ruling, rule_visit
from privacy.errors import AccessError, MediaError, UsageError
from privacy.frames import MaskedFrame
from privacy.preview import jpeg, shrunk

LONG_SIDE = 640
EVERY_NS = 500_000_000


@dataclass(frozen=True)
class Shown:
    """A picture: JPEG, when it was taken (monotonic), and why it is masked as a whole, or empty."""

    jpeg: bytes
    mono_ns: int
    cause: str


class Visit:
    """One visit. `leaves` comes from the capture thread, the others from any.

    begun_ms  since boot
    ended     why, once it is over before its time
    """

    def __init__(self, begun_ms: int) -> None:
        self.begun_ms = begun_ms
        self.pictures = 0
        self.ended = ""
        self._phone = ""
        self._shown: Shown | None = None
        self._lock = Lock()

    def leaves(self, picture: MaskedFrame) -> None:
        """Keep one in half a second; the one before is gone."""
        if self._shown is None or picture.mono_ns - self._shown.mono_ns >= EVERY_NS:
            self._shown = Shown(jpeg(shrunk(picture, LONG_SIDE)), picture.mono_ns, picture.record.cause)
            self.pictures += 1

    def admit(self, phone: str) -> None:
        """The phone that asked first is the one; `AccessError` for any other.

        phone  a word of its own that nobody else has
        """
        with self._lock:
            self._phone = self._phone or phone
            if not phone or not hmac.compare_digest(self._phone.encode(), phone.encode()):
                raise AccessError("visit: another phone looks already", "end the visit on that one; then hold the service button")

    def newest(self) -> Shown:
        """`MediaError` before the first."""
        if self._shown is None:
            raise MediaError("visit: no picture yet", "the camera opens: a few seconds")
        return self._shown


class Visits:
    """Begins, judges and ends a visit, and answers its page. `begin` comes from the ear's thread, the page's requests from its
    socket's, the others from the service's.

    defer  hands a write to the keeper's thread
    now    the visit that goes on
    """

    def __init__(self, runtime: Runtime, permit: Permit, keeper: Keeper, defer: Callable[[Work], None]) -> None:
        self._runtime, self._permit, self._keeper, self._defer = runtime, permit, keeper, defer
        self.now: Visit | None = None

    @property
    def profile(self) -> Profile:
        """The stronger of what runs here and `strict`."""
        return max("strict", self._runtime.config.mask.profile, key=PROFILES.index)

    def listen(self) -> None:
        """Answer the page, once no trace is left of a visit that a crash ended."""
        self._runtime.layout.visit.unlink(missing_ok=True)
        self._runtime.open_socket("setup", {"status": self._status, "picture": self._picture, "end": self._end})

    def begin(self) -> None:
        """The service button was held: somebody stands here and wants to see. A second time prolongs nothing."""
        if self.now:
            return
        visit = Visit(self._runtime.clock.mono_ms())
        ruling = self.rule(visit)
        if not ruling.open:
            self._runtime.log("warning", "visit: refused", reason=ruling.reason)
            self._defer(lambda: self._keeper.note("visit_refused", reason=ruling.reason))
            return
        self.now = visit
        facts = {"basis": self._permit.basis.id, "view": self._permit.view.id, "profile": self.profile}
        self._defer(lambda: self._keeper.note("visit_begun", **facts))

    def rule(self, visit: Visit) -> Ruling:
        clock = self._runtime.clock
        return rule_visit(self._permit.basis, clock.now(), clock.trusted(), visit.begun_ms, clock.mono_ms())

    def why_over(self, visit: Visit) -> str:
        """Empty while it goes on."""
        ruling = self.rule(visit)
        return "service_stops" if self._runtime.stop.is_set() else visit.ended or ("" if ruling.open else ruling.reason)

    def show(self) -> None:
        """Pictures come: systemd may start the page."""
        self._runtime.layout.visit.parent.mkdir(parents=True, exist_ok=True)
        self._runtime.layout.visit.touch()

    def close(self, visit: Visit) -> None:
        """If it is over: take it from the page, and journal it."""
        if why := self.why_over(visit):
            self.now = None
            self._runtime.layout.visit.unlink(missing_ok=True)
            self._keeper.note("visit_over", reason=why, pictures=visit.pictures)

    def _status(self, _request: Request) -> Request:
        """How it stands with the visit; until: None without one."""
        visit, standing = self.now, self._runtime.standing
        until = self.rule(visit).until if visit and not visit.ended else None
        return {"until": until.isoformat() if until else None, "state": standing.state, "reason": standing.reason}

    def _picture(self, request: Request) -> Request:
        shown = self._of(request).newest()
        return {"jpeg": b64encode(shown.jpeg).decode(), "mono_ms": shown.mono_ns // 1_000_000, "cause": shown.cause}

    def _end(self, request: Request) -> Request:
        self._of(request).ended = "ended_on_site"
        return {"ended": True}

    def _of(self, request: Request) -> Visit:
        """The visit that goes on, for the one phone that looks."""
        visit = self.now
        if not visit or visit.ended:
            raise UsageError("visit: there is none", "hold the service button for five seconds")
        visit.admit(str(request.get("phone", "")))
        return visit

"""Checks of the camera service beside filming: whether the view is still the assessed one and whether the camera repeats pictures;
and the reference picture of the empty place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Literal

from agent.camera.moments import moment
from agent.camera.state import CAMERA_FROZEN
from agent.messages import Alarm, Tamper
from agent.outbox.backlog import Work
from agent.outbox.telling import Telling
from agent.runtime.requests import Confirmed, ConfirmView, ReferencePicture, ShowView
from privacy.errors import RecordError, UsageError
from privacy.files import on_disk, place, read
from privacy.masking.delay import Seen
from privacy.masking.frames import MaskedFrame
from privacy.masking.frozen_camera import FrozenWatch
from privacy.masking.masker import Masker
from privacy.masking.reference_picture import Reference
from privacy.masking.regions import enclose
from privacy.masking.view_guard import Kind, ViewGuard, ViewState

FROZEN: Literal["frozen"] = "frozen"
Found = Kind | Literal["frozen"]


class ViewCheck:
    """The view guard and the reference picture of one signed view. `seen` and `painted` come from the capture thread, the
    others from any.

    folder   where the guard's edges are stored for a restart; a new view begins without
    defer    queues work for the keeper's thread: the frame path never waits for a disk
    noiseless  whether the source may repeat itself (`camera.noiseless`)
    """

    def __init__(
        self,
        telling: Telling,
        now: Callable[[], datetime],
        folder: Path,
        view: str,
        defer: Callable[[Work], None],
        noiseless: bool,
    ) -> None:
        self._telling, self._now, self._defer = telling, now, defer
        self._path = folder / f"view-{sha256(view.encode()).hexdigest()[:16]}.edges"
        self._guard, self._reference = self._remember(), Reference()
        self._lock = Lock()
        self._repeats, self._noiseless = FrozenWatch(), noiseless
        self.frozen = False

    @property
    def standing(self) -> ViewState:
        return self._guard.state

    def seen(self, seen: Seen, size: tuple[int, int], wall_ns: int) -> str:
        """Check the picture of a detection: why everything must be masked from now on, or ""."""
        if seen.luma is None:
            return self._cause()
        self._judge_repetition(seen, wall_ns)
        hidden = tuple(enclose(d.kind, (d.left, d.top, d.right, d.bottom), *size) for d in seen.detections)
        with self._lock:
            before = self._guard.state
            after = self._guard.look(seen.luma, (*hidden, *seen.dark), size, seen.mono_ns)
        if after.kind != before.kind:
            self._tell(before, after, wall_ns)
        return self._cause()

    def _judge_repetition(self, seen: Seen, wall_ns: int) -> None:
        frozen = self._repeats.see(seen.fingerprint, seen.mono_ns) and not self._noiseless
        if frozen != self.frozen:
            self.frozen = frozen
            if frozen:
                self._defer(lambda: self._write("", FROZEN, moment(wall_ns)))
            else:
                self._defer(lambda: self._write(FROZEN, "", moment(wall_ns)))

    def painted(self, picture: MaskedFrame, masker: Masker) -> None:
        """Take a masked frame as a sample for the reference picture."""
        with self._lock:
            if not picture.full and self._reference.due(picture.mono_ns):
                self._reference.add(picture, masker.raster(picture.record))

    def save(self) -> None:
        """Store the edges, if the view is as assessed."""
        with self._lock:
            kept = self._guard.to_bytes() if self._guard.established and not self._guard.state.kind else b""
        if kept:
            with on_disk(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                place(self._path, kept)

    def show(self, _request: ShowView) -> ReferencePicture:
        """The reference picture and the state of the view."""
        with self._lock:
            picture, standing = self._reference.jpeg(), self._guard.state
        return ReferencePicture(standing.kind, standing.hides, picture)

    def confirm(self, request: ConfirmView) -> Confirmed:
        """Accept the present view as the right one. Reported and journalled, with the name of the person."""
        with self._lock:
            before = self._guard.state
            if not before.kind or (before.hides and before.kind != "moved"):
                what = before.kind or "as it was"
                raise UsageError(f"view: nothing to confirm (it is {what})", "a moved view is confirmed, or one covered in part")
            self._guard.confirm()
            self._reference.clear()
            self._path.unlink(missing_ok=True)
        by, kind = request.by, before.kind
        self._defer(lambda: self._telling.note("view_confirmed", by=by))
        self._defer(lambda: self._telling.say(Tamper(kind, "confirmed", self._now())))
        self._defer(lambda: self._telling.clear("alarm/tamper"))
        return Confirmed()

    def _cause(self) -> str:
        if self.frozen:
            return CAMERA_FROZEN
        standing = self._guard.state
        return f"view_{standing.kind}" if standing.hides else ""

    def _tell(self, before: ViewState, after: ViewState, wall_ns: int) -> None:
        self._defer(lambda: self._write(before.kind, after.kind, moment(wall_ns)))

    def _write(self, before: Found, after: Found, at: datetime) -> None:
        # With two causes at once the alarm lasts until both are over.
        still = after or (FROZEN if self.frozen else self._guard.state.kind)
        alarm = (Alarm("tamper", still, ""),) if still else ()
        if before:
            self._telling.note("tamper_over", view=before)
            self._telling.say(Tamper(before, "over", at), *(() if after else alarm))
        if after:
            self._telling.note("tamper", view=after)
            self._telling.say(Tamper(after, "found", at), *alarm)
        if not still:
            self._telling.clear("alarm/tamper")

    def _remember(self) -> ViewGuard:
        """A guard with the edges from before the restart; damaged ones are journalled and learned again."""
        try:
            return ViewGuard(read(self._path, self._path.name) if self._path.exists() else b"")
        except RecordError as problem:
            self._telling.note("view_reference_torn", reason=str(problem))
            return ViewGuard()

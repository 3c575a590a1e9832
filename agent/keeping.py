"""Keeping clips: recovery at the start, deadlines, the quota, receipts. Whatever leaves is journalled and told (R27, R32)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock

from agent.later import Later
from agent.messages import Body, ClipNote, ClipStage
from agent.outbox import Outbox
from agent.spool import Spool
from privacy.errors import LyktaError, RecordError, SealError, StorageError
from privacy.journal import Journal
from privacy.manifest import Manifest

_LEAST_FREE = 0.02


@dataclass(frozen=True, slots=True)
class Held:
    """What decides how long a clip stays. size in bytes."""

    clip: str
    deadline: datetime
    trigger: str
    size: int


class Keeper:
    """The camera's side of a clip's life after the recorder.

    retention  of the basis, for a clip whose own manifest cannot be read
    """

    def __init__(
        self, spool: Spool, outbox: Outbox, journal: Journal, now: Callable[[], datetime], quota_mb: int, retention: timedelta
    ) -> None:
        self._spool, self._outbox, self._journal, self.now = spool, outbox, journal, now
        self._quota, self._retention = quota_mb * 1_000_000, retention
        self._known: dict[str, Held] = {}
        self._leaving: set[str] = set()
        # A receipt that frees a clip in the middle of a sweep would make it look damaged.
        self._lock = Lock()
        self.later = Later()

    def note(self, kind: str, **facts: str | int | float | None) -> None:
        """An entry of the camera's journal, now or as soon as the disk takes it."""
        self.later.do(lambda: self._journal.append(kind, **facts))

    def clip(self, note: ClipNote) -> None:
        """Journal first: what the centre hears, an auditor must find. A disk that refuses gets both again later."""
        self._enter(note)
        self.tell(note)

    def _enter(self, note: ClipNote) -> None:
        self.note(f"clip_{note.stage}", clip=note.clip, trigger=note.trigger, reason=note.reason, bytes=note.bytes)

    def tell(self, *bodies: Body) -> None:
        """Messages to the centre, together, now or as soon as the disk takes them."""
        self.later.do(lambda: self._outbox.put(*bodies))

    def clear(self, tail: str) -> None:
        """What stood at this topic is over."""
        self.later.do(lambda: self._outbox.clear(tail))

    def recover(self) -> None:
        """Finish or drop what a power cut tore."""
        for clip in self._spool.torn():
            try:
                manifest = self._spool.recover(clip, self.now())
            except (SealError, RecordError, FileNotFoundError) as problem:
                self.free(clip)
                self.clip(ClipNote(clip, "dropped", "", f"torn: {problem}", 0))
            except OSError as problem:
                # The disk refuses now; the clip stays as it is for the next start.
                self.note("clip_waits", clip=clip, reason=str(problem))
            else:
                self.clip(ClipNote(clip, "recorded", manifest.trigger, "torn" if manifest.state == "torn" else "", _size(manifest)))
        for clip in self._spool.stumps():
            self.free(clip)

    def sweep(self) -> None:
        """Delete what is past its deadline, then the oldest until the quota holds; help clips go last."""
        self.later.retry()
        with self._lock:
            self._sweep()

    def _sweep(self) -> None:
        held = [self._look(clip) for clip in self._spool.clips() if clip not in self._leaving]
        now = self.now()
        for one in held:
            if one.deadline <= now:
                self._remove(one, "expired", "retention")
        for one in sorted((one for one in held if one.deadline > now), key=lambda one: (one.trigger == "help", one.clip)):
            if not self._crowded():
                return
            self._remove(one, "dropped", "quota")

    def receipt(self, token: str) -> bool:
        """Free the clip that the centre's signed receipt names; whether there was one to free."""
        with self._lock:
            manifest = self._spool.check_receipt(token.encode())
            self._remove(_held(manifest), "uploaded", "receipt")
        return True

    def _look(self, clip: str) -> Held:
        """What the sweep must know of a clip; verified once, then remembered.

        A damaged manifest must neither stop the sweep nor keep its clip: the id holds the time, the basis the retention.
        """
        if clip not in self._known:
            try:
                self._known[clip] = _held(self._spool.manifest(clip))
            except LyktaError as problem:
                began = datetime.fromtimestamp(int(clip[:8] + clip[9:13], 16) / 1000, UTC)
                self._known[clip] = Held(clip, began + self._retention, "damaged", 0)
                self.note("clip_damaged", clip=clip, reason=str(problem))
        return self._known[clip]

    def _remove(self, held: Held, stage: ClipStage, reason: str) -> None:
        """Journal first: a power cut in between leaves an entry too many, never a clip that is gone in silence."""
        note = ClipNote(held.clip, stage, held.trigger, reason, held.size)
        self._enter(note)
        self.free(held.clip)
        self._known.pop(held.clip, None)
        self.tell(note)

    def free(self, clip: str) -> None:
        """At once, since it may make the room that the journal waits for; where the disk refuses this too, with what waits."""
        self._leaving.add(clip)
        try:
            self._end(clip)
        except StorageError:
            self.later.do(lambda: self._end(clip))

    def _end(self, clip: str) -> None:
        self._spool.free(clip)
        self._leaving.discard(clip)

    def _crowded(self) -> bool:
        disk = shutil.disk_usage(self._spool.folder)
        return self._spool.used() > self._quota or disk.free < _LEAST_FREE * disk.total


def _held(manifest: Manifest) -> Held:
    return Held(manifest.clip, manifest.deadline, manifest.trigger, _size(manifest))


def _size(manifest: Manifest) -> int:
    return sum(file.size for file in manifest.files)

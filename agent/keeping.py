"""Keeping clips: recovery at the start, deadlines, the quota, receipts, holds. What leaves is journalled and told (R27-R29, R32).

The camera service keeps its clips itself; `lykta retention` does the same work on the same spool while the camera is off.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

import msgspec

from agent.cards import Card
from agent.later import Later
from agent.messages import Body, ClipNote, ClipStage
from agent.outbox import Outbox
from agent.spool import Spool
from drivers.clock import SystemClock
from privacy.errors import LyktaError, RecordError, SealError, StorageError
from privacy.files import locked, make_folder, place
from privacy.journal import Journal
from privacy.manifest import Manifest
from privacy.records import canonical
from privacy.retention import SAVE_MS, Instant, Kept, Odometer, drop_order, expired, first_moment, read_odometer

_LEAST_FREE = 0.02
_MOST_AT_ONCE = 20


@dataclass(frozen=True)
class Bounds:
    """How much the spool may hold: bytes, and a share of the disk, 0..1; and how long by the basis, for a damaged manifest."""

    quota: int
    share: float
    retention: timedelta


class Keeper:
    """A clip's life after the recorder.

    folder      where the odometer lies
    hold_until  the end of the hold that a signed order gives; `RecordError` where it gives none
    """

    def __init__(
        self,
        spool: Spool,
        outbox: Outbox,
        journal: Journal,
        clock: SystemClock,
        bounds: Bounds,
        folder: Path,
        hold_until: Callable[[bytes], datetime],
    ) -> None:
        self._spool, self._outbox, self._journal, self._clock, self._bounds = spool, outbox, journal, clock, bounds
        self._hold_until = hold_until
        self._path = folder / "odometer.json"
        self._odometer = Odometer()
        self._saved_ms = -SAVE_MS
        self._known: dict[str, Kept] = {}
        # A receipt that frees a clip in the middle of a sweep would make it look damaged.
        self._lock = Lock()
        self.later = Later()
        self.dropped = 0
        self._leaving: set[str] = set()

    def now(self) -> datetime:
        return self._clock.now()

    # -- words ---------------------------------------------------------------------------------------------------------

    def note(self, kind: str, **facts: str | int | float | None) -> None:
        """An entry of the unit's journal, now or as soon as the disk takes it."""
        self.later.do(lambda: self._journal.append(kind, **facts))

    def clip(self, note: ClipNote) -> None:
        """Journal first: what the centre hears, an auditor must find. A disk that refuses gets both again later."""
        self._enter(note)
        self.tell(note)

    def drop(self, note: ClipNote) -> None:
        """A clip that goes: in the journal before, told afterwards."""
        self._enter(note)
        self._free(note.clip)
        self.tell(note)

    def _enter(self, note: ClipNote) -> None:
        self.note(f"clip_{note.stage}", clip=note.clip, trigger=note.trigger, reason=note.reason, bytes=note.bytes)

    def tell(self, *bodies: Body) -> None:
        """Messages to the centre, together, now or as soon as the disk takes them."""
        self.later.do(lambda: self._outbox.put(*bodies))

    def clear(self, tail: str) -> None:
        """What stood at this topic is over."""
        self.later.do(lambda: self._outbox.clear(tail))

    # -- the camera's start --------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Finish or drop what a power cut tore."""
        with self._alone():
            self._spool.mend(self.recorded)
        for clip in self._spool.torn():
            try:
                self._spool.recover(clip, self.now(), self.recorded)
            except (SealError, RecordError, FileNotFoundError) as problem:
                self._free(clip)
                self.clip(ClipNote(clip, "dropped", "", f"torn: {problem}", 0))
            except OSError as problem:
                # The disk refuses now; the clip stays as it is for the next start.
                self.note("clip_waits", clip=clip, reason=str(problem))
        with self._alone():
            self._all()
        self.later.do(self._rebuild)

    def recorded(self, manifest: Manifest) -> None:
        """A clip is complete."""
        reason = "torn" if manifest.state == "torn" else ""
        self.clip(ClipNote(manifest.clip, "recorded", manifest.trigger, reason, Card.of(manifest).size))

    # -- time ----------------------------------------------------------------------------------------------------------

    def sweep(self) -> bool:
        """Delete what is past one of its limits, then what does not fit, in the declared order. Whether there is more to delete:

        a node that was off for days has thousands of clips to delete, and receipts and orders must not wait for all of them.
        """
        self.later.retry()
        with self._alone():
            instant = self._advance()
            kept = self._all()
            if not self.later.trouble:
                self.later.do(self._rebuild)
            due = [one for one in kept if expired(one, self._odometer, instant)]
            for one in map(self._again, due[:_MOST_AT_ONCE]):
                if reason := expired(one, self._odometer, instant):
                    self._remove(one, "expired", f"retention: {reason}")
            if len(due) <= _MOST_AT_ONCE:
                self._make_room()
        return len(due) > _MOST_AT_ONCE

    def _rebuild(self) -> None:
        """Say again what is here, once, if the outbox broke and was begun anew: the clip folders know it."""
        if self._outbox.needs_rebuild():
            torn = self._spool.torn()
            found = [one for one in self._known.values() if one.clip not in torn]
            self._outbox.rebuild([ClipNote(one.clip, "recorded", one.trigger, "rebuilt", one.size) for one in found])

    def save(self) -> None:
        """Write the odometer down; called at the end, so that an orderly stop costs no charge."""
        with self._alone():
            self._advance(at_once=True)

    def _advance(self, *, at_once: bool = False) -> Instant:
        """Move the odometer on, from what another process may have saved, and save it every five minutes."""
        clock = self._clock
        instant = Instant(clock.now(), clock.trusted(), clock.boot_id, clock.mono_ms())
        self._odometer = self._read_odometer().advance(instant)
        if at_once or instant.mono_ms - self._saved_ms >= SAVE_MS:
            self.later.do(self._write_odometer)
            self._saved_ms = instant.mono_ms
        return instant

    def _read_odometer(self) -> Odometer:
        """The one that is further on: this process's, or what another saved."""
        try:
            stored = read_odometer(self._path.read_bytes()) if self._path.exists() else Odometer()
        except RecordError as problem:
            self.note("odometer_torn", reason=str(problem))
            self._path.unlink()
            stored = Odometer()
        return max(stored, self._odometer, key=lambda one: one.total_ms)

    def _write_odometer(self) -> None:
        try:
            make_folder(self._path.parent)
            place(self._path, canonical(self._odometer))
        except OSError as problem:
            raise StorageError(f"odometer: {self._path}: {problem.strerror}", "free space or check the disk") from problem

    # -- room ----------------------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        kept = list(self._known.values())
        used = sum(one.size for one in kept)
        if not self._crowded(used):
            return
        torn = self._spool.torn()
        for one in drop_order(one for one in kept if one.clip not in torn):
            if self._again(one).held:
                continue
            used -= one.size
            self.dropped += 1
            self._remove(one, "dropped", "quota")
            if not self._crowded(used):
                return

    def _crowded(self, used: int) -> bool:
        disk = shutil.disk_usage(self._spool.folder)
        return used > min(self._bounds.quota, self._bounds.share * disk.total) or disk.free < _LEAST_FREE * disk.total

    # -- receipts and orders -------------------------------------------------------------------------------------------

    def receipt(self, token: str) -> bool:
        """Free the clip that the centre's signed receipt names; False if a hold keeps it here until it is released."""
        with self._alone():
            one = self._again(self._look(self._spool.check_receipt(token.encode()).clip))
            if one.held is None:
                self._remove(one, "uploaded", "receipt")
                return True
            if not one.uploaded:
                self._spool.mark(one.clip, "receipt", token.encode())
                self._known[one.clip] = msgspec.structs.replace(one, uploaded=True)
                self.clip(ClipNote(one.clip, "uploaded", one.trigger, "held", one.size))
            return False

    def matching(self, chosen: Callable[[Kept, datetime], bool]) -> list[Kept]:
        """Clips, torn ones too, that are chosen by what is kept of them and when they ended, oldest first."""
        with self._alone():
            ends = {clip: card.end for clip, card in self._spool.cards().items()}
            return [self._again(one) for one in self._all() if chosen(one, ends.get(one.clip) or self._end_of(one))]

    def _end_of(self, one: Kept) -> datetime:
        """When a clip ended that the index lacks: a power cut may take its last lines."""
        try:
            return self._spool.manifest(one.clip).end
        except LyktaError:
            return one.begin

    def hold(self, clip: str, token: bytes) -> None:
        """Keep a clip until the hold's end; a shorter hold ends no other's, only a release does."""
        with self._alone():
            one, until = self._again(self._look(clip)), self._hold_until(token)
            if one.held is None or until >= one.held:
                self._spool.mark(clip, "hold", token)
                self._known[clip] = msgspec.structs.replace(one, held=until)

    def release(self, clip: str) -> None:
        """End a hold; a clip whose receipt waits for that is freed."""
        with self._alone():
            self._spool.unmark(clip, "hold")
            self._known[clip] = one = msgspec.structs.replace(self._look(clip), held=None)
            if one.uploaded:
                self._remove(one, "uploaded", "receipt")

    def export(self, clip: str, token: bytes) -> None:
        """Mark a clip as wanted by the centre, whatever the upload policy says."""
        with self._alone():
            self._spool.mark(clip, "export", token)

    def erase(self, one: Kept, reason: str) -> None:
        with self._alone():
            self._remove(one, "dropped", reason)

    # -- what is there -------------------------------------------------------------------------------------------------

    def _all(self) -> list[Kept]:
        """Every clip of the spool, running and torn ones too, oldest first."""
        names = [clip for clip in self._spool.finished_or_torn() if clip not in self._leaving]
        cards = self._spool.cards() if len(self._known) < len(names) else {}
        self._known = {clip: self._look(clip, cards.get(clip)) for clip in names}
        return list(self._known.values())

    def _look(self, clip: str, card: Card | None = None) -> Kept:
        """What is known of a clip: looked at once, then remembered.

        A damaged manifest must neither stop the sweep nor keep its clip: the id holds the time, the basis the retention.
        """
        if clip in self._known:
            return self._known[clip]
        try:
            card = card or Card.of(self._spool.manifest(clip))
        except LyktaError as problem:
            self.note("clip_damaged", clip=clip, reason=str(problem))
            begin = first_moment(clip)
            kept = Kept(clip, "damaged", 0, begin, begin + self._bounds.retention, self._clock.boot_id, 0)
        else:
            kept = Kept(clip, card.trigger, card.size, card.begin, card.deadline, card.boot_id, card.mono_ms)
        self._known[clip] = kept = self._marked(kept)
        return kept

    def _again(self, one: Kept) -> Kept:
        """The same with its marks read anew, before it is deleted: another process may have obeyed an order about it."""
        self._known[one.clip] = one = self._marked(one)
        return one

    def _marked(self, kept: Kept) -> Kept:
        """With its hold and its receipt, if it has them. A hold that is none, or cannot be read, is noted and does not count."""
        uploaded, held = False, None
        try:
            uploaded = self._spool.marked(kept.clip, "receipt") is not None
            token = self._spool.marked(kept.clip, "hold")
            held = self._hold_until(token) if token else None
        except (RecordError, OSError) as problem:
            self.note("hold_damaged", clip=kept.clip, reason=str(problem))
        return msgspec.structs.replace(kept, held=held, uploaded=uploaded)

    def _remove(self, one: Kept, stage: ClipStage, reason: str) -> None:
        """Journal first: a power cut in between leaves an entry too many, never a clip that is gone in silence."""
        self.drop(ClipNote(one.clip, stage, one.trigger, reason, one.size))
        self._known.pop(one.clip, None)

    def _free(self, clip: str) -> None:
        """At once, since it may make the room that the journal waits for; where the disk refuses this too, with what waits."""
        self._leaving.add(clip)
        try:
            self._end(clip)
        except StorageError:
            self.later.do(lambda: self._end(clip))

    def _end(self, clip: str) -> None:
        self._spool.free(clip)
        self._leaving.discard(clip)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One keeper at a time, over threads and processes."""
        with self._lock, locked(self._spool.folder):
            yield

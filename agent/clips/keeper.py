"""Keeping clips: recovery at the start, deadlines, quota, receipts, holds. Each deletion is journalled and reported (R27-R29, R32).

The camera service does this for its own clips; `lykta retention` does the same on the same spool while the camera is off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

import msgspec

from agent.clips.holds import Held, Hold, OrderOf, read_held, write_held
from agent.clips.index import IndexEntry, strange_names
from agent.clips.spool import Spool, ready_folder
from agent.messages import ClipNote, ClipStage
from agent.outbox.outbox import Outbox
from agent.outbox.telling import Telling
from drivers.clock import SystemClock
from drivers.disk import room_of
from privacy.errors import LyktaError, RecordError, SealError, StorageError
from privacy.files import locked, make_folder, on_disk, place, read
from privacy.records.jws import canonical
from privacy.records.manifest import Manifest
from privacy.records.retention import SAVE_MS, Instant, Kept, Odometer, drop_order, expired, first_moment, read_odometer

_LEAST_FREE = 0.02
_MOST_AT_ONCE = 20


@dataclass(frozen=True)
class Bounds:
    """Limits of the spool: bytes, a share of the disk (0..1), and the retention by the basis, for clips with a damaged manifest."""

    quota: int
    share: float
    retention: timedelta


class Keeper:
    """Everything that happens to a clip after the recorder.

    folder      of the odometer file
    order_of    returns the order inside a token stored beside a clip; `RecordError` if it is not valid
    """

    def __init__(
        self,
        spool: Spool,
        outbox: Outbox,
        telling: Telling,
        clock: SystemClock,
        bounds: Bounds,
        folder: Path,
        order_of: OrderOf,
    ) -> None:
        self._spool, self._outbox, self.telling, self._clock, self._bounds = spool, outbox, telling, clock, bounds
        self._order_of = order_of
        ready_folder(folder)
        self._path = folder / "odometer.json"
        self._odometer = Odometer()
        self._saved_ms = -SAVE_MS
        self._known: dict[str, Kept] = {}
        # A receipt that deletes a clip in the middle of a sweep would make the clip look damaged.
        self._lock = Lock()
        self.dropped = 0
        self._leaving: set[str] = set()

    def now(self) -> datetime:
        return self._clock.now()

    # -- messages ------------------------------------------------------------------------------------------------------

    def clip(self, note: ClipNote) -> None:
        """Journal first: whatever the centre receives, an auditor must find. Both are retried later if the disk refuses them."""
        self._enter(note)
        self.telling.say(note)

    def drop(self, note: ClipNote) -> None:
        """Delete a clip: journal entry before, message afterwards."""
        self._enter(note)
        self._free(note.clip)
        self.telling.say(note)

    def _enter(self, note: ClipNote) -> None:
        self.telling.note(f"clip_{note.stage}", clip=note.clip, trigger=note.trigger, reason=note.reason, bytes=note.bytes)

    # -- the camera's start --------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Finish or drop clips that a power cut interrupted; names that are no clip are logged and left for a person to inspect."""
        for name in strange_names(self._spool.folder):
            self.telling.note("spool_strange", name=name)
        with self._alone():
            self._spool.repair(self.recorded)
        for clip in self._spool.torn():
            try:
                self._spool.recover(clip, self.now(), self.recorded)
            except (SealError, RecordError, FileNotFoundError) as problem:
                self._free(clip)
                self.clip(ClipNote(clip, "dropped", "", f"torn: {problem}", 0))
            except OSError as problem:
                # The disk refuses the write; the clip stays as it is until the next start.
                self.telling.note("clip_waits", clip=clip, reason=str(problem))
        with self._alone():
            self._all()
        self.telling.add(self._rebuild)

    def recorded(self, manifest: Manifest) -> None:
        """A clip is complete."""
        reason = "torn" if manifest.state == "torn" else ""
        self.clip(ClipNote(manifest.clip, "recorded", manifest.trigger, reason, IndexEntry.of(manifest).size))

    # -- time ----------------------------------------------------------------------------------------------------------

    def sweep(self) -> bool:
        """Delete clips past one of their limits, then clips over the quota, in the declared order. Whether there is more to delete:

        a node that was off for days has thousands of clips to delete, and receipts and orders must not wait for all of them.
        """
        self.telling.retry()
        with self._alone():
            instant = self._advance()
            kept = self._all()
            if not self.telling.trouble:
                self.telling.add(self._rebuild)
            due = [one for one in kept if expired(one, self._odometer, instant)]
            for one in map(self._again, due[:_MOST_AT_ONCE]):
                if reason := expired(one, self._odometer, instant):
                    self._remove(one, "expired", f"retention: {reason}")
            if len(due) <= _MOST_AT_ONCE:
                self._make_room()
        return len(due) > _MOST_AT_ONCE

    def _rebuild(self) -> None:
        """Report all clips once more, from the clip folders, if the outbox was damaged and replaced by a new one."""
        if self._outbox.needs_rebuild():
            torn = self._spool.torn()
            found = [one for one in self._known.values() if one.clip not in torn]
            self._outbox.rebuild([ClipNote(one.clip, "recorded", one.trigger, "rebuilt", one.size) for one in found])

    def save(self) -> None:
        """Save the odometer; called at the end, so that an orderly stop adds no unaccounted time."""
        with self._alone():
            self._advance(at_once=True)

    def _advance(self, *, at_once: bool = False) -> Instant:
        """Advance the odometer, starting from what another process may have saved, and save it every five minutes."""
        instant = self._instant()
        before = self._read_odometer()
        self._odometer = before.advance(instant)
        at_once = at_once or before.first != self._odometer.first
        if at_once or instant.mono_ms - self._saved_ms >= SAVE_MS:
            self.telling.add(self._write_odometer)
            self._saved_ms = instant.mono_ms
        return instant

    def _instant(self) -> Instant:
        clock = self._clock
        return Instant(clock.now(), clock.trusted(), clock.boot_id, clock.mono_ms())

    def _read_odometer(self) -> Odometer:
        """The odometer with the greater value: this process's, or the one that another saved."""
        try:
            stored = read_odometer(read(self._path, "odometer"))
        except FileNotFoundError:
            stored = Odometer()
        except (RecordError, OSError) as problem:
            stored = Odometer()
            self._set_aside(str(problem))
        return max(stored, self._odometer, key=lambda one: one.total_ms)

    def _set_aside(self, reason: str) -> None:
        """Rename a damaged odometer file: this process continues with its own value."""
        self.telling.note("odometer_torn", reason=reason)
        with suppress(OSError):  # a file that cannot be renamed is overwritten by the next save
            self._path.replace(self._path.with_suffix(".damaged"))

    def _write_odometer(self) -> None:
        with on_disk(f"odometer: {self._path}"):
            make_folder(self._path.parent)
            place(self._path, canonical(self._odometer))

    # -- room ----------------------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        kept = list(self._known.values())
        used = sum(one.size for one in kept)
        reason = self._crowded(used)
        if not reason:
            return
        torn = self._spool.torn()
        for one in drop_order(one for one in kept if one.clip not in torn):
            if self._again(one).held:
                continue
            used -= one.size
            self.dropped += 1
            self._remove(one, "dropped", reason)
            reason = self._crowded(used)
            if not reason:
                return

    def _crowded(self, used: int) -> str:
        """Which limit is exceeded, as a stable code; "" if none."""
        disk = room_of(self._spool.folder)
        over = used > min(self._bounds.quota, self._bounds.share * disk.total)
        return "quota" if over else disk.scarce(_LEAST_FREE)

    # -- receipts and orders -------------------------------------------------------------------------------------------

    def receipt(self, token: str) -> bool:
        """Delete the clip that the centre's signed receipt names; False if a hold keeps it until its release."""
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
        """Clips, interrupted ones too, that `chosen` selects by their data and end, oldest first."""
        with self._alone():
            ends = {clip: entry.end for clip, entry in self._spool.entries().items()}
            return [self._again(one) for one in self._all() if chosen(one, ends.get(one.clip) or self._end_of(one))]

    def _end_of(self, one: Kept) -> datetime:
        """The end of a clip that is missing in the index: a power cut may lose its last lines."""
        try:
            return self._spool.manifest(one.clip).end
        except LyktaError:
            return one.begin

    def hold(self, clip: str, token: bytes) -> None:
        """Keep a clip until the hold's end. A release with a higher number that arrived before takes precedence (decision 0039)."""
        order = self._order_of(token)
        with self._alone():
            self._settle(clip, self._held(clip).with_hold(Hold(order.number, order.until, token)))

    def release(self, clip: str, token: bytes) -> None:
        """End the holds with smaller numbers, also those that arrive later; a clip that already has its receipt is then deleted."""
        number = self._order_of(token).number
        with self._alone():
            before = self._held(clip)
            if number > before.released:
                self._spool.mark(clip, "release", token)
            one = self._settle(clip, before.with_release(number))
            if one.uploaded and one.held is None:
                self._remove(one, "uploaded", "receipt")

    def released(self, clip: str) -> int:
        """The number of the last release of a clip; 0 if there was none."""
        return self._held(clip).released

    def _held(self, clip: str) -> Held:
        def odd(problem: Exception) -> None:
            self.telling.note("hold_damaged", clip=clip, reason=str(problem))

        return read_held(self._spool, clip, self._order_of, odd)

    def _settle(self, clip: str, held: Held) -> Kept:
        write_held(self._spool, clip, held)
        return self._again(self._look(clip))

    def export(self, clip: str, token: bytes) -> None:
        """Mark a clip as wanted by the centre, whatever the upload policy says."""
        with self._alone():
            self._spool.mark(clip, "export", token)

    def erase(self, one: Kept, reason: str) -> None:
        with self._alone():
            self._remove(one, "dropped", reason)

    # -- what is there -------------------------------------------------------------------------------------------------

    def _all(self) -> list[Kept]:
        """Every clip of the spool, running and interrupted ones too, oldest first."""
        names = [clip for clip in self._spool.finished_or_torn() if clip not in self._leaving]
        entries = self._spool.entries() if len(self._known) < len(names) else {}
        self._known = {clip: self._look(clip, entries.get(clip)) for clip in names}
        return list(self._known.values())

    def _look(self, clip: str, entry: IndexEntry | None = None) -> Kept:
        """The data of a clip: read once, then cached.

        A damaged manifest must neither stop the sweep nor keep its clip: the id gives the time, the basis the retention.
        """
        if clip in self._known:
            return self._known[clip]
        try:
            entry = entry or IndexEntry.of(self._spool.manifest(clip))
        except LyktaError as problem:
            self.telling.note("clip_damaged", clip=clip, reason=str(problem))
            begin = first_moment(clip)
            kept = Kept(clip, "damaged", 0, begin, begin + self._bounds.retention, *self._odometer.boot_of(begin, self._instant()))
        else:
            kept = Kept(clip, entry.trigger, entry.size, entry.begin, entry.deadline, entry.boot_id, entry.mono_ms)
        self._known[clip] = kept = self._marked(kept)
        return kept

    def _again(self, one: Kept) -> Kept:
        """The same with its marks read again, before it is deleted: another process may have executed an order on it."""
        self._known[one.clip] = one = self._marked(one)
        return one

    def _marked(self, kept: Kept) -> Kept:
        """The clip with its hold and receipt, if it has them. A hold that is invalid or unreadable is journalled and ignored."""
        held = self._held(kept.clip).until if self._spool.has_mark(kept.clip, "hold") else None
        return msgspec.structs.replace(kept, held=held, uploaded=self._spool.has_mark(kept.clip, "receipt"))

    def _remove(self, one: Kept, stage: ClipStage, reason: str) -> None:
        """Journal first: a power cut in between leaves one entry too many, never a clip deleted without an entry."""
        self.drop(ClipNote(one.clip, stage, one.trigger, reason, one.size))
        self._known.pop(one.clip, None)

    def _free(self, clip: str) -> None:
        """At once, since the journal may need the space; if the disk refuses that too, it is retried with the pending writes."""
        self._leaving.add(clip)
        try:
            self._end(clip)
        except StorageError:
            self.telling.add(lambda: self._end(clip))

    def _end(self, clip: str) -> None:
        self._spool.free(clip)
        self._leaving.discard(clip)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Lock: one keeper at a time, across threads and processes."""
        with self._lock, locked(self._path.parent, "clips.lock"):
            yield

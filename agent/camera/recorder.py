"""The recorder: a ring of the last seconds, and clips that start with it when something happens.

It runs on a thread of its own, so that a slow SD card never delays the frame path; its queue is bounded, and what does not
fit is dropped and counted.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Literal, Protocol

import msgspec

from agent.camera.moments import SECOND, moment
from agent.clips.spool import SealedSink, Spool, is_full
from agent.messages import Alarm, ClipNote
from agent.outbox.telling import Telling
from agent.runtime.commands.desk import ACCEPTED, Answer, Outcome, refused
from agent.runtime.config import Record
from drivers.disk import refusal
from drivers.media.encoder import Mp4Writer, Packet
from privacy.errors import StorageError
from privacy.masking.mask_record import MaskHeader, MaskRecord
from privacy.records.manifest import Manifest
from privacy.records.seal import Recipient

QUEUE = 300
CHECKPOINT_NS = 10 * SECOND
# A key picture, which ends a fragment, comes each second.
_SHORTEST_NS, _LONGEST_NS = SECOND // 2, SECOND * 3 // 2


@dataclass(frozen=True, slots=True)
class Taken:
    """One coded, masked picture with its mask record. wall_ns: UTC of exposure."""

    packet: Packet
    record: MaskRecord
    wall_ns: int


@dataclass(frozen=True, slots=True)
class Trigger:
    """Why a clip is wanted: routine, presence, tamper, command, help; `ref` names the press.

    seconds  how long after it the clip goes on; 0: as the settings say
    answer   of a command: waits for what becomes of the clip
    """

    kind: str
    ref: str = ""
    seconds: int = 0
    answer: Answer | None = None

    @property
    def rank(self) -> int:
        """A clip carries its most important trigger, which decides what is uploaded and dropped first."""
        return {"routine": 0, "presence": 1, "help": 3}.get(self.kind, 2)


ROUTINE = Trigger("routine")


@dataclass(frozen=True)
class Stream:
    """Properties of the stream that do not change while the camera is open."""

    width: int
    height: int
    fps: float
    recipients: tuple[Recipient, ...]
    masks: MaskHeader


class Ledger(Protocol):
    """Receives finished and dropped clips: a journal entry and a message for each."""

    def recorded(self, manifest: Manifest) -> None: ...

    def drop(self, note: ClipNote) -> None:
        """The same, and the clip's folder is deleted, at once or as soon as the disk allows."""


class _Running:
    """A clip that is being written.

    It is synced where a key picture ends a fragment, each second, so that a power cut costs only the running fragment.
    """

    def __init__(self, spool: Spool, opened: Manifest, stream: Stream, trigger: Trigger) -> None:
        self.opened, self._spool, self.trigger = opened, spool, trigger
        self.until_ns = 0
        self._video, self._masks = spool.begin(opened, stream.recipients)
        self._mp4 = Mp4Writer(_Feed(self._video), stream.fps)
        self._masks.feed(msgspec.json.encode(stream.masks) + b"\n")
        self._full: Counter[str] = Counter()
        self._frames = 0
        self._last: Taken | None = None
        self._synced_ns = self._signed_ns = 0

    @property
    def seconds(self) -> float:
        return self._last.wall_ns / SECOND - self.opened.begin.timestamp() if self._last else 0.0

    def write(self, taken: Taken) -> None:
        self._mp4.write(taken.packet)
        self._masks.feed(msgspec.json.encode(taken.record) + b"\n")
        self._frames += 1
        self._last = taken
        if taken.record.cause:
            self._full[taken.record.cause] += 1

    def keep(self, taken: Taken) -> None:
        """Write one picture, and sync when due by the pictures' time stamps: after a fragment, or after the camera stalled."""
        self.write(taken)
        since = taken.packet.mono_ns - self._synced_ns
        if since >= _LONGEST_NS or (taken.packet.key and since >= _SHORTEST_NS):
            self.sync()

    def sync(self) -> None:
        """Make everything so far durable, and sign it every ten seconds."""
        self._spool.sync(self.opened.clip, self._video, self._masks)
        self._synced_ns = self._last.packet.mono_ns if self._last else 0
        if self._synced_ns - self._signed_ns >= CHECKPOINT_NS:
            self._sign()

    def promote(self, trigger: Trigger) -> None:
        """A more important trigger came: recorded at once, so that an interrupted clip carries it too."""
        self.trigger = trigger
        self.opened = msgspec.structs.replace(self.opened, trigger=trigger.kind)
        self.sync()
        self._sign()

    def _sign(self) -> None:
        self._spool.checkpoint(self._so_far("open"), self._video, self._masks)
        self._signed_ns = self._synced_ns

    def _so_far(self, state: Literal["open", "complete"]) -> Manifest:
        end = moment(self._last.wall_ns) if self._last else self.opened.begin
        return msgspec.structs.replace(self.opened, state=state, end=end, frames=self._frames, full=dict(self._full))

    def finish(self, report: Callable[[Manifest], None]) -> None:
        self._mp4.close()
        files = (self._video.close(), self._masks.close())
        self._spool.finish(msgspec.structs.replace(self._so_far("complete"), files=files), report)

    def abandon(self) -> None:
        """Close the files without completing the clip."""
        self._video.abandon()
        self._masks.abandon()


class _Feed:
    """The sealed file as a file object for PyAV."""

    def __init__(self, sink: SealedSink) -> None:
        self._sink = sink

    def write(self, data: bytes, /) -> int:
        return self._sink.feed(bytes(data))


class Recorder:
    """Takes coded pictures in order and makes clips of them.

    opening   makes the manifest of a clip that begins with this picture for this trigger
    fed       called for each picture that is in the ring: it feeds the watchdog
    """

    def __init__(
        self,
        spool: Spool,
        settings: Record,
        stream: Stream,
        opening: Callable[[Taken, Trigger], Manifest],
        ledger: Ledger,
        telling: Telling,
        fed: Callable[[], None],
    ) -> None:
        self._spool, self._settings, self._stream = spool, settings, stream
        self._opening, self._ledger, self._telling, self._fed = opening, ledger, telling, fed
        self._queue: Queue[Taken | Trigger] = Queue(QUEUE)
        self._asked: list[Trigger] = []
        self._closed = False
        self._ring: deque[Taken] = deque()
        self._running: _Running | None = None
        self._opened: Manifest | None = None
        self._waiting = ROUTINE if settings.mode == "always" else None
        self.dropped = 0
        self.refused = 0
        self.refused_now = False

    def take(self, item: Taken | Trigger) -> bool:
        """From any thread: queue a picture or trigger, without waiting; whether there was room."""
        try:
            self._queue.put_nowait(item)
        except Full:
            self.dropped += 1
            return False
        if self._closed:
            self.close()
        return True

    def record(self, trigger: Trigger) -> Outcome | None:
        """The same for a command's trigger; returns why not, or None: the answers follow."""
        assert trigger.answer
        trigger.answer(ACCEPTED)  # before the recorder can answer more
        return None if self.take(trigger) else refused("busy")

    def close(self) -> None:
        """After the thread has ended: answer the commands whose clip did not come about."""
        self._closed = True
        with suppress(Empty):
            while True:
                item = self._queue.get_nowait()
                if isinstance(item, Trigger):
                    self._asked.append(item)
        self._tell(Outcome("failed", "interrupted"))

    def run(self, stopped: Callable[[], bool]) -> None:
        """The recorder's thread: until stopped and the queue is empty; a running clip is finished."""
        while not (stopped() and self._queue.empty()):
            try:
                item = self._queue.get(timeout=0.2)
            except Empty:
                continue
            self.handle(item)
        self._guarded(self._finish)

    def handle(self, item: Taken | Trigger) -> None:
        """Process one item, on the recorder's thread."""
        if isinstance(item, Trigger):
            self._asked += [item] if item.answer else []
            self._guarded(lambda: self._begin(item))
        else:
            self._guarded(lambda: self._append(item))
            self._fed()

    def _guarded(self, work: Callable[[], None]) -> None:
        """A disk that refuses a clip costs that clip, which is counted and reported; filming, ring and help go on."""
        try:
            work()
        except (OSError, StorageError) as problem:
            self.refused += 1
            reason = refusal(self._spool.folder, "disk_full") if is_full(problem) else "disk_error"
            if not self.refused_now:
                self._telling.say(Alarm("disk", reason, ""))
            self.refused_now = True
            self._drop(reason)

    def _append(self, taken: Taken) -> None:
        self._ring.append(taken)
        self._trim_ring(taken)
        if self._running:
            self._running.keep(taken)
            if self._over(self._running, taken.packet.mono_ns):
                self._finish()
        elif taken.packet.key and self._waiting:
            self._begin(self._waiting)

    def _over(self, running: _Running, now_ns: int) -> bool:
        """An event ends some seconds after it; a routine clip only by its length."""
        ended = running.trigger.rank > 0 and now_ns > running.until_ns
        return ended or running.seconds >= self._settings.longest

    def _trim_ring(self, newest: Taken) -> None:
        """Keep the pre-roll and the pictures back to its key picture."""
        begin = newest.packet.mono_ns - self._settings.pre_roll * SECOND
        keys = [n for n, taken in enumerate(self._ring) if taken.packet.key and taken.packet.mono_ns <= begin]
        for _ in range(keys[-1] if keys else 0):
            self._ring.popleft()

    def _begin(self, trigger: Trigger) -> None:
        """Begin a clip, or promote and prolong the running one. Right after a clip there is no key picture yet to begin with."""
        if self._running:
            self._running.until_ns = max(self._running.until_ns, self._until_ns(trigger))
            if trigger.answer:
                trigger.answer(Outcome("running", ref=self._running.opened.clip))
            if trigger.rank > self._running.trigger.rank:
                self._running.promote(trigger)
            return
        first = next((n for n, taken in enumerate(self._ring) if taken.packet.key), None)
        if first is None:
            self._waiting = max(trigger, self._waiting or trigger, key=lambda one: one.rank)
            return
        self._waiting = ROUTINE if self._settings.mode == "always" else None
        self._open(trigger, list(self._ring)[first:])

    def _open(self, trigger: Trigger, pictures: list[Taken]) -> None:
        self._opened = self._opening(pictures[0], trigger)
        self._running = _Running(self._spool, self._opened, self._stream, trigger)
        for taken in pictures:
            self._running.write(taken)
        self._running.until_ns = max(self._until_ns(one) for one in (trigger, *self._asked))
        self._running.sync()
        self._tell(Outcome("running", ref=self._opened.clip))

    def _until_ns(self, trigger: Trigger) -> int:
        """When a clip for a trigger now ends, in the time of the pictures."""
        return self._ring[-1].packet.mono_ns + (trigger.seconds or self._settings.post_roll) * SECOND

    def _tell(self, outcome: Outcome) -> None:
        """Answer the commands that wait for this clip."""
        asked, self._asked = self._asked, [] if outcome.final else self._asked
        for one in asked:
            if one.answer:
                one.answer(outcome)

    def _finish(self) -> None:
        if not self._running:
            return
        self._running.finish(self._ledger.recorded)
        self._tell(Outcome("done", ref=self._running.opened.clip))
        self._running = self._opened = None
        if self.refused_now:
            self.refused_now = False
            self._telling.clear("alarm/disk")
        self._ring.clear()

    def _drop(self, reason: str) -> None:
        """Drop a clip that the disk refused; it was not reported yet, so what reached the disk is deleted too."""
        running = self._running
        opened = running.opened if running else self._opened
        self._opened = self._running = None
        self._tell(Outcome("failed", reason))
        if running:
            running.abandon()
        if opened:
            self._ledger.drop(ClipNote(opened.clip, "dropped", opened.trigger, reason, 0))

"""The frame path of the camera service: capture and release on one thread, the detector on another.

    capture ─► DelayLine ─► Masker ─► listeners: encoder ─► Recorder's queue, or a visit's page
        └─► (one picture at a time) detector ─► answers ┘

Neither waits for the other. A detector that is late, hangs or fails leaves frames without an answer, and those are
released fully masked; it can never delay the picture or weaken its mask.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, Queue

from agent.camera.recorder import Taken
from drivers.camera.port import Camera
from drivers.media.encoder import H264Encoder
from privacy.masking.delay import Seen
from privacy.masking.detection import Detector
from privacy.masking.frame_path import FramePath, Pace, look
from privacy.masking.frames import Frame, MaskedFrame
from privacy.masking.frozen_camera import DistinctCount
from privacy.masking.mask_record import MaskRecord
from privacy.masking.masker import Masker, Tally


@dataclass(frozen=True)
class Listeners:
    """Callbacks of a pipeline. None of them may wait.

    saw        the result of a detection, with the UTC time of its picture (ns); returns why everything must be masked, or ""
    painted    a masked frame, before its release
    leaves     the same, to encode or to show; its buffer returns to the camera afterwards
    looked     a detection is over; on the detector's thread
    """

    saw: Callable[[Seen, int], str]
    painted: Callable[[MaskedFrame, Masker], None]
    leaves: Callable[[MaskedFrame], None]
    looked: Callable[[], None]


class Coding:
    """Encodes released frames. take: called with each coded picture and its mask record."""

    def __init__(self, encoder: H264Encoder, take: Callable[[Taken], object]) -> None:
        self._encoder, self._take = encoder, take
        self._records: dict[int, tuple[MaskRecord, int]] = {}

    def encode(self, picture: MaskedFrame) -> None:
        self._records[picture.mono_ns] = (picture.record, picture.wall_ns)
        for packet in self._encoder.encode(picture):
            record, wall_ns = self._records[packet.mono_ns]
            # Pictures for which the encoder gave no packet precede the one for which it did.
            self._records = {at: one for at, one in self._records.items() if at > packet.mono_ns}
            self._take(Taken(packet, record, wall_ns))


class Pipeline:
    """The frame path of one open camera. `capture` and `detect` are the bodies of two threads."""

    def __init__(self, camera: Camera, detector: Detector, masker: Masker, listeners: Listeners) -> None:
        self._camera, self._detector, self._masker = camera, detector, masker
        self._listeners = listeners
        self._path = FramePath(masker)
        self._wanted: Queue[Frame] = Queue(1)
        self._answers: Queue[tuple[Seen, int]] = Queue()
        self._looking = False
        self._pace = Pace()
        self.tally = Tally()
        self.looks, self.look_ms = 0, 0.0
        self.distinct = DistinctCount()
        self.last_ns = time.monotonic_ns()
        """Exposure of the last frame, monotonic; the begin, before the first."""
        self.focus: float | None = None

    @property
    def learned(self) -> int:
        """Tiles of foreground that `strict` took for background after ten minutes without a person."""
        return self._path.learned

    def capture(self, stopped: Callable[[], bool]) -> None:
        """Until stopped: read a picture, pass it to the detector when that is idle, release frames that have their answer."""
        while not stopped():
            frame = self._camera.capture()
            self.last_ns = frame.mono_ns
            self.distinct.see(frame)
            self._path.push(frame)
            self._ask(frame)
            self._learn()
            for picture in self._path.ready(frame.mono_ns):
                self._pass_on(picture)
        for picture in self._path.end():
            self._pass_on(picture)

    def detect(self, stopped: Callable[[], bool]) -> None:
        """Until stopped: run the detector on the one picture that waits."""
        while not stopped():
            try:
                frame = self._wanted.get(timeout=0.2)
            except Empty:
                continue
            begin, spent = time.monotonic_ns(), time.thread_time()
            seen = look(self._detector, frame, guard=True)
            self._pace.took(time.monotonic_ns() - begin)
            self.looks += 1
            self.look_ms += (time.thread_time() - spent) * 1000
            self._answers.put((seen, frame.wall_ns))
            self._listeners.looked()
            self._looking = False

    def _ask(self, frame: Frame) -> None:
        if self._pace.due(frame.mono_ns) and not self._looking:
            self._looking = True
            self._pace.asked(frame.mono_ns)
            self._wanted.put_nowait(frame)

    def _learn(self) -> None:
        while True:
            try:
                seen, wall_ns = self._answers.get_nowait()
            except Empty:
                return
            self.focus = seen.focus if seen.focus is not None else self.focus
            self._path.learn(seen)
            self._path.hidden = self._listeners.saw(seen, wall_ns)

    def _pass_on(self, picture: MaskedFrame) -> None:
        self.tally.count(picture)
        self._listeners.painted(picture, self._masker)
        self._listeners.leaves(picture)
        picture.release()

"""The camera port. Adapters: `pi_camera` (picamera2) and `file_camera`, the fake that ships: a video file.

What an adapter promises, and `tests/drivers/test_cameras.py` asks of both: nothing is opened before `open`; what cannot be opened
raises `MediaError` with a stable code, holds nothing, and may be tried again. `capture` blocks until the next picture and gives
each once, in order, stamped with the moment of its exposure, as one I420 buffer that nobody else writes to until its `release`.
Who comes late gets the newest picture, and the others count as lost. A picture without the moment of its exposure, with one that
is not after the one before, or shorter than its size says, is never given: it counts as broken, and several in a row are
`camera_lost`. A camera has `buffers(fps)` buffers: who holds them all
gets no more pictures. A camera that goes away raises `camera_lost` and is not mended in place: the process ends and is started
again.

Codes: no_camera, several_cameras, mode_refused, camera_in_use, camera_library, camera_lost; camera_fails for all else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from privacy.errors import MediaError
from privacy.masking.delay import PATIENCE_NS, PAUSE_NS
from privacy.masking.frames import Frame
from privacy.masking.tracking import SECOND

WAIT_S = 5.0
"""The longest that `capture` waits for a picture."""
_LATE_S = 0.3
"""A verdict may come so late, on a busy machine."""
_AHEAD_NS = 1_000_000_000
MOST_BROKEN = 5
"""Broken pictures in a row after which a camera counts as lost."""


class Camera(Protocol):
    width: int
    height: int
    model: str
    lost: int
    """Pictures that should have come between two that did."""
    broken: int
    """Pictures that were not given because their stamp or their buffer was not right."""
    night: bool | None
    """None where the source does not tell of its light."""

    def open(self) -> None: ...

    def capture(self) -> Frame: ...

    def close(self) -> None: ...


def buffers(fps: int) -> int:
    """How many buffers a camera needs: as many as the delay line holds frames, and four that are filled meanwhile.

    libcamera gives no more than 24 of 1280x720 (seen with its virtual camera, v0.4.0): enough for 15 frames a second.
    """
    held_s = max(PATIENCE_NS, PAUSE_NS) / SECOND + _LATE_S
    return round(fps * held_s) + 4


class Stamps:
    """The moments of exposure of one camera's pictures, nanoseconds of the monotonic clock."""

    def __init__(self) -> None:
        self._last_ns = 0

    def flaw(self, exposed_ns: object, now_ns: int) -> str:
        """Why a stamp cannot be the next one, or ""."""
        if not isinstance(exposed_ns, int) or exposed_ns <= 0:
            return f"its stamp is {exposed_ns!r}"
        if exposed_ns <= self._last_ns:
            return f"its stamp is {self._last_ns - exposed_ns} ns before the last one"
        if exposed_ns > now_ns + _AHEAD_NS:
            return f"its stamp is {exposed_ns - now_ns} ns in the future"
        self._last_ns = exposed_ns
        return ""


class Loan:
    """A buffer that is out of its owner's hands until it is given back, which nobody may do twice."""

    __slots__ = ("_give_back",)

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def release(self) -> None:
        give_back, self._give_back = self._give_back, None
        if give_back is None:
            raise MediaError("camera: a picture was released twice", "this should not happen: please report it")
        give_back()


def not_open(name: str) -> MediaError:
    return MediaError(f"{name}: not open", "call open() first")


def in_use(name: str) -> MediaError:
    return MediaError(f"{name}: is in use", "end the program that films with it: `fuser -v /dev/media*`", "camera_in_use")

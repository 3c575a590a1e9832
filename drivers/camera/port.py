"""The camera port. Adapters: `pi_camera` (picamera2) and `file_camera` (a video file, for demo and tests).

Contract of an adapter, which `tests/drivers/test_cameras.py` checks for both:
- Nothing is opened before `open`. A failed `open` raises `MediaError` with a stable code, holds no resource, and may be repeated.
- `capture` blocks until the next picture. It returns each picture once, in order, stamped with the time of its exposure, as one
  I420 buffer that nobody else writes to until `release`. A late caller gets the newest picture; the skipped ones count as `lost`.
- A picture is never returned if its exposure time is missing or not later than the one before, or if its buffer is too short for
  its size. It counts as `broken`; `MOST_BROKEN` in a row raise `camera_lost`.
- A camera has `buffers(fps)` buffers. A caller that holds all of them gets no more pictures.
- A camera that fails raises `camera_lost` and is not reopened: the process ends and is started again.

Codes: no_camera, several_cameras, mode_refused, camera_in_use, camera_library, camera_lost; camera_fails for anything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from privacy.errors import MediaError
from privacy.masking.delay import PATIENCE_NS, PAUSE_NS
from privacy.masking.frames import Frame
from privacy.masking.tracking import SECOND

WAIT_S = 5.0
"""The longest time that `capture` waits for a picture, seconds."""
_LATE_S = 0.3
"""Allowance for a detector's answer that comes late on a busy machine, seconds."""
_AHEAD_NS = 1_000_000_000
"""How far an exposure time may lie in the future, nanoseconds."""
MOST_BROKEN = 5
"""Broken pictures in a row after which a camera counts as lost."""


class Camera(Protocol):
    width: int
    height: int
    model: str
    lost: int
    """Number of pictures that are missing between those that came."""
    broken: int
    """Number of pictures that were dropped because their time stamp or buffer was invalid."""
    night: bool | None
    """Whether it is night; None if the source does not measure the light."""
    exposure_us: int | None
    """Exposure time of a recent picture, microseconds; None if the source does not say."""
    gain: float | None
    """Its analogue gain; None if the source does not say."""

    def open(self) -> None: ...

    def capture(self) -> Frame: ...

    def close(self) -> None: ...


def buffers(fps: int) -> int:
    """How many buffers a camera needs: as many as the delay line holds frames, and four for the camera to fill meanwhile.

    libcamera allocates at most 24 of 1280x720 (observed with its virtual camera, v0.4.0), which is enough for 15 frames per second.
    """
    held_s = max(PATIENCE_NS, PAUSE_NS) / SECOND + _LATE_S
    return round(fps * held_s) + 4


class Stamps:
    """Checks the exposure times of one camera's pictures, in nanoseconds of the monotonic clock."""

    def __init__(self) -> None:
        self._last_ns = 0

    def flaw(self, exposed_ns: object, now_ns: int) -> str:
        """What is wrong with the exposure time of the next picture; "" if it is valid. now_ns: the present time."""
        if not isinstance(exposed_ns, int) or exposed_ns <= 0:
            return f"its stamp is {exposed_ns!r}"
        if exposed_ns <= self._last_ns:
            return f"its stamp is {self._last_ns - exposed_ns} ns before the last one"
        if exposed_ns > now_ns + _AHEAD_NS:
            return f"its stamp is {exposed_ns - now_ns} ns in the future"
        self._last_ns = exposed_ns
        return ""


class BorrowedBuffer:
    """A camera's buffer in use by a frame. `release` gives it back; a second call is an error."""

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
    return MediaError(f"{name}: is in use", "end the program that uses it: `fuser -v /dev/media*`", "camera_in_use")

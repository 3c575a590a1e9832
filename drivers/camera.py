"""The camera port. Adapters: `drivers.pi_camera` (picamera2) and `drivers.file_camera`, the fake that ships: a video file.

What an adapter promises, and `tests/test_cameras.py` asks of both: nothing is opened before `open`; what cannot be opened
raises `MediaError` with a stable code, holds nothing, and may be tried again. `capture` blocks until the next picture and gives
each once, in order, stamped with the moment of its exposure, as one I420 buffer that nobody else writes to until its `release`.
Who comes late gets the newest picture, and the others count as lost. A camera has `buffers(fps)` buffers: who holds them all
gets no more pictures. A camera that goes away raises `camera_lost` and is not mended in place: the process ends and is started
again.

Codes: no_camera, several_cameras, mode_refused, camera_in_use, camera_library, camera_lost; camera_fails for all else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from privacy.errors import MediaError
from privacy.frames import Frame

WAIT_S = 5.0
"""The longest that `capture` waits for a picture."""
_HELD_S = 1.2


class Camera(Protocol):
    width: int
    height: int
    model: str
    lost: int
    """Pictures that should have come between two that did."""
    night: bool | None
    """None where the source does not tell of its light."""

    def open(self) -> None: ...

    def capture(self) -> Frame: ...

    def close(self) -> None: ...


def buffers(fps: int) -> int:
    """How many buffers a camera needs: as many as the delay line holds frames, and four that are filled meanwhile."""
    return round(fps * _HELD_S) + 4


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

"""The camera port. Adapters: `drivers.pi_camera` (picamera2) and `drivers.video` (a file that plays camera).

An implementer promises: nothing is opened before `open`; `capture` blocks until the next picture, gives each picture once,
in order, as one I420 buffer that nobody else writes to until its `release`; None means that the source has ended; what
cannot be opened raises `MediaError` with a stable code, and may be tried again; a camera that goes away raises it too and is
not mended in place: the process ends and is started again.
"""

from __future__ import annotations

from typing import Protocol

from privacy.frames import Frame


class Camera(Protocol):
    width: int
    height: int
    model: str
    lost: int
    """Pictures that should have come between two that did."""
    night: bool | None
    """None where the source does not tell of its light."""

    def open(self) -> None: ...

    def capture(self) -> Frame | None: ...

    def close(self) -> None: ...

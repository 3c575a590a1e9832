"""The Pi's camera through picamera2: one YUV420 stream, pulled request by request.

Pulled, never masked in `pre_callback`: there a raised error would leave the unmasked frame fetchable (docs/decisions/0002).
The request's own buffer is the frame, with its stride; it goes back to the camera when the frame is released, so there
must be more buffers than the delay line holds frames. Not thread-safe: one thread captures. Once the camera is gone no
call into it may be trusted to return: the process ends and is started again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import numpy as np

from privacy.errors import MediaError
from privacy.frames import Frame, Plane

_WAIT_S = 5.0
_HELD_S = 1.2


class PiCamera:
    """The first camera that libcamera finds. width, height: even; fps: frames a second."""

    model = "picamera2"

    def __init__(self, width: int, height: int, fps: int) -> None:
        self.width, self.height, self._fps = width, height, fps
        self._camera: Any = None
        self._stride = 0
        self._index = 0

    def open(self) -> None:
        try:
            from picamera2 import Picamera2
        except ImportError as problem:
            raise MediaError(
                f"picamera2: cannot be imported: {problem}", "apt install python3-libcamera, then make setup-pi"
            ) from problem
        try:
            self._camera = Picamera2()
        except (RuntimeError, IndexError) as problem:
            raise MediaError(f"picamera2: no camera: {problem}", "check the cable; `rpicam-hello --list-cameras`") from problem
        self.model = str(self._camera.camera_properties.get("Model", "picamera2"))
        self._configure()
        self._camera.start()

    def _configure(self) -> None:
        size = {"size": (self.width, self.height), "format": "YUV420"}
        # No second stream and no raw one: neither exists in any interface (R14).
        configuration = self._camera.create_video_configuration(
            main=size, raw=None, buffer_count=round(self._fps * _HELD_S) + 4, controls={"FrameRate": float(self._fps)}
        )
        self._camera.configure(configuration)
        stream = self._camera.camera_configuration()["main"]
        if tuple(stream["size"]) != (self.width, self.height) or stream["format"] != "YUV420":
            raise MediaError(
                f"picamera2: gives {stream['size']} {stream['format']}, not {self.width}x{self.height} YUV420",
                "choose camera.width and camera.height from `rpicam-hello --list-cameras`",
            )
        self._stride = int(stream["stride"])

    def capture(self) -> Frame:
        try:
            request = self._camera.capture_request(wait=_WAIT_S)
        except TimeoutError as problem:
            raise MediaError(f"picamera2: no picture for {_WAIT_S:.0f} s", "check the camera's cable and power") from problem
        now, wall = time.monotonic_ns(), time.time_ns()
        exposed = int(request.get_metadata().get("SensorTimestamp", now))
        mapped = _Mapped(request, self._stride, self.height)
        index, self._index = self._index, self._index + 1
        wall_ns = wall - max(0, now - exposed)
        return Frame(mapped.buffer, self.width, self.height, index, exposed, wall_ns, mapped.release)

    def close(self) -> None:
        if self._camera is not None:
            self._camera.stop()
            self._camera.close()
            self._camera = None


class _Mapped:
    """A request whose buffer stays mapped until it is released."""

    def __init__(self, request: Any, stride: int, height: int) -> None:
        from picamera2.request import _MappedBuffer

        self._request = request
        self._mapping = _MappedBuffer(request, "main")
        memory = self._mapping.__enter__()
        rows = height * 3 // 2
        self.buffer: Plane = np.frombuffer(memory, np.uint8)[: rows * stride].reshape(rows, stride)

    def release(self) -> None:
        # The Pi's allocator only ends the processor's access here. libcamera's own one unmaps, which Python refuses while our
        # view lives; the memory then goes with the view. In any case the camera gets its buffer back, or it would run dry.
        with suppress(BufferError):
            self._mapping.__exit__(None, None, None)
        self._request.release()

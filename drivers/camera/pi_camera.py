"""The Pi's camera through picamera2: one YUV420 stream, captured request by request.

Masking is not done in picamera2's `pre_callback`: an exception there would leave the unmasked frame available to other callers
(docs/decisions/0002). The frame uses the request's own buffer, with its stride; the buffer goes back to the camera when the frame
is released, so the camera needs more buffers than the delay line holds frames. Not thread-safe: one thread captures. When the
camera has failed, calls into it may block for ever: the process ends and is started again.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from drivers.camera.exposure import Exposure, Light
from drivers.camera.port import MOST_BROKEN, WAIT_S, BorrowedBuffer, Stamps, buffers, in_use, not_open
from drivers.camera.sensor_modes import Mode, choose
from privacy.errors import MediaError
from privacy.masking.frames import Frame, Plane

_CABLE = "check the camera's cable and power, with the power off; `rpicam-hello --list-cameras`"
_MEMORY = "lower camera.fps or camera.width, or give cma= more memory"


class PiCamera:
    """One of the cameras that libcamera finds.

    width, height   pixels, even
    fps             frames per second
    number          index in libcamera's list; None if there is only one camera
    rotation        0 or 180 degrees
    """

    model = "picamera2"

    def __init__(self, width: int, height: int, fps: int, number: int | None = None, rotation: int = 0) -> None:
        self.width, self.height, self._fps = width, height, fps
        self._number, self._rotation = number, rotation
        self._camera: Any = None
        self._stride = 0
        self._begin()

    def _begin(self) -> None:
        """Reset counters, time stamps and exposure state, as after opening."""
        self._index = self._exposed_ns = self.lost = self.broken = 0
        self._stamps = Stamps()
        self._exposure, self._metered_s = Exposure(), 0.0
        self.night: bool | None = None
        self.exposure_us: int | None = None
        self.gain: float | None = None

    def open(self) -> None:
        if self._camera is not None:
            raise in_use("picamera2")
        picamera2 = library()
        number = which(picamera2.global_camera_info(), self._number)
        try:
            self._camera = picamera2(number)
        except (RuntimeError, IndexError) as problem:
            why = problem.__cause__ or problem
            if "busy" in str(why):
                raise in_use(f"picamera2: camera {number}") from problem
            raise MediaError(f"picamera2: camera {number}: {why}", _CABLE, "no_camera") from problem
        self.model = str(self._camera.camera_properties.get("Model", "picamera2"))
        try:
            self._configure()
            self._camera.start()
        except (RuntimeError, OSError) as problem:
            self.close()
            if isinstance(problem, MediaError):
                raise
            raise MediaError(f"picamera2: camera {number} does not start: {problem}", _MEMORY, "mode_refused") from problem
        self._begin()

    def _configure(self) -> None:
        mode = choose(Mode.read_all(self._camera.sensor_modes), self.width, self.height, self._fps)
        # Only the main stream: no interface of Lykta has a second or a raw stream (R14).
        wanted = buffers(self._fps)
        configuration = self._camera.create_video_configuration(
            main={"size": (self.width, self.height), "format": "YUV420"},
            raw=None,
            sensor={"output_size": mode.size, "bit_depth": mode.bits},
            transform=_transform(self._rotation),
            buffer_count=wanted,
            controls={"FrameRate": float(self._fps)},
        )
        self._camera.configure(configuration)
        stream = self._camera.camera_configuration()["main"]
        if tuple(stream["size"]) != (self.width, self.height) or stream["format"] != "YUV420":
            raise MediaError(
                f"picamera2: gives {stream['size']} {stream['format']}, not {self.width}x{self.height} YUV420",
                "choose camera.width and camera.height from `rpicam-hello --list-cameras`",
                "mode_refused",
            )
        given = len(self._camera.allocator.buffers(self._camera.stream_map["main"]))
        if given < wanted - 2:
            # The delay line would hold all buffers, and the camera would have none left to fill.
            raise MediaError(f"picamera2: gives {given} buffers of {wanted}", _MEMORY, "mode_refused")
        self._stride = int(stream["stride"])

    def capture(self) -> Frame:
        for _ in range(MOST_BROKEN):
            request = self._request()
            now, wall = time.monotonic_ns(), time.time_ns()
            metadata = request.get_metadata()
            exposed = metadata.get("SensorTimestamp", now)
            flaw = self._stamps.flaw(exposed, now)
            mapped = None if flaw else _Mapped.of(request, self._stride, self.height)
            if mapped:
                return self._frame(mapped, metadata, exposed, wall - max(0, now - exposed))
            self.broken += 1
            request.release()
        raise MediaError(
            f"picamera2: {MOST_BROKEN} broken pictures in a row: {flaw or 'the buffer is too short'}", _CABLE, "camera_lost"
        )

    def _request(self) -> Any:
        """The next completed request of libcamera; `MediaError` (camera_lost) after `WAIT_S`."""
        if self._camera is None:
            raise not_open("picamera2")
        try:
            return self._camera.capture_request(wait=WAIT_S)
        except TimeoutError as problem:
            # Otherwise the pending job blocks every later one, also closing the camera.
            self._camera.cancel_all_and_flush()
            raise MediaError(f"picamera2: no picture for {WAIT_S:.0f} s", _CABLE, "camera_lost") from problem

    def _frame(self, mapped: _Mapped, metadata: Mapping[str, Any], exposed_ns: int, wall_ns: int) -> Frame:
        self._count(exposed_ns)
        self._meter(metadata, exposed_ns / 1e9)
        index, self._index = self._index, self._index + 1
        return Frame(mapped.buffer, self.width, self.height, index, exposed_ns, wall_ns, BorrowedBuffer(mapped.release).release)

    def _count(self, exposed_ns: int) -> None:
        """Count the pictures that are missing between the last exposure and this one."""
        if self._exposed_ns:
            self.lost += max(0, round((exposed_ns - self._exposed_ns) * self._fps / 1e9) - 1)
        self._exposed_ns = exposed_ns

    def _meter(self, metadata: Mapping[str, Any], mono_s: float) -> None:
        """Once a second, pass the picture's exposure metadata to `Exposure` and set the controls. A camera without this metadata
        keeps its own automatic exposure."""
        if mono_s - self._metered_s < 1.0:
            return
        lux, gain, exposure_us = (_number(metadata, name) for name in ("Lux", "AnalogueGain", "ExposureTime"))
        if lux is None or gain is None or exposure_us is None:
            return
        self._metered_s, self.exposure_us, self.gain = mono_s, int(exposure_us), round(gain, 2)
        advice = self._exposure.see(Light(mono_s, int(exposure_us), gain, lux))
        self.night = self._exposure.night
        if advice == "lock":
            self._camera.set_controls(
                {"AeEnable": False, "AwbEnable": False, "ExposureTime": int(exposure_us), "AnalogueGain": gain}
            )
        elif advice == "meter":
            self._camera.set_controls({"AeEnable": True, "AwbEnable": True})

    def close(self) -> None:
        """May block for ever if the camera has failed: do not call it on a thread that is joined without a time limit."""
        if self._camera is not None:
            self._camera.stop()
            self._camera.close()
            self._camera = None


def which(found: Sequence[Mapping[str, Any]], number: int | None) -> int:
    """Index of the camera to open. found: picamera2's `global_camera_info()`; number: the configured index, or None."""
    names = ", ".join(f"{one.get('Num', place)} {one.get('Model', '?')}" for place, one in enumerate(found))
    if not found:
        raise MediaError("picamera2: no camera found", _CABLE, "no_camera")
    if number is None and len(found) > 1:
        raise MediaError(f"camera: number: required, there are {len(found)}: {names}", "set camera.number", "several_cameras")
    if number is not None and number >= len(found):
        raise MediaError(f"camera: number: there is no camera {number}: {names}", "set camera.number", "no_camera")
    return number or 0


def library() -> Any:
    """The class `Picamera2`. Its preview windows need kms++, which only Raspberry Pi OS has and a node does not use, so that
    module is replaced by a stub if it is missing."""
    if "pykms" not in sys.modules and find_spec("pykms") is None:
        sys.modules["pykms"] = _NoPreviews("pykms")
    try:
        from picamera2 import Picamera2
    except ImportError as problem:
        raise MediaError(
            f"picamera2: cannot be imported: {problem}", "apt install python3-libcamera, then make setup-pi", "camera_library"
        ) from problem
    return Picamera2


class _NoPreviews(ModuleType):
    """Stub for pykms: picamera2 refers to its names at import, and calls them only for a preview on a screen."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _NoPreviews(name)


def _transform(rotation: int) -> Any:
    from libcamera import Transform

    return Transform(hflip=1, vflip=1) if rotation else Transform()


def _number(metadata: Mapping[str, Any], name: str) -> float | None:
    """A finite, non-negative number from the metadata; None if there is none."""
    value = metadata.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value >= 0 else None


class _Mapped:
    """A request of libcamera whose buffer stays mapped into memory until `release`."""

    def __init__(self, request: Any, mapping: Any, buffer: Plane) -> None:
        self._request, self._mapping, self.buffer = request, mapping, buffer

    @classmethod
    def of(cls, request: Any, stride: int, height: int) -> _Mapped | None:
        """Map the buffer of a request; None if it is shorter than the picture."""
        from picamera2.request import _MappedBuffer

        mapping = _MappedBuffer(request, "main")
        memory, rows = mapping.__enter__(), height * 3 // 2
        if len(memory) < rows * stride:
            mapping.__exit__(None, None, None)
            return None
        return cls(request, mapping, np.frombuffer(memory, np.uint8, rows * stride).reshape(rows, stride))

    def release(self) -> None:
        self._mapping.__exit__(None, None, None)
        self._request.release()

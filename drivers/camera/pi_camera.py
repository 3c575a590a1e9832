"""The Pi's camera through picamera2: one YUV420 stream, pulled request by request.

Pulled, never masked in `pre_callback`: there a raised error would leave the unmasked frame fetchable (docs/decisions/0002).
The request's own buffer is the frame, with its stride; it goes back to the camera when the frame is released, so there
must be more buffers than the delay line holds frames. Not thread-safe: one thread captures. Once the camera is gone no
call into it may be trusted to return: the process ends and is started again.
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
from drivers.camera.port import MOST_BROKEN, WAIT_S, Loan, Stamps, buffers, in_use, not_open
from drivers.camera.sensor_modes import Mode, choose
from privacy.errors import MediaError
from privacy.masking.frames import Frame, Plane

_CABLE = "check the camera's cable and power, with the power off; `rpicam-hello --list-cameras`"
_MEMORY = "lower camera.fps or camera.width, or give cma= more memory"


class PiCamera:
    """One of the cameras that libcamera finds. width, height: even; fps: frames a second; rotation: 0 or 180 degrees."""

    model = "picamera2"

    def __init__(self, width: int, height: int, fps: int, number: int | None = None, rotation: int = 0) -> None:
        self.width, self.height, self._fps = width, height, fps
        self._number, self._rotation = number, rotation
        self._camera: Any = None
        self._stride = 0
        self._begin()

    def _begin(self) -> None:
        """What is known of a camera that has just been opened: nothing yet."""
        self._index = self._exposed_ns = self.lost = self.broken = 0
        self._stamps = Stamps()
        self._exposure, self._metered_s = Exposure(), 0.0
        self.night: bool | None = None

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
        # No second stream and no raw one: neither exists in any interface (R14).
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
            # The delay line would hold them all, and the camera run dry.
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
        """The next picture as libcamera gives it."""
        if self._camera is None:
            raise not_open("picamera2")
        try:
            return self._camera.capture_request(wait=WAIT_S)
        except TimeoutError as problem:
            # Else what we asked for stands before everything that is asked of it afterwards, closing included.
            self._camera.cancel_all_and_flush()
            raise MediaError(f"picamera2: no picture for {WAIT_S:.0f} s", _CABLE, "camera_lost") from problem

    def _frame(self, mapped: _Mapped, metadata: Mapping[str, Any], exposed_ns: int, wall_ns: int) -> Frame:
        self._count(exposed_ns)
        self._meter(metadata, exposed_ns / 1e9)
        index, self._index = self._index, self._index + 1
        return Frame(mapped.buffer, self.width, self.height, index, exposed_ns, wall_ns, Loan(mapped.release).release)

    def _count(self, exposed_ns: int) -> None:
        if self._exposed_ns:
            self.lost += max(0, round((exposed_ns - self._exposed_ns) * self._fps / 1e9) - 1)
        self._exposed_ns = exposed_ns

    def _meter(self, metadata: Mapping[str, Any], mono_s: float) -> None:
        """Once a second: what the sensor says of the light. A camera that says nothing of it is left to its own devices."""
        if mono_s - self._metered_s < 1.0:
            return
        lux, gain, exposure_us = (_number(metadata, name) for name in ("Lux", "AnalogueGain", "ExposureTime"))
        if lux is None or gain is None or exposure_us is None:
            return
        self._metered_s = mono_s
        advice = self._exposure.see(Light(mono_s, int(exposure_us), gain, lux))
        self.night = self._exposure.night
        if advice == "lock":
            self._camera.set_controls(
                {"AeEnable": False, "AwbEnable": False, "ExposureTime": int(exposure_us), "AnalogueGain": gain}
            )
        elif advice == "meter":
            self._camera.set_controls({"AeEnable": True, "AwbEnable": True})

    def close(self) -> None:
        """May never return if the camera is gone: never on a thread that somebody waits for without end."""
        if self._camera is not None:
            self._camera.stop()
            self._camera.close()
            self._camera = None


def which(found: Sequence[Mapping[str, Any]], number: int | None) -> int:
    """The camera to open, out of picamera2's `global_camera_info()`."""
    names = ", ".join(f"{one.get('Num', place)} {one.get('Model', '?')}" for place, one in enumerate(found))
    if not found:
        raise MediaError("picamera2: there is no camera", _CABLE, "no_camera")
    if number is None and len(found) > 1:
        raise MediaError(f"camera: number: must be said, there are {len(found)}: {names}", "set camera.number", "several_cameras")
    if number is not None and number >= len(found):
        raise MediaError(f"camera: number: there is no camera {number}: {names}", "set camera.number", "no_camera")
    return number or 0


def library() -> Any:
    """picamera2's class. Its previews need kms++, which only Raspberry Pi OS has; a node shows no preview."""
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
    """Names that picamera2 mentions when it is imported, and calls only for a preview on a screen."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _NoPreviews(name)


def _transform(rotation: int) -> Any:
    from libcamera import Transform

    return Transform(hflip=1, vflip=1) if rotation else Transform()


def _number(metadata: Mapping[str, Any], name: str) -> float | None:
    """A finite number that is not negative; None where the camera does not say it."""
    value = metadata.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value >= 0 else None


class _Mapped:
    """A request whose buffer stays mapped until it is released."""

    def __init__(self, request: Any, mapping: Any, buffer: Plane) -> None:
        self._request, self._mapping, self.buffer = request, mapping, buffer

    @classmethod
    def of(cls, request: Any, stride: int, height: int) -> _Mapped | None:
        """None if the buffer is shorter than the picture."""
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

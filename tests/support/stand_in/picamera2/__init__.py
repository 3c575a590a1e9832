"""picamera2's calls as `drivers.camera.pi_camera` makes them, for a camera that is broken in one way: LYKTA_CAMERA_FLAW names it.

LYKTA_CAMERA_FLAW   equal, back, zero, none, text: stamps; short: buffers; repeats: the same picture for ever; dark: the same
                    black picture; "": a sound camera, noise and all
LYKTA_CAMERA_EVERY  every how many pictures the flaw shows; 1: always
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

FPS = 15
FLAW, EVERY = os.environ.get("LYKTA_CAMERA_FLAW", ""), int(os.environ.get("LYKTA_CAMERA_EVERY", "1"))
Metadata = dict[str, Any]


class Request:
    """One picture. Its buffer is filled before it is handed out and stays the caller's until its release."""

    def __init__(self, metadata: Metadata, memory: bytearray) -> None:
        self._metadata, self.memory = metadata, memory

    def get_metadata(self) -> Metadata:
        return self._metadata

    def release(self) -> None:
        pass


class _Allocator:
    def buffers(self, _stream: object) -> list[int]:
        return list(range(64))


class Picamera2:
    camera_properties = {"Model": "imx708"}  # noqa: RUF012 - as picamera2 has it
    sensor_modes = [{"size": (2304, 1296), "bit_depth": 10, "fps": 56.0, "crop_limits": (0, 0, 4608, 2592)}]  # noqa: RUF012
    stream_map = {"main": "main"}  # noqa: RUF012
    allocator = _Allocator()

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return [{"Num": 0, "Model": "imx708"}]

    def __init__(self, _number: int) -> None:
        self._count, self._due, self._stamp = 0, 0.0, 0
        self._noise = np.random.default_rng(1)

    def create_video_configuration(self, main: dict[str, Any], **_others: Any) -> dict[str, Any]:
        return {"main": main | {"stride": main["size"][0]}}

    def configure(self, configuration: dict[str, Any]) -> None:
        self._configuration = configuration

    def camera_configuration(self) -> dict[str, Any]:
        return self._configuration

    def start(self) -> None:
        self._due = time.monotonic()

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass

    def set_controls(self, _controls: dict[str, Any]) -> None:
        pass

    def capture_request(self, wait: float) -> Request:
        time.sleep(min(wait, max(0.0, self._due - time.monotonic())))
        self._due += 1 / FPS
        self._count += 1
        flaw = FLAW if self._count % EVERY == 0 else ""
        return Request(self._stamped(flaw), self._picture(flaw))

    def _stamped(self, flaw: str) -> Metadata:
        before, now = self._stamp, time.monotonic_ns()
        stamp: Any = {"equal": before, "back": before - 40_000_000, "zero": 0, "none": None, "text": "soon"}.get(flaw, now)
        self._stamp = now if stamp == now else before
        return {"SensorTimestamp": stamp, "Lux": float("nan"), "ExposureTime": None}

    def _picture(self, flaw: str) -> bytearray:
        width, height = self._configuration["main"]["size"]
        picture = np.full((height * 3 // 2, width), 128, np.uint8)
        picture[:height] = 16 if flaw == "dark" else np.linspace(60, 200, width).astype(np.uint8)
        if flaw not in ("dark", "repeats"):
            picture[:height] += self._noise.integers(0, 4, (height, width), np.uint8)
        return bytearray(picture.tobytes()[: -width if flaw == "short" else None])

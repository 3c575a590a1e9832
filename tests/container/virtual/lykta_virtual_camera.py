"""What libcamera's virtual pipeline cannot do, stood in for around stock picamera2. Loaded by a .pth file; test only.

It has no raw role, so the sensor's modes are those of its view finder; it knows neither the Pi's allocator nor YUV420, so an
NV12 buffer, which has the same size and the same brightness, is handed out by that name. The driver is not touched.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import mmap
import sys
from types import ModuleType
from typing import Any


def stand_in(picamera2: ModuleType) -> None:
    import libcamera
    from picamera2.allocators.allocator import Allocator, Sync

    class Kept(Sync):  # type: ignore[misc]
        """Memory stays mapped, as with the Pi's allocator."""

        def __init__(self, allocator: ManyBuffers, buffer: Any, _write: bool) -> None:
            self._memory = allocator.mapped[buffer.planes[0].fd]

        def __enter__(self) -> mmap.mmap:
            return self._memory

        def __exit__(self, *_problem: object) -> None:
            pass

    class ManyBuffers(Allocator):  # type: ignore[misc]
        """The pipeline gives four buffers at a time, whatever it is asked for: several times four."""

        def __init__(self, camera: Any) -> None:
            super().__init__()
            self.camera, self.sync, self.mapped = camera, Kept, dict[int, mmap.mmap]()

        def allocate(self, libcamera_config: Any, _use: Any) -> None:
            (stream,) = [one.stream for one in libcamera_config]
            self._shares = [libcamera.FrameBufferAllocator(self.camera) for _ in range(6)]
            if any(share.allocate(stream) < 0 for share in self._shares):
                raise RuntimeError("Failed to allocate buffers.")  # picamera2's own words
            for buffer in self.buffers(stream):
                size = sum(plane.length for plane in buffer.planes)
                self.mapped[buffer.planes[0].fd] = mmap.mmap(buffer.planes[0].fd, size)

        def buffers(self, stream: Any) -> list[Any]:
            return [buffer for share in self._shares for buffer in share.buffers(stream)]

    class VirtualPicamera2(picamera2.Picamera2):  # type: ignore[misc, name-defined]
        @property
        def sensor_modes(self) -> list[dict[str, Any]]:
            return [mode | {"bit_depth": 8, "fps": 30.0, "crop_limits": (0, 0, *mode["size"])} for mode in self._get_raw_modes()]

        def _get_raw_modes(self) -> list[dict[str, Any]]:
            found = self.camera.generate_configuration([libcamera.StreamRole.Viewfinder]).at(0).formats
            sizes = [(str(kind), (size.width, size.height)) for kind in found.pixel_formats for size in found.sizes(kind)]
            return [{"format": kind, "size": size} for kind, size in sizes]

        def create_video_configuration(self, main: dict[str, Any] | None = None, **words: Any) -> dict[str, Any]:
            made: dict[str, Any]
            if main is None:  # picamera2's own, while it is made
                made = super().create_video_configuration(**words)
                return made
            if words.pop("raw") is not None or main["format"] != "YUV420":
                raise AssertionError("one stream, YUV420, and no raw one (R14)")
            words.pop("sensor")
            self.allocator = ManyBuffers(self.camera)
            made = super().create_video_configuration(main | {"format": "NV12"}, raw=None, **words)
            return made

        def camera_configuration(self) -> dict[str, Any]:
            found: dict[str, Any] = super().camera_configuration()
            return found | {"main": found["main"] | {"format": "YUV420"}}

    picamera2.Picamera2 = VirtualPicamera2  # type: ignore[attr-defined]


class Finder(importlib.abc.MetaPathFinder):
    """Stands in as soon as picamera2 is imported, and not before: nothing else pays for it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "picamera2":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def loaded(module: ModuleType) -> None:
            load(module)
            stand_in(module)

        spec.loader.exec_module = loaded  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Finder())

"""A video file in place of a camera, selected by `camera.source = "file"`: for the demo, tests and acceptance on site.

The file plays in a loop, in real time, at the configured frame rate. It behaves like a camera (`drivers.camera.port`): it refuses
a size that the file does not have, a second user in the same process, and more pictures at once than it has buffers. Several
processes may play the same file.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from drivers.camera.port import WAIT_S, BorrowedBuffer, buffers, in_use, not_open
from drivers.camera.sensor_modes import Mode, choose
from drivers.media.video import SECOND, VideoFile
from privacy.errors import MediaError
from privacy.masking.frames import Frame


class FileCamera:
    """width, height: pixels, even; fps: pictures per second, independent of the file's own rate; rotation: 0 or 180 degrees."""

    model = "video file"
    broken = 0
    night: bool | None = None
    exposure_us: int | None = None
    gain: float | None = None
    _playing: ClassVar[set[Path]] = set()

    def __init__(self, path: Path, width: int, height: int, fps: int, rotation: int = 0) -> None:
        self._path, self.width, self.height, self._fps = path, width, height, fps
        self._rotation = rotation
        self._video: VideoFile | None = None
        self._buffers = threading.Semaphore(0)
        self._index = self._due_ns = self.lost = 0

    def open(self) -> None:
        if self._path in self._playing:
            raise in_use(str(self._path))
        if not self._path.exists():
            raise MediaError(f"{self._path}: no such file", "set camera.file", "no_camera")
        video = self._play()
        try:
            # The file counts as a sensor with a single mode that supports the wanted rate.
            size = (video.facts.width, video.facts.height)
            choose([Mode(size, size, 8, self._fps)], self.width, self.height, self._fps)
        except MediaError:
            video.close()
            raise
        self._playing.add(self._path)
        self._video, self._buffers = video, threading.Semaphore(buffers(self._fps))
        self._index = self._due_ns = self.lost = 0

    def capture(self) -> Frame:
        if self._video is None:
            raise not_open(str(self._path))
        filled = self._buffers
        if not filled.acquire(timeout=WAIT_S):
            raise MediaError(
                f"{self._path}: no picture for {WAIT_S:.0f} s", "release pictures: all buffers are held", "camera_lost"
            )
        picture = self._picture(self._video)
        exposed = self._expose()

        def give_back() -> None:
            picture.release()
            filled.release()

        index, self._index = self._index, self._index + 1
        wall_ns = time.time_ns() - (time.monotonic_ns() - exposed)
        return replace(picture, index=index, mono_ns=exposed, wall_ns=wall_ns, release=BorrowedBuffer(give_back).release)

    def close(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None
            self._playing.discard(self._path)

    def _play(self) -> VideoFile:
        video = VideoFile(self._path, size=(self.width, self.height), rotation=self._rotation)
        video.open()
        return video

    def _picture(self, video: VideoFile) -> Frame:
        """The next picture of the file; after the last one, or where the file is damaged, the first one again."""
        try:
            picture = video.capture()
        except MediaError:
            self.lost, picture = self.lost + 1, None
        return picture or self._again(video)

    def _again(self, video: VideoFile) -> Frame:
        video.close()
        try:
            self._video = video = self._play()
            picture = video.capture()
        except MediaError as problem:
            raise MediaError(str(problem), problem.hint, "camera_lost") from problem
        if picture is None:
            raise MediaError(f"{self._path}: no frame in it any more", "set camera.file", "camera_lost")
        return picture

    def _expose(self) -> int:
        """Wait for the next exposure; returns its monotonic time in ns. If the caller is late, all missed exposures but the newest
        count as lost."""
        step, now = SECOND // self._fps, time.monotonic_ns()
        if self._due_ns:
            missed = max(0, (now - self._due_ns) // step)
            self.lost += missed
            self._due_ns += missed * step
        exposed = self._due_ns or now
        time.sleep(max(0, exposed - now) / SECOND)
        self._due_ns = exposed + step
        return exposed

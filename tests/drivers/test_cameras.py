"""One suite over both adapters of the port `Camera`: the file that ships as a fake, and stock picamera2.

The second needs cameras: the container suite brings libcamera's virtual one, runs this file beside it and says so in
LYKTA_VIRTUAL_CAMERA, with the folder in which a file `unplugged` is a loose cable and `no-memory` is memory that is used up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from drivers.camera.file_camera import FileCamera
from drivers.camera.pi_camera import PiCamera
from drivers.camera.port import Camera, buffers
from privacy.errors import MediaError
from privacy.masking.frames import Frame

LAB = os.environ.get("LYKTA_VIRTUAL_CAMERA", "")
WIDTH, HEIGHT, FPS = 640, 480, 15
STEP_NS = 1_000_000_000 // FPS
Kind = Literal["file", "picamera2"]


class Bench:
    """Cameras of one kind, and a hand on the cable."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind, self._video = kind, folder / "bars.avi"
        self._opened: list[Camera] = []
        if kind == "file":
            film(self._video)

    def camera(self, *, width: int = WIDTH, height: int = HEIGHT, rotation: int = 0, absent: bool = False) -> Camera:
        camera: Camera
        if self.kind == "file":
            path = self._video.with_name("absent.avi") if absent else self._video
            camera = FileCamera(path, width, height, FPS, rotation)
        else:
            camera = PiCamera(width, height, FPS, 7 if absent else None, rotation)
        self._opened.append(camera)
        return camera

    def film(self) -> Camera:
        camera = self.camera()
        camera.open()
        return camera

    def unplug(self) -> None:
        if self.kind == "file":
            self._video.unlink()
        else:
            Path(LAB, "unplugged").touch()

    def end(self) -> None:
        if self.kind == "picamera2":
            for name in ("unplugged", "no-memory"):
                Path(LAB, name).unlink(missing_ok=True)
        for camera in self._opened:
            camera.close()


def film(path: Path) -> None:
    """A second of bars, the same ones in every picture."""
    import av

    levels = np.repeat(np.linspace(20, 230, 8).astype(np.uint8), WIDTH // 8)
    bars = np.vstack([np.tile(levels, (HEIGHT, 1)), np.full((HEIGHT // 2, WIDTH), 128, np.uint8)])
    bars[: HEIGHT // 4] = 90
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", FPS, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p")
        for _ in range(FPS):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(bars, "yuv420p")))


@pytest.fixture(params=["file", "picamera2"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "picamera2" and not LAB:
        pytest.skip("no camera on this machine: the container suite runs it on libcamera's virtual one")
    bench = Bench(request.param, tmp_path)
    yield bench
    bench.end()


def refused(code: str, do: Callable[[], object]) -> MediaError:
    with pytest.raises(MediaError) as problem:
        do()
    assert problem.value.code == code, problem.value
    assert problem.value.hint
    return problem.value


def place(frame: Frame) -> int:
    """Where its buffer is in memory."""
    return int(frame.buffer.__array_interface__["data"][0])


def seen(frame: Frame) -> bytes:
    return frame.planes[0].tobytes()


def lost(gaps: np.ndarray) -> int:
    """Pictures that are missing between those this far apart (ns)."""
    return int(np.maximum(0, np.rint(gaps / STEP_NS) - 1).sum())


def test_nothing_is_open_before_open_and_after_close(bench: Bench) -> None:
    camera = bench.camera()
    camera.close()
    with pytest.raises(MediaError, match="not open"):
        camera.capture()
    camera.open()
    camera.capture().release()
    camera.close()
    camera.close()
    with pytest.raises(MediaError, match="not open"):
        camera.capture()


def test_a_picture_is_one_i420_buffer_to_paint_into(bench: Bench) -> None:
    camera = bench.film()
    assert camera.model
    assert (camera.width, camera.height) == (WIDTH, HEIGHT)
    frame = camera.capture()
    assert frame.buffer.dtype == np.uint8
    assert frame.buffer.flags.c_contiguous
    assert frame.buffer.shape[0] == HEIGHT * 3 // 2
    assert frame.buffer.shape[1] >= frame.width == WIDTH
    luma = frame.planes[0]
    assert np.ptp(luma[-1].astype(int)) > 100, "bars are seen"
    luma[:10], frame.planes[1][:5] = 16, 128
    assert (frame.planes[0][:10] == 16).all()
    frame.release()


def test_pictures_come_in_order_each_once_with_the_moment_of_exposure(bench: Bench) -> None:
    camera = bench.film()
    frames = []
    for _ in range(2 * FPS):
        frames.append(camera.capture())
        assert frames[-1].mono_ns <= time.monotonic_ns()
        assert abs((time.time_ns() - time.monotonic_ns()) - (frames[-1].wall_ns - frames[-1].mono_ns)) < 1_000_000_000
        frames[-1].release()
    assert [frame.index for frame in frames] == list(range(2 * FPS))
    steps = np.diff([frame.mono_ns for frame in frames])
    assert (steps > 0).all()
    assert camera.lost == lost(steps), "those that this machine was too slow for"


def test_a_picture_is_left_alone_until_it_is_released(bench: Bench) -> None:
    camera = bench.film()
    held = camera.capture()
    held.planes[0][:] = 77
    for _ in range(2 * buffers(FPS)):
        camera.capture().release()
    assert (held.planes[0] == 77).all()
    held.release()


def test_the_delay_line_gets_its_frames_and_nobody_gets_more_than_there_are(bench: Bench) -> None:
    camera = bench.film()
    held: list[Frame] = []

    def hold_all() -> None:
        while len(held) < 2 * buffers(FPS):
            held.append(camera.capture())

    problem = refused("camera_lost", hold_all)
    for frame in held:
        frame.release()
    assert "no picture for 5 s" in str(problem)
    assert len(held) >= round(FPS * 1.2)
    assert len({place(frame) for frame in held}) == len(held)


def test_a_picture_is_released_once(bench: Bench) -> None:
    camera = bench.film()
    frame = camera.capture()
    frame.release()
    with pytest.raises(MediaError, match="released twice"):
        frame.release()
    one, other = camera.capture(), camera.capture()
    assert place(one) != place(other)
    one.release()
    other.release()


def test_who_comes_late_gets_the_newest_and_the_others_are_lost(bench: Bench) -> None:
    camera = bench.film()
    first = camera.capture()
    first.release()
    before = camera.lost
    time.sleep(10 * STEP_NS / 1e9)
    late = camera.capture()
    assert late.index == first.index + 1
    assert camera.lost - before >= 7
    assert camera.lost - before == lost(np.array([late.mono_ns - first.mono_ns]))
    late.release()


def test_a_camera_has_one_user(bench: Bench) -> None:
    camera = bench.film()
    refused("camera_in_use", camera.open)
    refused("camera_in_use", bench.camera().open)
    camera.capture().release()
    camera.close()
    bench.film().capture().release()


def test_opened_again_it_counts_anew(bench: Bench) -> None:
    camera = bench.film()
    for _ in range(3):
        camera.capture().release()
    camera.close()
    camera.open()
    frame = camera.capture()
    assert (frame.index, camera.lost) == (0, 0)
    frame.release()


def test_a_picture_outlives_its_camera(bench: Bench) -> None:
    """The delay line empties itself after the camera was closed."""
    camera = bench.film()
    frame = camera.capture()
    before = seen(frame)
    camera.close()
    assert seen(frame) == before
    frame.release()


def test_a_size_it_does_not_have_is_refused_each_time_and_nothing_is_held(bench: Bench) -> None:
    camera = bench.camera(width=1920, height=1080)
    for _ in range(2):
        problem = refused("mode_refused", camera.open)
        assert "1920x1080" in str(problem)
    bench.film().capture().release()


def test_without_memory_for_its_buffers_it_is_refused_and_nothing_is_held(bench: Bench) -> None:
    if bench.kind == "file":
        pytest.skip("a file takes memory as it plays")
    Path(LAB, "no-memory").touch()
    camera = bench.camera()
    for _ in range(2):
        assert "does not start" in str(refused("mode_refused", camera.open))
    Path(LAB, "no-memory").unlink()
    camera.open()
    camera.capture().release()


def test_a_camera_that_is_not_there_is_refused_each_time(bench: Bench) -> None:
    camera = bench.camera(absent=True)
    for _ in range(2):
        refused("no_camera", camera.open)
    bench.film().capture().release()


def test_a_cable_that_comes_loose_ends_it(bench: Bench) -> None:
    camera = bench.film()
    camera.capture().release()
    bench.unplug()

    def go_on() -> None:
        for _ in range(3 * FPS):
            camera.capture().release()

    refused("camera_lost", go_on)


def test_a_file_is_turned_as_a_sensor_would_be(tmp_path: Path) -> None:
    """Beside the contract: libcamera's virtual camera takes no notice of an orientation."""
    bench = Bench("file", tmp_path)
    upright, turned = bench.film(), bench.camera(rotation=180)
    expected = seen(upright.capture())[::-1]
    upright.close()
    turned.open()
    assert seen(turned.capture()) == expected
    bench.end()

"""One suite over both encoders that FFmpeg brings us: libx264, and the chip's through h264_v4l2m2m.

The second needs /dev/video11. A Pi 4 has it; here it is a stand-in below stock FFmpeg (`support/chip`), under which this file runs
itself once more, and a whole camera service films.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from drivers.media.encoder import H264Encoder, Mp4Writer, Packet
from privacy.errors import MediaError
from privacy.masking.delay import Verdict
from privacy.masking.frames import Frame, MaskedFrame
from privacy.masking.masker import Masker
from tests.support import scenes
from tests.support.broker import PATIENCE
from tests.support.nodes import BIN, PROJECT, Node, stop, until

WIDTH, HEIGHT, FPS, STEP_NS = 640, 480, 10, 100_000_000
BEGIN_NS = 7_123_456_789
CHIP = "LYKTA_ENCODER_CHIP"
Make = Callable[..., H264Encoder]
CASES = ["h264_v4l2m2m"] if CHIP in os.environ else ["libx264"]


@pytest.fixture(params=CASES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes an encoder of the kind that is asked of."""
    device = Path("/dev/video11") if CHIP in os.environ else tmp_path / "none"

    def encoder(width: int = WIDTH, height: int = HEIGHT, fps: float = FPS) -> H264Encoder:
        made = H264Encoder(width, height, fps, bitrate=1_000_000, device=device)
        assert made.name == request.param, made.refusal
        return made

    return encoder


def picture(index: int, width: int = WIDTH, height: int = HEIGHT, stride: int = 0) -> MaskedFrame:
    """Waves that move: another picture each time."""
    rows, columns = np.mgrid[0 : height * 3 // 2, 0 : stride or width]
    buffer = (125 + 90 * np.sin((rows + 2 * columns) / 60 + index / 2)).astype(np.uint8)
    buffer[height:] = 128
    frame = Frame(buffer, width, height, index, BEGIN_NS + index * STEP_NS, 0)
    return Masker(width, height, None).mask(frame, Verdict())


def coded(encoder: H264Encoder, count: int) -> list[Packet]:
    packets: list[Packet] = []
    for index in range(count):
        new = encoder.encode(picture(index))
        assert len(new) <= 1
        packets += new
    return packets + encoder.end()


def shown(packets: list[Packet]) -> list[np.ndarray]:
    """Luma of what a player shows of packets that begin with a key picture."""
    with av.open(io.BytesIO(b"".join(packet.data for packet in packets)), format="h264") as container:
        planes = [native.planes[0] for native in container.decode(video=0)]
    return [np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[:, : plane.width] for plane in planes]


def test_each_picture_becomes_one_packet_with_its_own_moment(make: Make) -> None:
    packets = coded(make(), 25)
    assert [packet.mono_ns for packet in packets] == [BEGIN_NS + index * STEP_NS for index in range(25)]
    assert [packet.pts for packet in packets] == [index * 9000 for index in range(25)]
    assert [packet.dts for packet in packets] == [packet.pts for packet in packets]


def test_what_is_shown_is_what_was_given(make: Make) -> None:
    pictures = shown(coded(make(), 25))
    assert len(pictures) == 25
    for index, seen in enumerate(pictures):
        given = picture(index).buffer[:HEIGHT].astype(int)
        assert seen.shape == given.shape
        assert np.abs(seen.astype(int) - given).mean() < 6


def test_a_key_picture_a_second_from_which_alone_a_clip_can_begin(make: Make, tmp_path: Path) -> None:
    packets = coded(make(), 35)
    keys = [number for number, packet in enumerate(packets) if packet.key]
    assert keys == [0, 10, 20, 30]
    for key in keys:
        writer = Mp4Writer(tmp_path / f"{key}.mp4", FPS)
        for packet in packets[key:]:
            writer.write(packet)
        writer.close()
        with av.open(str(tmp_path / f"{key}.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) == 35 - key


@pytest.mark.parametrize("fps", [5, 15, 30])
def test_moments_survive_the_clocks_of_all_between(make: Make, fps: int) -> None:
    """90 kHz here, microseconds in the kernel; a sensor's pictures are never quite as far apart as they should be."""
    encoder, mask = make(fps=fps), Masker(WIDTH, HEIGHT, None)
    moments = [BEGIN_NS + round(index * 1e9 / fps) + index * 7919 % 100_003 for index in range(40)]
    got: list[Packet] = []
    for index, moment in enumerate(moments):
        frame = scenes.picture(index, fps, width=WIDTH, height=HEIGHT)
        got += encoder.encode(mask.mask(Frame(frame.buffer, WIDTH, HEIGHT, index, moment, 0), Verdict()))
    assert [packet.mono_ns for packet in got + encoder.end()] == moments


def test_a_buffer_is_the_cameras_again_once_it_was_read(make: Make) -> None:
    """Promise 1: what is painted over a picture after its turn is in no packet."""
    encoder, packets = make(), list[Packet]()
    for index in range(12):
        masked = picture(index)
        packets += encoder.encode(masked)
        masked.buffer[:] = 235
    pictures = shown(packets + encoder.end())
    assert len(pictures) == 12
    for index, seen in enumerate(pictures):
        assert np.abs(seen.astype(int) - picture(index).buffer[:HEIGHT].astype(int)).mean() < 6


def test_another_size_and_another_kind_are_refused(make: Make) -> None:
    encoder = make()
    with pytest.raises(MediaError, match="encoder: a picture of 320x240"):
        encoder.encode(picture(0, 320, 240))
    with pytest.raises(TypeError, match="only a MaskedFrame"):
        encoder.encode(picture(0)._frame)  # type: ignore[arg-type]


def test_a_width_that_the_chip_pads_is_left_to_libx264() -> None:
    encoder = H264Encoder(648, 480, FPS, bitrate=1_000_000, device=Path("/dev/null"))
    assert encoder.name == "libx264"
    assert encoder.refusal == "h264_v4l2m2m takes widths that are a multiple of 64, not 648"


@pytest.mark.skipif(CHIP not in os.environ, reason="the chip's alone; runs under the stand-in below")
class TestChip:
    def test_a_stride_is_refused(self, make: Make) -> None:
        """FFmpeg would hand over rows of another length than the chip reads: a picture that is skewed."""
        with pytest.raises(MediaError, match="accepts no stride of 704"):
            make().encode(picture(0, stride=704))

    def test_a_chip_that_keeps_a_picture_ends_it(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 1: FFmpeg would code it later, when the camera has filled its buffer with the next one, unmasked."""
        monkeypatch.setenv("LYKTA_TEST_BUSY", "2")
        encoder = make()
        for index in range(2):
            encoder.encode(picture(index))
        with pytest.raises(MediaError, match="keeps a picture"):
            encoder.encode(picture(2))


# -- the stand-in ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def chip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process on a machine with a chip."""
    program = tmp_path_factory.mktemp("chip") / "chip.so"
    words = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program)]
    subprocess.run([*words, str(PROJECT / "tests/support/chip/chip.c"), "-ldl", "-lx264"], check=True)
    return {"LD_PRELOAD": str(program)}


@pytest.mark.skipif(CHIP in os.environ, reason="it is under the stand-in already")
class TestStandIn:
    def test_the_same_is_true_of_the_chip(self, chip: dict[str, str]) -> None:
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", __file__]
        done = subprocess.run(
            words,
            env=os.environ | chip | {CHIP: "1"},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=PATIENCE * 300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        assert ", 2 skipped in" in done.stdout, "all but what starts the stand-in"

    def test_a_node_films_with_it(self, node: Node, chip: dict[str, str], tmp_path: Path) -> None:
        """Pictures, a ring that begins at any key picture, sealed clips that the centre opens and plays."""
        service = node.start("camera", **chip)
        until(lambda: node.state("camera")[0] == "ready", "ready")
        assert node.status("camera")["detail"]["encoder"] == "h264_v4l2m2m"
        until(lambda: node.status("camera")["detail"].get("frames", 0) > 25, "later key pictures are in the ring")
        node.trigger()
        clip = until(node.clips, "a clip is sealed")[0]
        assert stop(service) == 0, node.log()
        video = tmp_path / "clip.mp4"
        subprocess.run([BIN / "lykta-central", "open", clip, "--keys", node.centre, "-o", video], check=True, capture_output=True)
        manifest = json.loads(node.run("clips", "show", clip.name, "--json").stdout)["manifest"]
        with av.open(str(video)) as container:
            assert sum(1 for _ in container.decode(video=0)) == manifest["frames"] > 25

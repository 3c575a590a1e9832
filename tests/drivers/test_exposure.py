"""What the camera does with the light, and which mode of a sensor it films with: pure rules."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.camera.exposure import DAY_LUX, DWELL_S, FAR, METER_S, NIGHT_LUX, PATIENCE_S, Exposure, Light
from drivers.camera.pi_camera import which
from drivers.camera.sensor_modes import Mode, choose
from drivers.media.encoder import H264Encoder
from privacy.errors import MediaError

# As picamera2 lists them for a Camera Module 3 and an HQ camera (Raspberry Pi's camera documentation).
MODULE_3 = (
    Mode((1536, 864), (3072, 1728), 10, 120.13),
    Mode((2304, 1296), (4608, 2592), 10, 56.03),
    Mode((4608, 2592), (4608, 2592), 10, 14.35),
)
HQ = (
    Mode((1332, 990), (2664, 1980), 10, 120.05),
    Mode((2028, 1080), (4056, 2160), 12, 50.03),
    Mode((2028, 1520), (4056, 3040), 12, 40.01),
    Mode((4056, 3040), (4056, 3040), 12, 10.0),
)


@pytest.mark.parametrize(
    ("modes", "size"),
    [(MODULE_3, (2304, 1296)), (HQ, (2028, 1520))],
)
def test_the_whole_view_is_filmed_and_not_the_smallest_mode_that_would_do(modes: tuple[Mode, ...], size: tuple[int, int]) -> None:
    """A mode that crops shows another piece of the street than the one that was assessed."""
    assert choose(modes, 1280, 720, 15).size == size


def test_a_size_that_no_mode_gives_is_refused_with_the_list() -> None:
    with pytest.raises(MediaError, match="no mode of the sensor gives 1920x1080 at 60 fps") as problem:
        choose(HQ[3:], 1920, 1080, 60)
    assert problem.value.code == "mode_refused"
    assert "4056x3040 at 10 fps" in problem.value.hint
    with pytest.raises(MediaError):
        choose((), 640, 480, 15)


def test_a_usb_camera_is_no_sensor() -> None:
    """picamera2 lists its formats without sizes; that was a crash."""
    with pytest.raises(MediaError, match="no mode of the sensor") as problem:
        choose(Mode.read_all([{"format": "MJPEG"}, {"format": "YUYV"}]), 640, 480, 15)
    assert problem.value.code == "mode_refused"


@given(st.lists(st.builds(Mode, st.tuples(st.integers(320, 5000), st.integers(240, 4000)), st.tuples(st.integers(320, 5000), st.integers(240, 4000)), st.sampled_from((8, 10, 12)), st.floats(1, 120)), max_size=8))  # fmt: skip  # noqa: E501
def test_what_is_chosen_fits_and_loses_almost_nothing_of_the_view(modes: list[Mode]) -> None:
    fit = [mode for mode in modes if mode.size[0] >= 1280 and mode.size[1] >= 720 and mode.fps >= 15]
    if not fit:
        with pytest.raises(MediaError):
            choose(modes, 1280, 720, 15)
        return
    chosen = choose(modes, 1280, 720, 15)
    assert chosen in fit
    assert chosen.view[0] * chosen.view[1] >= 0.95 * max(mode.view[0] * mode.view[1] for mode in fit)


LUX = st.floats(0, 100_000)


@given(st.lists(st.tuples(st.floats(0.05, 3), LUX), max_size=80))
def test_exposure_is_locked_between_meterings(course: list[tuple[float, float]]) -> None:
    """It is left alone until the light has been far from what was metered for five seconds on end."""
    exposure, now, metered, metering_s = Exposure(), 0.0, 0.0, None
    for step, lux in course:
        now += step
        locked = exposure.locked
        advice = exposure.see(Light(now, 10_000, 1.0, lux))
        if not locked:
            metering_s = now if metering_s is None else metering_s
            assert (advice == "lock") == (now - metering_s >= METER_S)
            metered = lux if advice else metered
            since = None
            continue
        ratio = (lux + 0.1) / (metered + 0.1)
        since = (now if since is None else since) if not 1 / FAR < ratio < FAR else None
        assert (advice == "meter") == (since is not None and now - since >= PATIENCE_S)
        if advice:
            metering_s = now


@given(st.lists(st.tuples(st.floats(0.1, 20), LUX), max_size=80))
def test_night_and_day_change_only_after_a_while(course: list[tuple[float, float]]) -> None:
    exposure, now, since = Exposure(), 0.0, None
    for step, lux in course:
        now += step
        before = exposure.night
        exposure.see(Light(now, 10_000, 1.0, lux))
        turns = lux > DAY_LUX if before else lux < NIGHT_LUX
        since = (now if since is None else since) if turns else None
        assert (exposure.night != before) == (since is not None and now - since >= DWELL_S)
        if exposure.night != before:
            since = None


@pytest.mark.parametrize(
    ("found", "number", "code"),
    [(0, None, "no_camera"), (0, 0, "no_camera"), (2, None, "several_cameras"), (2, 2, "no_camera")],
)
def test_which_camera_is_meant_is_never_guessed(found: int, number: int | None, code: str) -> None:
    with pytest.raises(MediaError) as problem:
        which([{"Num": place, "Model": f"imx{place}"} for place in range(found)], number)
    assert problem.value.code == code


def test_the_only_camera_and_the_named_one() -> None:
    assert which([{"Model": "imx708"}], None) == 0
    assert which([{"Model": "imx708"}, {"Model": "imx477"}], 1) == 1


def test_a_chip_that_refuses_is_told_and_libx264_does_it(tmp_path: Path) -> None:
    """A device node without an encoder behind it, as on a board with another overlay."""
    device = tmp_path / "video11"
    device.touch()
    encoder = H264Encoder(640, 360, 15, bitrate=500_000, device=device)
    assert encoder.name == "libx264"
    assert encoder.refusal.startswith("h264_v4l2m2m refuses 640x360")
    assert H264Encoder(640, 360, 15, bitrate=500_000, device=tmp_path / "none").refusal == ""
    assert H264Encoder(640, 360, Fraction(15), device=device).refusal == "", "constant quality is never the chip's"


def test_nothing_but_masked_frames_enters() -> None:
    encoder = H264Encoder(640, 360, 15)
    with pytest.raises(TypeError):
        encoder.encode(np.zeros((540, 640), np.uint8))  # type: ignore[arg-type]

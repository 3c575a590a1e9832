"""Masked or nothing: whatever the detector does, no pixel of a person leaves (R17, R18, R19, R22)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import MediaError
from privacy.masking.delay import GAP_NS, SECOND, DelayLine, Verdict
from privacy.masking.detection import Detection, flaw
from privacy.masking.frame_path import Engine, cadence, look
from privacy.masking.frames import Frame, MaskedFrame, planes_of, require_masked
from privacy.masking.mask_record import NOTHING, PERSON, VEHICLE
from privacy.masking.masker import Masker
from privacy.masking.regions import GROWTH, Region
from provisioning.layout import CODE
from tests.support.scenes import BROKEN, HEIGHT, WIDTH, TruthDetector, painted, picture, seen, view, visible, with_person

ROOT = CODE


def run_engine(detector: TruthDetector, frames: int = 100, every: int = 5, masker: Masker | None = None) -> list[MaskedFrame]:
    engine = Engine(detector, masker or Masker(WIDTH, HEIGHT, None), every)
    out: list[MaskedFrame] = []
    for index in range(frames):
        out += engine.feed(with_person(picture(index)))
    return [*out, *engine.end()]


def test_a_walking_person_is_never_seen_and_the_rest_is() -> None:
    """R17: entering, walking between two looks and leaving."""
    out = run_engine(TruthDetector())
    assert [frame.index for frame in out] == list(range(100))
    assert sum(visible(frame.buffer[:HEIGHT]) for frame in out) == 0
    assert not any(frame.full for frame in out)
    shown = np.mean([(frame.buffer[:HEIGHT] == 110).mean() for frame in out])
    assert shown > 0.8


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_detector_leaves_only_full_masks(broken: type[TruthDetector]) -> None:
    """R18: raising, NaN, garbage, absurd numbers: every frame leaves, painted whole, with the cause."""
    out = run_engine(broken())
    assert len(out) == 100
    for frame in out:
        assert frame.full
        assert frame.record.cause in ("detector_error", "detector_absurd", "crowd")
        assert (frame.buffer[:HEIGHT] == NOTHING[0]).all()
        assert (frame.buffer[HEIGHT:].reshape(2, -1) == [[NOTHING[1]], [NOTHING[2]]]).all()


def test_a_detector_that_fails_for_a_while_masks_that_while() -> None:
    """R18: one lost look is bridged, three are not."""

    class Patchy(TruthDetector):
        def detect(self, frame: Frame) -> tuple[Detection, ...]:
            if 20 <= frame.index < 35:
                raise RuntimeError("busy")
            return super().detect(frame)

    out = run_engine(Patchy())
    assert sum(visible(frame.buffer[:HEIGHT]) for frame in out) == 0
    assert {frame.index for frame in out if frame.full} >= set(range(16, 35))
    assert not any(frame.full for frame in out if frame.index < 16 or frame.index > 35)


@pytest.mark.parametrize("every", [1, 3, 7])
def test_looks_within_the_bound_are_joined(every: int) -> None:
    assert [frame.full for frame in run_engine(TruthDetector(), every=every)] == [False] * 100


def test_looks_too_far_apart_are_not_joined() -> None:
    """The cliff of 0.7 s: beyond it everything is masked."""
    out = run_engine(TruthDetector(), every=8)
    assert {frame.record.cause for frame in out if 0 < frame.index <= 96} == {"gap"}


@settings(max_examples=200)
@given(
    looks=st.lists(st.integers(0, 60), unique=True).map(sorted),
    failures=st.sets(st.integers(0, 60)),
    fps=st.sampled_from([5, 7, 10, 15, 30]),
)
def test_every_frame_leaves_once_in_order_and_is_known_or_masked(looks: list[int], failures: set[int], fps: int) -> None:
    """R18: for any pattern of answers a frame that is shown lies between two good looks at most 0.7 s apart."""
    line, out = DelayLine(WIDTH, HEIGHT), []
    for index in range(61):
        frame = picture(index, fps)
        line.push(frame)
        if index in looks:
            line.learn(seen(frame, cause="detector_error" if index in failures else ""))
        out += list(line.release(frame.mono_ns))
    out += list(line.flush())
    assert [frame.index for frame, _ in out] == list(range(61))
    good = [round(n / fps * SECOND) for n in looks if n not in failures]
    for frame, verdict in out:
        before = [at for at in good if at <= frame.mono_ns]
        after = [at for at in good if at >= frame.mono_ns]
        joined = before and after and (after[0] - before[-1]) <= GAP_NS
        assert verdict.cause or joined


def test_an_answer_about_a_frame_that_left_is_not_trusted() -> None:
    """Its picture may have been painted or reused while the detector looked."""
    line = DelayLine(WIDTH, HEIGHT)
    frames = [picture(index) for index in range(30)]
    line.push(frames[0])
    line.learn(seen(frames[0]))
    assert len(list(line.release(2 * SECOND))) == 1
    for frame in frames[1:20]:
        line.push(frame)
    left = list(line.release(frames[19].mono_ns))
    line.learn(seen(left[0][0]))
    line.learn(seen(frames[19]))
    assert {verdict.cause for _, verdict in line.release(frames[19].mono_ns)} == {"gap"}


def test_a_person_who_is_lost_is_held_for_a_second() -> None:
    line = DelayLine(WIDTH, HEIGHT)
    found = (Detection("person", 100, 60, 120, 120, 0.9),)
    verdicts = {}
    for index in range(30):
        line.push(picture(index))
        if index % 5 == 0:
            line.learn(seen(picture(index), found if index == 0 else ()))
        verdicts.update({frame.index: verdict for frame, verdict in line.release(index * SECOND // 10)})
    assert all(verdicts[index].regions for index in range(11))
    assert not verdicts[20].regions


@settings(max_examples=200)
@given(
    left=st.floats(-200, 400),
    top=st.floats(-200, 300),
    width=st.floats(1, 300),
    height=st.floats(1, 300),
    kind=st.sampled_from(sorted(GROWTH)),
)
def test_a_region_covers_its_detection_inside_the_picture(left: float, top: float, width: float, height: float, kind: str) -> None:
    """R21: whole person plus margin, chroma included."""
    found = Detection(kind, left, top, left + width, top + height, 0.5)  # type: ignore[arg-type]
    regions = painted((found,), WIDTH, HEIGHT)
    if left + width <= 0 or top + height <= 0 or left >= WIDTH or top >= HEIGHT:
        assert all(region.left < region.right and region.top < region.bottom for region in regions)
        return
    (region,) = regions
    assert 0 <= region.left <= region.right <= WIDTH
    assert 0 <= region.top <= region.bottom <= HEIGHT
    assert all(corner % 2 == 0 for corner in (region.left, region.top, region.right, region.bottom))
    assert region.left <= max(0, left - GROWTH[kind][0] * width)  # type: ignore[index]
    assert region.top <= max(0, top - GROWTH[kind][1] * height)  # type: ignore[index]
    assert region.right >= min(WIDTH, left + (1 + GROWTH[kind][0]) * width)  # type: ignore[index]
    assert region.bottom >= min(HEIGHT, top + (1 + GROWTH[kind][1]) * height)  # type: ignore[index]


@pytest.mark.parametrize(
    "answer",
    ["people", None, [], (1,), (Detection("person", 0, 0, 0, 5, 1),), (Detection("person", 0, 0, 9999, 5, 1),),
     (Detection("person", 0, float("inf"), 5, 5, 1),), (Detection("dog", 0, 0, 5, 5, 1),)],  # type: ignore[arg-type]
)  # fmt: skip
def test_absurd_answers_are_recognised(answer: object) -> None:
    assert flaw(answer, WIDTH, HEIGHT)


@settings(max_examples=50)
@given(
    polygon=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=8).map(tuple),
    zone=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=5).map(tuple),
)
def test_pixels_outside_the_view_are_constant(
    polygon: tuple[tuple[float, float], ...], zone: tuple[tuple[float, float], ...]
) -> None:
    """R02, R21: what the view does not allow is the same in every picture; chroma included."""
    masker = Masker(WIDTH, HEIGHT, view(polygon, zones=(zone,)))
    pictures = []
    for luma in (60, 200):
        frame = picture(0, luma=luma)
        frame.planes[1][:], frame.planes[2][:] = luma, 255 - luma
        masker.mask(frame, Verdict())
        pictures.append(frame)
    hidden = masker.outside > 0
    assert (pictures[0].planes[0][hidden] == pictures[1].planes[0][hidden]).all()
    assert (pictures[0].planes[0][~hidden] == 60).all()
    small = hidden.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).any(axis=(1, 3))
    for plane in (1, 2):
        assert (pictures[0].planes[plane][small] == pictures[1].planes[plane][small]).all()


def test_fill_is_solid_and_people_lie_above_vehicles() -> None:
    """R22, R23."""
    frame = picture(0)
    regions = (Region("person", 100, 40, 140, 120), Region("vehicle", 60, 60, 220, 160))
    masked = Masker(WIDTH, HEIGHT, None).mask(frame, Verdict(regions))
    luma, u, v = frame.planes
    assert (luma[40:120, 100:140] == PERSON[0]).all()
    assert (luma[130:160, 60:220] == VEHICLE[0]).all()
    assert (u[20:60, 50:70] == PERSON[1]).all()
    assert (v[20:60, 50:70] == PERSON[2]).all()
    assert [box[0] for box in masked.record.boxes] == ["vehicle", "person"]


def test_a_stride_wider_than_the_picture_is_respected() -> None:
    frame = picture(0, stride=384)
    before = frame.buffer[:HEIGHT, WIDTH:].copy()
    Masker(WIDTH, HEIGHT, None).mask(frame, Verdict((Region("person", 300, 0, 320, 180),)))
    assert (frame.buffer[:HEIGHT, WIDTH:] == before).all()
    assert (frame.planes[0][:, 300:] == PERSON[0]).all()


@pytest.mark.parametrize("luma", [0, 1, 5])
def test_too_dark_a_picture_is_masked_whole(luma: int) -> None:
    """R18: below the floor no detector finds anybody."""
    masked = Masker(WIDTH, HEIGHT, None).mask(picture(0, luma=luma), Verdict())
    assert masked.record.cause == "dark"
    assert shows_nothing(masked)


def test_the_full_profile_shows_nothing() -> None:
    masked = Masker(WIDTH, HEIGHT, None, "full").mask(picture(0), Verdict())
    assert masked.record.cause == "profile"
    assert shows_nothing(masked)


def shows_nothing(masked: MaskedFrame) -> bool:
    """Whether it says that it is masked whole, and every pixel of it is: one tone, chroma included."""
    planes = planes_of(masked.buffer, masked.width, masked.height)
    return masked.full and all(bool((plane == tone).all()) for plane, tone in zip(planes, NOTHING, strict=True))


def test_a_masked_frame_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError, match="only Masker"):
        MaskedFrame(picture(0), None, False)


def test_the_encoder_refuses_a_frame_at_run_time() -> None:
    """R17, the run-time half."""
    with pytest.raises(TypeError, match="only a MaskedFrame"):
        require_masked(picture(0))  # type: ignore[arg-type]


def test_mypy_refuses_a_frame_at_the_encoder(tmp_path: Path) -> None:
    """R17, the half that is checked before anything runs."""
    program = tmp_path / "leak.py"
    program.write_text(
        "from drivers.media.encoder import H264Encoder\nfrom privacy.masking.frames import Frame, MaskedFrame\n\n"
        "def good(encoder: H264Encoder, frame: MaskedFrame) -> None:\n    encoder.encode(frame)\n\n"
        "def leak(encoder: H264Encoder, frame: Frame) -> None:\n    encoder.encode(frame)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml", program],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1, done.stdout
    assert "leak.py:8" in errors[0]
    assert 'incompatible type "Frame"; expected "MaskedFrame"' in errors[0]


def test_a_buffer_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MediaError, match="does not fit"):
        Frame(np.zeros((180, 320), np.uint8), 320, 180, 0, 0, 0)


def test_look_never_raises() -> None:
    for broken in BROKEN:
        assert look(broken(), picture(0)).cause


@given(st.floats(0.1, 240))
def test_the_cadence_keeps_the_bound(fps: float) -> None:
    assert cadence(fps) == 1 or cadence(fps) / fps * SECOND <= GAP_NS

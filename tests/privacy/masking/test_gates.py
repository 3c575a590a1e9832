"""The two gates of the mask: tracking between looks, and the background of `strict` (R18, R19, R20, R21)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.camera.port import buffers
from privacy.masking.background.gate import BLOCK_NS, BackgroundGate
from privacy.masking.delay import GAP_NS, PATIENCE_NS, PAUSE_NS, SECOND, DelayLine, Verdict
from privacy.masking.detection import Detection
from privacy.masking.frame_path import CADENCE, SLOWEST, Engine, FramePath, Pace, cadence
from privacy.masking.frames import Frame, MaskedFrame
from privacy.masking.light import BLACK, NIGHT, JumpWatch, dark_regions
from privacy.masking.masker import Masker
from privacy.masking.regions import Region
from privacy.masking.tiles import pixels_of, rectangles, tiles_of
from privacy.masking.tracking import Tracker
from tests.support.scenes import HEIGHT, WIDTH, TruthDetector, picture, seen

# Tracking


@settings(max_examples=300)
@given(
    x=st.floats(-40, WIDTH + 20),
    speed=st.floats(-0.8, 0.8),
    high=st.integers(24, 120),
    every=st.floats(0.1, 0.6),
    phase=st.floats(0, 1),
)
def test_a_walker_is_covered_between_two_looks(x: float, speed: float, high: int, every: float, phase: float) -> None:
    """R17: at up to 1.4 m/s, from the first to the last moment in the picture, at any time between two looks."""
    wide, top, tracker = max(8, high * 2 // 5), 40.0, Tracker(WIDTH, HEIGHT)

    def box(at: float) -> tuple[float, float, float, float]:
        left = x + speed * high * at
        return max(0.0, left), top, min(float(WIDTH), left + wide), top + high

    for number in range(12):
        at = (number + 1) * every
        left, _, right, bottom = box(at)
        found = (Detection("person", left, top, right, bottom, 0.9),) if right - left >= 1 else ()
        course = tracker.step(round(at * SECOND), found)
        left, _, right, bottom = box(at - every * (1 - phase))
        if number and right - left >= 1:
            regions = course.regions(phase, WIDTH, HEIGHT)
            assert any(r.left <= left and right <= r.right and r.top <= top and min(HEIGHT, bottom) <= r.bottom for r in regions), (
                number,
                regions,
            )


def test_people_who_pass_each_other_are_both_covered() -> None:
    """Who is who is not known from boxes: every way that somebody may have gone is masked."""
    tracker = Tracker(WIDTH, HEIGHT)
    for at in range(20):
        left, right = 20 + 12 * at, 250 - 12 * at
        people = (Detection("person", left, 50, left + 30, 130, 0.9), Detection("person", right, 54, right + 30, 134, 0.9))
        course = tracker.step(at * SECOND // 2, people)
        if at:
            middle = course.regions(0.5, WIDTH, HEIGHT)
            for place in (left - 6, right + 6):
                assert any(r.left <= place and place + 30 <= r.right for r in middle), at


def test_who_is_lost_goes_on_along_their_way() -> None:
    tracker = Tracker(WIDTH, HEIGHT)
    for at in range(4):
        tracker.step(at * SECOND // 2, (Detection("person", 100 + 20 * at, 60, 120 + 20 * at, 120, 0.9),))
    (lost,) = tracker.step(2 * SECOND, ()).regions(1.0, WIDTH, HEIGHT)
    assert lost.left <= 160 <= 180 + 20 <= lost.right + 4
    assert tracker.step(2 * SECOND + SECOND // 2, ()).regions(1.0, WIDTH, HEIGHT)
    assert not tracker.step(4 * SECOND, ()).regions(1.0, WIDTH, HEIGHT)
    assert not tracker.step(5 * SECOND, ()).regions(1.0, WIDTH, HEIGHT)


def test_a_look_that_comes_twice_or_late_changes_nothing() -> None:
    line = DelayLine(WIDTH, HEIGHT)
    for index in range(20):
        line.push(picture(index))
    found = (Detection("person", 100, 60, 120, 120, 0.9),)
    for index in (0, 5, 5, 0, 10):
        line.learn(seen(picture(index), found if index == 5 else ()))
    verdicts = {frame.index: verdict for frame, verdict in line.release(3 * SECOND)}
    assert all(verdicts[index].regions for index in range(1, 11))


# Light


def lit(index: int, luma: int, *, left: int = 0) -> Frame:
    frame = picture(index, luma=luma)
    frame.planes[0][:, :left] = 20
    return frame


def test_the_frames_after_a_jump_of_the_exposure_are_masked() -> None:
    """R19: whoever was found in a picture that was still settling counts for nothing."""
    engine = Engine(TruthDetector(), Masker(WIDTH, HEIGHT, None), 5)
    out: list[MaskedFrame] = []
    for index in range(60):
        out += engine.feed(lit(index, 110 if index < 30 else 200))
    out += engine.end()
    assert {frame.index for frame in out if frame.record.cause == "exposure"} >= {30, 31, 32}
    assert not any(frame.full for frame in out if 1 < frame.index < 25 or frame.index > 40)


@pytest.mark.parametrize("factor", [1.05, 1.15])
def test_slow_light_is_no_jump(factor: float) -> None:
    watch = JumpWatch()
    assert not any(watch.jumped(lit(0, min(255, round(60 * factor**step)))) for step in range(10))


def test_a_bus_is_no_jump() -> None:
    """Something that covers less than three quarters of the picture."""
    watch = JumpWatch()
    assert not watch.jumped(lit(0, 110))
    assert not watch.jumped(lit(1, 110, left=WIDTH * 7 // 10))


def test_what_is_black_at_night_is_filled_and_by_day_not() -> None:
    """By night nobody can be found in the dark; by day a dark door is a dark door."""
    night, day = lit(0, int(NIGHT) - 10, left=100), lit(0, int(NIGHT) + 60, left=100)
    assert BLACK > 20
    assert dark_regions(day) == ()
    (region,) = dark_regions(night)
    assert (region.part, region.left, region.top, region.bottom) == ("dark", 0, 0, HEIGHT)
    assert 94 <= region.right <= 102


# Tiles


@given(
    rows=st.integers(1, 9), columns=st.integers(1, 12), data=st.data(), scale=st.sampled_from([1.0, 2.5, 6.6]),
)  # fmt: skip
def test_rectangles_cover_every_set_tile_and_little_else(rows: int, columns: int, data: st.DataObject, scale: float) -> None:
    cells = data.draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns))
    grid = np.array(cells).reshape(rows, columns)
    tile, width, height = 4 * scale, round(columns * 4 * scale / 2) * 2, round(rows * 4 * scale / 2) * 2
    painted = np.zeros((height, width), int)
    for region in rectangles("dark", grid, (tile, tile), width, height):
        painted[region.top : region.bottom, region.left : region.right] += 1
    for (row, column), wanted in np.ndenumerate(grid):
        top, left = row * tile, column * tile
        cell = painted[int(top) : min(height, int(top + tile)), int(left) : min(width, int(left + tile))]
        if wanted:
            assert cell.all()
        else:
            assert not cell[2:-3, 2:-3].any()


@given(rows=st.integers(1, 30), columns=st.integers(1, 30), side=st.integers(1, 8))
def test_tiles_of_any_picture_cover_its_pixels(rows: int, columns: int, side: int) -> None:
    plane = np.random.default_rng(rows * 31 + columns).random((rows, columns)) > 0.9
    assert (pixels_of(tiles_of(plane, side), side, plane.shape) >= plane).all()


# The background gate


def textured(index: int, seconds: float) -> Frame:
    frame = picture(index)
    rng = np.random.default_rng(7)
    frame.planes[0][:] = rng.integers(70, 140, (HEIGHT // 10, WIDTH // 10)).repeat(10, 0).repeat(10, 1)
    at = round(seconds * SECOND)
    return Frame(frame.buffer, WIDTH, HEIGHT, index, at, at)


def with_thing(frame: Frame, left: int = 150) -> Frame:
    frame.planes[0][60:130, left : left + 30] = 230
    return frame


THING = Region("person", 144, 50, 186, 140)
FOUND = Detection("person", 150, 60, 180, 130, 0.9)


def shows(verdict: Verdict, left: int = 150) -> bool:
    """Whether a pixel of the thing would be visible."""
    raster = np.zeros((HEIGHT, WIDTH), bool)
    for region in verdict.regions:
        raster[region.top : region.bottom, region.left : region.right] = True
    return not raster[62:128, left + 2 : left + 28].all()


def cleared(gate: BackgroundGate, fps: float = 2.0) -> float:
    """Run the empty place until all of it is seen; returns the seconds it took."""
    for index in range(100):
        if not gate.judge(textured(index, index / fps), Verdict()).regions:
            return index / fps
    raise AssertionError("never clear")


def test_after_a_start_nothing_is_shown_until_it_was_seen_clear() -> None:
    """R19: two calm seconds without anybody."""
    gate = BackgroundGate(WIDTH, HEIGHT)
    first = gate.judge(textured(0, 0), Verdict())
    assert [(r.part, r.left, r.top, r.right, r.bottom) for r in first.regions] == [("unseen", 0, 0, WIDTH, HEIGHT)]
    assert 2.0 <= cleared(gate) <= 3.0


def test_where_somebody_stands_at_the_start_stays_masked() -> None:
    gate = BackgroundGate(WIDTH, HEIGHT)
    for index in range(40):
        verdict = gate.judge(with_thing(textured(index, index / 2)), Verdict((THING,)))
    unseen = [region for region in verdict.regions if region.part == "unseen"]
    assert unseen
    assert not shows(Verdict(tuple(unseen)))


def test_what_the_detector_misses_the_second_gate_masks() -> None:
    gate = BackgroundGate(WIDTH, HEIGHT)
    end = cleared(gate)
    verdict = gate.judge(with_thing(textured(200, end + 0.5)), Verdict())
    assert [region.part for region in verdict.regions] == ["motion"]
    assert not shows(verdict)


def test_who_stands_still_for_half_an_hour_stays_masked_in_every_frame() -> None:
    """R20, both gates: found by the detector now and then only, and never learned."""
    gate = BackgroundGate(WIDTH, HEIGHT)
    end = cleared(gate)
    for index in range(3600):
        found = index % 120 == 0  # once a minute, where every look should find them
        seen_now = Verdict((THING,), found=(FOUND,)) if found else Verdict(found=())
        verdict = gate.judge(with_thing(textured(index, end + index / 2)), seen_now)
        assert not shows(verdict), index / 2
    assert gate.learned == 0


def test_a_thing_that_nobody_calls_a_person_is_learned_after_ten_minutes_and_counted() -> None:
    gate = BackgroundGate(WIDTH, HEIGHT)
    end, shown_at = cleared(gate), None
    for index in range(2 * 700):
        verdict = gate.judge(with_thing(textured(index, end + index / 2)), Verdict())
        if shown_at is None and shows(verdict):
            shown_at = index / 2
    assert shown_at is not None
    assert BLOCK_NS / SECOND <= shown_at <= BLOCK_NS / SECOND + 5
    assert gate.learned > 0


def test_the_light_of_the_whole_place_may_change() -> None:
    """Clouds are not foreground."""
    gate = BackgroundGate(WIDTH, HEIGHT)
    end = cleared(gate)
    for index in range(60):
        frame = textured(index, end + index / 2)
        frame.planes[0][:] = (frame.planes[0] * (1 - 0.006 * index)).astype(np.uint8)
        assert not gate.judge(frame, Verdict()).regions


def test_a_person_who_stands_for_half_an_hour_leaves_masked_from_the_engine() -> None:
    """R20 through the whole frame path, standard and strict: 1,800 s at two frames a second."""

    class Standing(TruthDetector):
        def detect(self, frame: Frame) -> tuple[Detection, ...]:
            return (Detection("person", 150, 60, 180, 130, 0.9),)

    for profile in ("standard", "strict"):
        engine, shown = Engine(Standing(), Masker(WIDTH, HEIGHT, None, profile), cadence(2)), 0  # type: ignore[arg-type]
        for index in range(3600):
            for out in engine.feed(with_thing(textured(index, index / 2))):
                assert (out.buffer[60:130, 150:180] != 230).all(), (profile, out.index)
                shown += not out.full
        assert shown > 3500, "and not because all is masked"


def test_strict_shows_nothing_that_either_gate_doubts() -> None:
    """Both must agree: what `strict` shows, `standard` shows too."""

    def run(profile: str) -> list[np.ndarray]:
        masker = Masker(WIDTH, HEIGHT, None, profile)  # type: ignore[arg-type]
        engine, out = Engine(TruthDetector(), masker, 5), []
        for index in range(80):
            frame = with_thing(textured(index, index / 10), 20 + 2 * index)
            out += [masker.raster(done.record) > 0 for done in engine.feed(frame)]
        return out

    loose, tight = np.array(run("standard")), np.array(run("strict"))
    assert (tight >= loose).all()
    assert len(loose) > 60
    assert (loose.any(), tight.all()) == (True, False), "neither hides nothing, nor everything"


def test_the_path_hides_all_while_the_view_is_not_confirmed() -> None:
    path, out = FramePath(Masker(WIDTH, HEIGHT, None)), []
    for index in range(20):
        frame = picture(index)
        path.push(frame)
        path.learn(seen(frame))
        path.hidden = "view_moved" if index >= 10 else ""
        out += list(path.ready(frame.mono_ns))
    assert [frame.record.cause for frame in out[1:]] == [""] * 8 + ["view_moved"] * 10


@settings(max_examples=200)
@given(fps=st.floats(5, 60), lasts=st.floats(0.001, 0.5), jitter=st.floats(0, 0.02))
def test_a_node_looks_as_often_as_it_can_afford_within_the_bound(fps: float, lasts: float, jitter: float) -> None:
    """R18: whatever a look costs, the next one begins before 0.7 s are over; a quick one is not asked for all the time."""
    pace, busy_until, looks, rng = Pace(), 0.0, [], np.random.default_rng(1)
    for index in range(round(20 * fps)):
        at = index / fps + float(rng.uniform(0, jitter))
        if busy_until and at >= busy_until:
            pace.took(round(lasts * SECOND))
            busy_until = 0.0
        if pace.due(round(at * SECOND)) and not busy_until:
            pace.asked(round(at * SECOND))
            looks.append(at)
            busy_until = at + lasts
    gaps = np.diff(looks)
    assert gaps.max() * SECOND <= GAP_NS
    wanted = min(max(lasts / 0.1, CADENCE), SLOWEST)
    assert gaps[2:].min() > wanted - 1 / fps - 2 * jitter - 0.001


def test_a_camera_can_have_as_many_buffers_as_frames_are_held() -> None:
    """libcamera gave 24 of 1280x720; with more wanted the node is blind for `mode_refused`."""
    held = max(PATIENCE_NS, PAUSE_NS) / SECOND * 15
    assert held < buffers(15) - 4 <= 24 - 4

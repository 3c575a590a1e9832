"""The camera's state: which fault hides which, what darkness is, and that a fault is never `off`. Facts in, state out."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.camera.state import BLIND_S, CAMERA_FROZEN, LIGHT_S, CameraFacts, Darkness, closed, state_of
from privacy.masking.light import dark_regions, dark_share
from privacy.records.basis import BASIS_EXPIRED, ZONE_UNKNOWN, Ruling
from tests.support.nodes import PROJECT, Node, stop, until
from tests.support.tones import picture

STAND_IN = {"PYTHONPATH": str(PROJECT / "tests/support/stand_in")}
CALM = CameraFacts(cause="", blind_s=0.0, dark_s=0.0, most_dark_s=300.0, stalled="", events="", clips="", until=None)
SECONDS = st.floats(0, 10_000)
WORDS = st.sampled_from(["", "keeper_stalled"])
FACTS = st.builds(
    CameraFacts,
    cause=st.sampled_from(["", "start", "dark", "late", "view_moved", "detector_error", CAMERA_FROZEN]),
    blind_s=SECONDS,
    dark_s=SECONDS,
    most_dark_s=st.sampled_from([0.0, 60.0, 300.0]),
    stalled=WORDS,
    events=st.sampled_from(["", "disk_full"]),
    clips=st.sampled_from(["", "disk_full"]),
    until=st.none(),
)
REASONS = st.sampled_from(["time_unknown", "basis_not_yet", BASIS_EXPIRED, ZONE_UNKNOWN, "outside_hours"])
RULINGS = st.builds(Ruling, st.just(False), REASONS, st.none() | st.datetimes(timezones=st.just(UTC)))


@given(FACTS)
def test_who_sees_nobody_says_so(facts: CameraFacts) -> None:
    """`ready` only if somebody could be seen; whoever must act is named with every other state."""
    found = state_of(facts)
    blinded = facts.cause == CAMERA_FROZEN or facts.blind_s > BLIND_S
    dark = facts.dark_s > BLIND_S
    assert (found.state == "ready") == (not blinded and not dark and not (facts.stalled or facts.events or facts.clips))
    assert (found.owner == "nobody") == (found.state == "ready")
    if blinded:
        assert found.state == "blind"
        assert found.reason != "too_dark"


@given(FACTS)
def test_darkness_is_a_fault_only_where_there_is_light(facts: CameraFacts) -> None:
    """A lit stop is blind after its minutes, an unlit one never for that; both say `too_dark`."""
    found = state_of(facts)
    if found.reason == "too_dark":
        assert (found.state == "blind") == (facts.most_dark_s > 0 and facts.dark_s >= facts.most_dark_s)
        assert found.state in ("blind", "degraded")


@given(RULINGS, WORDS)
def test_a_fault_is_never_a_rest(ruling: Ruling, stalled: str) -> None:
    """An expired basis is blind and the lawyer's; the night is nobody's, until the thread that deletes has stopped."""
    found = closed(ruling, stalled)
    assert found.reason == (ruling.reason if ruling.reason in (BASIS_EXPIRED, ZONE_UNKNOWN) or not stalled else stalled)
    assert (found.state == "off") == (ruling.reason not in (BASIS_EXPIRED, ZONE_UNKNOWN) and not stalled)
    if ruling.reason == BASIS_EXPIRED:
        assert (found.state, found.owner) == ("blind", "lawyer")
    if found.state == "off":
        assert (found.owner, found.until) == ("nobody", ruling.until)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.1, 3 * LIGHT_S)), max_size=30))
def test_headlights_do_not_end_a_darkness(looks: list[tuple[bool, float]]) -> None:
    """Against a plain count over the same looks: a darkness lasts until there was light for half a minute."""
    darkness, now, begun, last = Darkness(), 0.0, None, 0.0
    for dark, passed in looks:
        now += passed
        if dark:
            begun, last = (now if begun is None else begun), now
        elif begun is not None and now - last >= LIGHT_S:
            begun = None
        assert darkness.see(dark, now) == pytest.approx(0.0 if begun is None else now - begun)


@pytest.mark.parametrize(("level", "dark"), [(16, True), (30, True), (90, False)])
def test_a_picture_that_is_too_dark_all_over_counts_as_darkness(level: int, dark: bool) -> None:
    """A camera of limited range is never below 16: its night was painted tile by tile, and the node said `ready`."""
    frame = picture(level)
    share = dark_share(dark_regions(frame), frame.width, frame.height)
    assert share == pytest.approx(1.0 if dark else 0.0)


@pytest.mark.slow
def test_a_dark_camera_is_degraded_and_after_its_minute_blind(node: Node) -> None:
    """With the real service: a camera whose pictures are black for good, at a stop where one minute of that is a fault."""
    node.settings(camera__source='"picamera2"', camera__width="640", camera__height="360", camera__dark_minutes="1")
    service = node.start("camera", **STAND_IN, LYKTA_CAMERA_FLAW="dark")
    until(lambda: node.state("camera") == ("degraded", "too_dark"), "it says that it sees nobody", 60)
    until(lambda: node.state("camera") == ("blind", "too_dark"), "darkness has lasted too long", 90)
    assert stop(service) == 0
    assert states_of(node, "camera")[-3:] == [("degraded", "too_dark"), ("blind", "too_dark"), ("stopping", "told_to")]


def states_of(node: Node, unit: str) -> list[tuple[str, str]]:
    """The states in a unit's journal, as `lykta journal show` prints them."""
    words = node.words("journal", "show", unit, "--json")
    shown = msgspec.json.decode(subprocess.run(words, capture_output=True, check=True).stdout)
    return [(one["facts"]["state"], one["facts"]["reason"]) for one in shown["entries"] if one["kind"] == "state"]


def test_a_setting_out_of_range_is_refused(node: Node, tmp_path: Path) -> None:
    node.settings(camera__dark_minutes="121")
    done = node.run("config", "validate")
    assert done.returncode == 5
    assert "camera.dark_minutes" in done.stderr


def test_the_end_of_rest_is_told() -> None:
    until_ = datetime(2026, 3, 2, 5, tzinfo=UTC)
    assert closed(Ruling(False, "outside_hours", until_), "").until == until_

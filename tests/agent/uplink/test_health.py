"""Health groups: numbers that are there, and null with a reason where they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.messages import Health, Presence
from agent.outbox.outbox import Outbox
from agent.outbox.remote import Found
from agent.runtime.status import CameraStatus, UplinkStatus
from agent.uplink.health import readings
from agent.uplink.health.groups import collect
from agent.uplink.health.trends import Boots, Growth, PowerEdges, Writes
from drivers import board
from privacy.errors import StorageError
from tests.support.outboxes import DAY, HELP, outbox_at


class Card:
    """A device of which somebody wrote so many MB, watched so many seconds."""

    def __init__(self) -> None:
        self.mb = self.seconds = 0.0

    def written(self) -> float:
        return self.mb

    def mono_s(self) -> float:
        return self.seconds


def storage(folder: Path, writes: Writes) -> Health:
    trends = readings.Trends(writes, Growth(lambda: 100.0), PowerEdges(), Boots(None, ""))
    return collect({}, ((readings.Machine, readings.of_machine(folder, trends)),))["storage"].message("storage")


def buffer(outbox: Outbox) -> Health:
    def look() -> Found:
        raise StorageError("io does not answer")

    return collect({}, ((readings.Outboxes, readings.of_outboxes(outbox, look)),))["buffer"].message("buffer")


def test_what_a_card_is_written_is_reported_by_the_day(tmp_path: Path) -> None:
    """Item 4: since the start, and the rate of the last day; unknown for ten minutes, and blind to what was before the day."""
    card = Card()
    writes = Writes(card.written, card.mono_s)
    card.mb = 1000.0
    first = storage(tmp_path, writes)
    assert (first.values["written_mb"], first.values["written_mb_day"]) == (1000.0, None)
    assert "ten minutes" in first.unreadable["written_mb_day"]
    for minute in range(1, 2 * 1440 + 1):
        card.seconds, card.mb = minute * 60.0, card.mb + (0.5 if minute <= 1440 else 0.1)
        found = storage(tmp_path, writes)
        if minute == 10:
            assert found.values["written_mb_day"] == pytest.approx(720)
    assert found.values["written_mb_day"] == pytest.approx(144.0, abs=1)
    assert found.values["written_mb"] == pytest.approx(1000 + 720 + 144)


def test_the_counter_is_the_kernels(tmp_path: Path) -> None:
    """What is written and synced shows in the device's count, where the folder lies on a device of its own."""
    device = tmp_path.stat().st_dev
    if not Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").exists():
        pytest.skip("the folder lies on no block device of its own (overlay, tmpfs)")
    before = board.written_mb(tmp_path)
    with (tmp_path / "file").open("wb") as file:
        file.write(os.urandom(8_000_000))
        file.flush()
        os.fsync(file.fileno())
    assert board.written_mb(tmp_path) - before >= 8.0


def test_a_device_that_cannot_say_is_null_with_a_reason() -> None:
    """/proc lies on no device."""
    found = storage(Path("/proc"), Writes(lambda: board.written_mb(Path("/proc"))))
    assert (found.values["written_mb"], found.values["written_mb_day"]) == (None, None)
    for name in ("written_mb", "written_mb_day", "life_used", "lifetime_written_mb"):
        assert found.unreadable[name].endswith("/proc: its file system has no block device")


def test_the_outbox_says_what_it_dropped(tmp_path: Path) -> None:
    """Promise 3: what waits, what went by cause, and how large the file is."""
    outbox = outbox_at(tmp_path / "state.db", most=3)
    outbox.put(Presence("few", DAY), Presence("none", DAY), HELP, HELP)
    values = buffer(outbox).values
    assert (values["pending"], values["dropped"], values["bound"], values["thinned"], values["expired"]) == (3, 1, 1, 0, 0)
    assert values["file_mb"] == pytest.approx(outbox.size() / 1e6, abs=0.01)
    outbox.close()
    assert buffer(outbox).values["pending"] is None


def test_what_does_not_answer_is_null_with_a_reason() -> None:
    """Each number of a silent service is there, null, with the reason; none is left out or guessed."""
    groups = collect({"uplink": UplinkStatus()}, ())
    camera = groups["camera"].message("camera")
    assert set(camera.values.values()) == {None}
    assert set(camera.unreadable.values()) == {"the camera service does not answer"}
    assert {"fps", "distinct_share", "frame_age_s", "exposure_us", "gain", "focus", "view"} <= camera.values.keys()
    link = groups["link"].message("link")
    assert link.values["round_trip_ms"] is None
    assert link.unreadable["round_trip_ms"] == "none was answered yet"
    assert all(group.values.keys() >= group.unreadable.keys() for group in groups.values())


def test_words_stand_beside_the_numbers() -> None:
    groups = collect({"camera": CameraStatus(view="as_known"), "uplink": UplinkStatus(interface="wwan0")}, ())
    assert groups["camera"].words == {"view": "as_known"}
    assert groups["link"].words == {"interface": "wwan0"}
    assert "interface" not in groups["link"].values

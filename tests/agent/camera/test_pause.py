"""A pause ends by itself, whatever becomes of the service and of the wall clock (17.6)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from agent.camera.pause import Pause
from drivers.clock import SystemClock


class LaterClock(SystemClock):
    """The machine's clock, so many milliseconds on."""

    later_ms = 0

    def mono_ms(self) -> int:
        return super().mono_ms() + self.later_ms

    def now(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC)


def test_it_ends_after_its_minutes_and_not_before(tmp_path: Path) -> None:
    clock = LaterClock("host")
    pause = Pause(tmp_path / "pause.json", clock)
    assert (pause.now(), pause.lapsed()) == (None, False)
    pause.begin(30)
    clock.later_ms = 29 * 60_000
    assert pause.now()
    assert not pause.lapsed()
    clock.later_ms = 30 * 60_000
    assert pause.now() is None
    assert (pause.lapsed(), pause.lapsed()) == (True, False), "it is said once"
    assert not pause.end()


def test_a_restart_neither_ends_nor_prolongs_it(tmp_path: Path) -> None:
    clock = LaterClock("host")
    Pause(tmp_path / "pause.json", clock).begin(30)
    clock.later_ms = 20 * 60_000
    again = Pause(tmp_path / "pause.json", clock)
    assert again.now()
    clock.later_ms = 30 * 60_000
    assert again.now() is None
    assert Pause(tmp_path / "pause.json", clock).lapsed(), "also where the service was away at the end"


def test_a_reboot_and_damage_end_it(tmp_path: Path) -> None:
    path, clock = tmp_path / "pause.json", LaterClock("host")
    Pause(path, clock).begin(30)
    path.write_text(path.read_text().replace(clock.boot_id, "another"))
    assert Pause(path, clock).now() is None
    path.write_bytes(b"{")
    assert Pause(path, clock).now() is None


def test_a_later_pause_replaces_an_earlier_one(tmp_path: Path) -> None:
    clock = LaterClock("host")
    pause = Pause(tmp_path / "pause.json", clock)
    pause.begin(480)
    pause.begin(1)
    clock.later_ms = 60_000
    assert pause.now() is None

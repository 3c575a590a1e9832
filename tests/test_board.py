"""Board facts from a tree of sysfs: power edges by our own count, voltage, wear, serial (R31)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import health
from drivers import board
from drivers.board import UNDERVOLTAGE, Edges


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_facts_of_a_board(tmp_path: Path) -> None:
    write(tmp_path, "proc/device-tree/serial-number", "10000000abcd\0")
    write(tmp_path, "sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    write(tmp_path, "sys/block/mmcblk0/device/life_time", "0x02 0x03\n")
    write(tmp_path, "sys/block/mmcblk0/device/pre_eol_info", "0x01\n")
    write(tmp_path, "sys/fs/ext4/mmcblk0p2/lifetime_write_kbytes", "1000000\n")
    assert (board.serial(tmp_path), board.undervoltage(tmp_path)) == ("10000000abcd", 1)
    assert (board.life_used(tmp_path), board.end_of_life(tmp_path)) == (0.3, 1)
    assert board.lifetime_written_mb(tmp_path) == 1024.0


@pytest.mark.parametrize("read", [board.serial, board.undervoltage, board.life_used, board.end_of_life, board.lifetime_written_mb])
def test_another_machine_says_that_it_cannot_say(tmp_path: Path, read: object) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path)  # type: ignore[operator]


def test_a_device_that_does_not_tell_its_wear(tmp_path: Path) -> None:
    write(tmp_path, "sys/block/mmcblk0/device/life_time", "0x00 0x00\n")
    with pytest.raises(ValueError, match="not told"):
        board.life_used(tmp_path)


def test_health_counts_edges() -> None:
    bits = iter([0, 0, 1 | 1 << 16, 1 << 16, 1 << 16, 1 << 16])
    edges = health.PowerEdges(lambda: next(bits))
    seen = [health.group("power", edges.readers()).values["undervoltage_times"] for _ in range(3)]
    assert seen == [0, 1, 1]


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=4), max_size=30))
def test_edges_are_counted_as_far_as_they_can_be_seen(looks: list[list[bool]]) -> None:
    """Each inner list: what the power did up to one look. Never more than began, and what stands at a look is never missed."""
    edges, began, low, sticky, standing = Edges(), 0, False, False, 0
    for moments in looks:
        seen_low = low
        for now in moments:
            began += now and not low
            low, sticky = now, sticky or now
        edges.see(low * UNDERVOLTAGE | sticky * UNDERVOLTAGE << 16)
        standing += low and not seen_low
    assert standing <= edges.counts[UNDERVOLTAGE] <= began
    assert bool(edges.counts[UNDERVOLTAGE]) == sticky

"""Board facts from a tree of sysfs: power edges by our own count, voltage, wear, serial."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.uplink.health.trends import PowerEdges
from drivers import board
from drivers.board import UNDERVOLTAGE, PowerEventCounter


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def disk(root: Path, name: str = "mmcblk0/mmcblk0p2") -> Path:
    """The disk under `root` itself, as the kernel would show it: its folder in sysfs."""
    device = root / "sys/devices/platform/soc/block" / name
    device.mkdir(parents=True)
    number = root.stat().st_dev
    link = root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    link.parent.mkdir(parents=True)
    link.symlink_to(device)
    if "/" in name:
        (device / "partition").write_text("2\n")
        return device.parent
    return device


def test_facts_of_a_board(tmp_path: Path) -> None:
    write(tmp_path, "proc/device-tree/serial-number", "10000000abcd\0")
    write(tmp_path, "sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    assert (board.serial(tmp_path), board.undervoltage(tmp_path)) == ("10000000abcd", 1)


@pytest.mark.parametrize("name", ["mmcblk0/mmcblk0p2", "nvme0n1/nvme0n1p1", "sda"])
def test_wear_is_that_of_the_disk_under_the_data(tmp_path: Path, name: str) -> None:
    """On a partition, or on a whole disk; what has no register of an eMMC says so and still tells what was written."""
    whole = disk(tmp_path, name)
    write(tmp_path, f"sys/fs/ext4/{Path(name).name}/lifetime_write_kbytes", "1000000\n")
    write(whole.parent, f"{name}/stat", "1 2 3 4 5 6 1000000 8\n")
    assert board.lifetime_written_mb(tmp_path, tmp_path) == pytest.approx(1024)
    assert board.written_mb(tmp_path, tmp_path) == pytest.approx(512)
    with pytest.raises(FileNotFoundError):
        board.life_used(tmp_path, tmp_path)
    write(whole, "device/life_time", "0x02 0x03\n")
    write(whole, "device/pre_eol_info", "0x01\n")
    assert (board.life_used(tmp_path, tmp_path), board.end_of_life(tmp_path, tmp_path)) == (0.3, 1)


def test_another_machine_says_that_it_cannot_say(tmp_path: Path) -> None:
    for read in (board.serial, board.undervoltage):
        with pytest.raises(FileNotFoundError):
            read(tmp_path)
    for of_disk in (board.written_mb, board.life_used, board.end_of_life, board.lifetime_written_mb):
        with pytest.raises(FileNotFoundError):
            of_disk(tmp_path, tmp_path)


def test_a_device_that_does_not_tell_its_wear(tmp_path: Path) -> None:
    write(disk(tmp_path), "device/life_time", "0x00 0x00\n")
    with pytest.raises(ValueError, match="does not report"):
        board.life_used(tmp_path, tmp_path)


def test_health_counts_edges() -> None:
    bits = iter([0, 0, 1 | 1 << 16, 1 << 16, 1 << 16, 1 << 16])
    edges = PowerEdges(lambda: next(bits))
    seen = []
    for _ in range(3):
        seen.append(edges.readers()["undervoltage_times"]())
        edges.readers()["throttled_times"]()
    assert seen == [0, 1, 1]


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=4), max_size=30))
def test_edges_are_counted_as_far_as_they_can_be_seen(looks: list[list[bool]]) -> None:
    """Each inner list: what the power did up to one look. Never more than began, and what stands at a look is never missed."""
    edges, began, low, sticky, standing = PowerEventCounter(), 0, False, False, 0
    for moments in looks:
        seen_low = low
        for now in moments:
            began += now and not low
            low, sticky = now, sticky or now
        edges.see(low * UNDERVOLTAGE | sticky * UNDERVOLTAGE << 16)
        standing += low and not seen_low
    assert standing <= edges.counts[UNDERVOLTAGE] <= began
    assert bool(edges.counts[UNDERVOLTAGE]) == sticky

"""The acceptance list for a real Pi (`make test-pi`), on boards drawn as folders and on this machine, which is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hardware import board, run
from tests.hardware.board import Result
from tests.support.broker import PATIENCE
from tests.support.nodes import PROJECT

NOW = 1_795_700_000.0


def put(root: Path, **files: str) -> Path:
    """Files of a drawn board by path, `__` for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_off_a_pi_each_item_is_skipped_with_a_reason(tmp_path: Path) -> None:
    """One file comes of it all the same, with a schema, and nothing passes that was not looked at."""
    out = tmp_path / "acceptance.json"
    words = [sys.executable, "-m", "tests.hardware.run", "--out", str(out), "--root", str(tmp_path), "--load", "0"]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=PATIENCE * 120)
    told = json.loads(out.read_bytes())
    assert told["schema"] == run.SCHEMA
    for name in ("board", "tpm", "real-time clock", "hardware watchdog", "storage wear", "heat"):
        assert told["items"][name]["outcome"] == "SKIP"
    assert all(item["figure"] for item in told["items"].values())
    for name, item in told["items"].items():
        assert f"{item['outcome']:4}  {name}: {item['figure']}" in done.stdout
    assert done.returncode == int(any(item["outcome"] == "FAIL" for item in told["items"].values()))


@pytest.mark.parametrize(
    ("now", "outcome"),
    [(NOW, "PASS"), (NOW + 59, "PASS"), (NOW - 61, "FAIL"), (NOW + 61, "FAIL")],
    ids=["same", "near", "ahead", "behind"],
)
def test_a_clock_must_agree(tmp_path: Path, now: float, outcome: str) -> None:
    root = put(tmp_path, sys__class__rtc__rtc0__since_epoch=f"{NOW:.0f}\n", sys__class__rtc__rtc0__name="rpi-rtc\n")
    assert board.clock(root, now).outcome == outcome


def test_a_clock_without_a_battery_says_1970(tmp_path: Path) -> None:
    """R07: it exists, and even agrees with a system clock that was set by it."""
    root = put(tmp_path, sys__class__rtc__rtc0__since_epoch="42\n", sys__class__rtc__rtc0__name="rpi-rtc\n")
    assert board.clock(root, 42).outcome == "FAIL"


@pytest.mark.parametrize(("life", "outcome", "used"), [("0x01 0x02", "PASS", "20 %"), ("0x0b 0x01", "FAIL", "110 %")])
def test_wear_of_an_emmc(tmp_path: Path, life: str, outcome: str, used: str) -> None:
    device = "sys__block__mmcblk0__device__"
    files = {"type": "MMC\n", "name": "DG4032\n", "life_time": f"{life}\n", "pre_eol_info": "0x01\n"}
    found = board.wear(put(tmp_path, **{device + name: text for name, text in files.items()}))
    assert found.outcome == outcome
    assert used in found.figure


def test_an_sd_card_does_not_tell(tmp_path: Path) -> None:
    device = "sys__block__mmcblk0__device__"
    found = board.wear(put(tmp_path, **{device + "type": "SD\n", device + "name": "SD64G\n", device + "date": "03/2026\n"}))
    assert (found.outcome, "03/2026" in found.figure) == ("SKIP", True)


@pytest.mark.parametrize(("state", "outcome"), [("active", "PASS"), ("inactive", "FAIL")])
def test_a_watchdog_counts_only_if_it_runs(tmp_path: Path, state: str, outcome: str) -> None:
    device = "sys__class__watchdog__watchdog0__"
    files = {"identity": "Broadcom BCM2835 Watchdog timer\n", "state": f"{state}\n", "timeout": "14\n"}
    assert board.watchdog(put(tmp_path, **{device + name: text for name, text in files.items()})).outcome == outcome


@pytest.mark.parametrize(
    ("after", "bits", "outcome"),
    [("65000", "0x0", "PASS"), ("81200", "0x0", "FAIL"), ("65000", "0x50005", "FAIL")],
    ids=["cool", "hot", "throttled"],
)
def test_heat_is_read_after_the_load(tmp_path: Path, after: str, bits: str, outcome: str) -> None:
    zone = tmp_path / "sys/class/thermal/thermal_zone0/temp"
    put(tmp_path, sys__class__thermal__thermal_zone0__temp="48000\n")
    throttled = tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled"
    throttled.parent.mkdir(parents=True)
    throttled.write_text(f"{bits}\n")

    def warm() -> None:
        zone.write_text(f"{after}\n")

    found = board.heat(tmp_path, warm)
    assert found.outcome == outcome
    assert found.figure.startswith("48.0 °C at rest")


@pytest.mark.parametrize(("major", "outcome"), [("2", "PASS"), ("1", "FAIL")])
def test_only_a_tpm_2_can_hold_keys(tmp_path: Path, major: str, outcome: str) -> None:
    assert board.tpm(put(tmp_path, sys__class__tpm__tpm0__tpm_version_major=f"{major}\n")).outcome == outcome


@pytest.mark.parametrize("service", ["camera", "io"])
def test_the_sandbox_that_is_tried_is_the_units_own(service: str) -> None:
    """R17: every directive but those of the program's life is in it, letter for letter."""
    text = (PROJECT / f"systemd/lykta-{service}.service").read_text()
    tried = run.tried_unit(text, service, Path("/run/program"), Path("/run/out")).splitlines()
    for line in text.split("[Service]\n")[1].split("\n[")[0].splitlines():
        if line.split("=")[0] not in (*run._OTHERS, "TimeoutStartSec"):
            assert line in tried
    assert [line for line in tried if line.startswith("ExecStart=")] == [f"ExecStart={run.PYTHON} - {service}"]
    assert {"MemoryDenyWriteExecute=yes", "RestrictAddressFamilies=AF_UNIX", "SystemCallFilter=@system-service"} <= set(tried)


def test_a_program_that_was_killed_is_a_finding() -> None:
    """seccomp leaves no word of the program's own."""
    assert run.steps("camera", "", "Result=signal") == {
        "sandbox of camera": Result("FAIL", "the program said nothing: Result=signal")
    }


def test_steps_are_told_one_by_one() -> None:
    text = json.dumps(
        {"only_unix_sockets": {"passed": True, "figure": "refused"}, "enumerates": {"passed": False, "figure": "none"}}
    )
    assert run.steps("camera", f"a library's chatter\n{text}\n", "") == {
        "camera: only unix sockets": Result("PASS", "refused"),
        "camera: enumerates": Result("FAIL", "none"),
    }


def test_what_the_sandboxed_program_does_works_at_all() -> None:
    """Without the sandbox, on this machine: it imports, encodes and says so, and sees that nothing refuses it a socket."""
    program = (PROJECT / "tests/hardware/sandboxed.py").read_bytes()
    done = subprocess.run(
        [sys.executable, "-", "camera"], input=program, cwd=PROJECT, capture_output=True, check=False, timeout=PATIENCE * 120
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["imports"]["passed"]
    assert found["encodes"]["passed"], found
    assert found["encodes"]["figure"].startswith("libx264")
    assert not found["only_unix_sockets"]["passed"]
    assert not found["no_writable_code"]["passed"]

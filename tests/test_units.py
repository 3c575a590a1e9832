"""The unit files: readable as a claim. systemd-analyze is asked where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.nodes import PROJECT

UNITS = PROJECT / "systemd"
# Keys that systemd 252 (Debian 12) does not know yet: there the back-off is missing, not the sandbox.
NEWER = ("RestartSteps", "RestartMaxDelaySec", "MemoryZSwapMax")


def lines_of(name: str) -> list[str]:
    return (UNITS / f"lykta-{name}.service").read_text().splitlines()


@pytest.mark.parametrize("name", ["camera", "io", "retention", "wipe"])
def test_all_but_the_uplink_have_no_network(name: str) -> None:
    """R17: the unit file says so; nothing but Unix sockets, in a network namespace of its own."""
    lines = lines_of(name)
    assert "PrivateNetwork=yes" in lines
    assert "RestrictAddressFamilies=AF_UNIX" in lines


def test_the_uplink_has_no_devices_and_no_key_but_its_own() -> None:
    lines = lines_of("uplink")
    assert "PrivateDevices=yes" in lines
    keys = {line.split("=")[1].split(":")[0] for line in lines if line.startswith("LoadCredential=")}
    assert keys == {"uplink.key", "tls.key"}
    assert [line for line in lines_of("camera") if line.startswith("LoadCredential=")] == [
        "LoadCredential=camera.key:/etc/lykta/credentials/camera.key"
    ]


def test_all_three_share_the_same_hardening() -> None:
    """What differs stands above the line; what is below it is word for word the same."""
    shared = {
        (UNITS / f"lykta-{name}.service").read_text().split("# ---- the same in all three units ----")[1]
        for name in ("camera", "io", "uplink")
    }
    assert len(shared) == 1
    (text,) = shared
    for line in ("Type=notify", "RestartPreventExitStatus=2 5 7", "LimitCORE=1", "MemorySwapMax=0", "NoNewPrivileges=yes"):
        assert line in text.splitlines()


def test_retention_has_the_cameras_user_and_sandbox_but_no_device_and_a_key_of_its_own() -> None:
    """R27: it deletes what the camera sealed, and can neither film nor sign a manifest."""
    lines = lines_of("retention")
    assert {"User=lykta-camera", "PrivateDevices=yes", "Type=oneshot"} <= set(lines)
    assert not [line for line in lines if line.startswith("DeviceAllow=")]
    assert [line for line in lines if line.startswith("LoadCredential=")] == [
        "LoadCredential=retention.key:/etc/lykta/credentials/retention.key"
    ]
    services = (UNITS / "lykta-camera.service").read_text().split("UMask=0027")[1].split("[Install]")[0]
    assert (UNITS / "lykta-retention.service").read_text().split("UMask=0027")[1].strip() == services.strip()


def test_retention_runs_by_the_monotonic_clock() -> None:
    """R28: a calendar timer would wait for a wrong clock."""
    timer = (UNITS / "lykta-retention.timer").read_text()
    assert "OnUnitInactiveSec=5min" in timer
    assert "OnCalendar" not in timer


def test_users_of_the_units_are_made_by_sysusers() -> None:
    made = set(re.findall(r"(?m)^[ug] (\S+)", (UNITS / "lykta.sysusers.conf").read_text()))
    for name in ("camera", "io", "uplink", "retention"):
        for line in lines_of(name):
            if line.startswith(("User=", "Group=", "SupplementaryGroups=")):
                assert set(line.split("=")[1].split()) <= made, line


def test_no_python_in_the_folder() -> None:
    """It would hide the installed package of that name."""
    assert list(UNITS.rglob("*.py")) == []


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize(("name", "most"), [("camera", 5), ("io", 5), ("uplink", 11), ("retention", 5), ("wipe", 30)])
def test_exposure(tmp_path: Path, name: str, most: int) -> None:
    unit = UNITS / f"lykta-{name}.service"
    words = ["systemd-analyze", "security", "--offline=true", f"--threshold={most}", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:]
    verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    told = [
        line for line in verified.stderr.splitlines()
        if "lykta" in line and not any(key in line for key in NEWER) and "is not executable" not in line
    ]  # fmt: skip
    assert told == []

"""The unit files: readable as a claim. systemd-analyze is asked where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.root.apply_rate import LONGEST_S
from agent.runtime import exit_report
from tests.support.nodes import PROJECT

UNITS = PROJECT / "systemd"
# Keys that systemd 252 (Debian 12) does not know yet: there the back-off is missing, not the sandbox.
NEWER = ("RestartSteps", "RestartMaxDelaySec", "MemoryZSwapMax")


def lines_of(name: str) -> list[str]:
    return (UNITS / f"lykta-{name}.service").read_text().splitlines()


ALL = sorted(path.name for path in UNITS.iterdir() if path.suffix in (".service", ".path", ".socket", ".timer", ".target"))
SERVICES = ("camera", "io", "uplink", "retention", "apply", "renew", "link", "setup")


@pytest.mark.parametrize("name", ["camera", "io", "retention", "wipe", "apply", "renew", "link", "setup", "failed@", "io-key@"])
def test_all_but_the_uplink_have_no_network(name: str) -> None:
    """R17: the unit file says so; nothing but Unix sockets, in a network namespace of its own."""
    lines = lines_of(name)
    assert "PrivateNetwork=yes" in lines
    assert "RestrictAddressFamilies=AF_UNIX" in lines


def test_the_uplink_has_no_devices_and_no_key_but_its_own() -> None:
    lines = lines_of("uplink")
    assert "PrivateDevices=yes" in lines
    assert keys_of("uplink") == {"uplink.key", "tls.key"}
    assert keys_of("camera") == {"camera.key"}
    assert keys_of("io") == set()
    assert "LoadCredential=io.key:/run/lykta/io-key.sock" in lines_of("io")
    assert "ExecStart=/usr/bin/systemd-creds decrypt --name=io.key /etc/lykta/credentials/io.cred -" in lines_of("io-key@")


def keys_of(name: str) -> set[str]:
    """Sealed to the machine, all of them (R30)."""
    lines = [line for line in lines_of(name) if line.startswith("LoadCredentialEncrypted=")]
    assert all(re.fullmatch(r"LoadCredentialEncrypted=(\w+)\.key:/etc/lykta/credentials/\1\.cred", line) for line in lines)
    return {line.split("=")[1].split(":")[0] for line in lines}


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
    assert keys_of("retention") == {"retention.key"}
    services = (UNITS / "lykta-camera.service").read_text().split("UMask=0027")[1].split("[Install]")[0]
    assert (UNITS / "lykta-retention.service").read_text().split("UMask=0027")[1].strip() == services.strip()


def test_retention_runs_by_the_monotonic_clock() -> None:
    """R28: a calendar timer would wait for a wrong clock."""
    timer = (UNITS / "lykta-retention.timer").read_text()
    assert "OnUnitInactiveSec=5min" in timer
    assert "OnCalendar" not in timer


@pytest.mark.parametrize("name", SERVICES)
def test_whoever_fails_leaves_word(name: str) -> None:
    """The hook knows the unit, and takes the exit codes for final after which systemd gives up."""
    assert f"OnFailure=lykta-failed@{name}.service" in lines_of(name)
    assert name in exit_report.UNITS
    prevented = [line.split("=")[1].split() for line in lines_of(name) if line.startswith("RestartPreventExitStatus=")]
    assert prevented in ([], [sorted(exit_report.FINAL)])


@pytest.mark.parametrize("path", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_every_unit_bounds_its_memory_and_threads_and_says_why(path: Path) -> None:
    """14.A3: one that is flooded ends alone, before the board does."""
    lines = path.read_text().splitlines()
    [memory] = [line for line in lines if line.startswith("MemoryMax=")]
    assert re.fullmatch(r"MemoryMax=[1-9]\d{1,2}M", memory)
    assert len([line for line in lines if re.fullmatch(r"TasksMax=[1-9]\d?", line)]) == 1
    assert lines[lines.index(memory) - 1].startswith(("# measured: ", "# estimated, not measured: "))


def test_apply_is_not_started_for_ever_by_what_it_refuses() -> None:
    """14.A3: each start costs root a second; systemd waits for the pause that is part of the run."""
    assert "ExecStart=/opt/lykta/bin/lykta apply --paced" in lines_of("apply")
    [limit] = [line for line in lines_of("apply") if line.startswith("TimeoutStartSec=")]
    assert int(limit.partition("=")[2]) > LONGEST_S + 60


def test_io_waits_for_nothing() -> None:
    """Promise 5: no data partition, no time, no network, no key stands between the boot and the help button."""
    lines = lines_of("io")
    words = ("StateDirectory", "RequiresMountsFor", "Requires", "BindsTo", "Condition", "Assert")
    assert [line for line in lines if line.startswith(words)] == []
    assert not any("time-sync" in line or "network" in line for line in lines if line.startswith(("After", "Wants")))
    assert "SetCredential=io.key:none" in lines
    assert all(
        part.startswith(("-", "/run/lykta/")) for line in lines if line.startswith("BindPaths=") for part in line[10:].split()
    )


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_waits_for_the_time(name: str) -> None:
    """R07: neither boot, nor io, nor READY."""
    assert not any("time-sync.target" in line or "time-set.target" in line for line in lines_of(name))


def test_all_is_wanted_by_one_target_or_started_by_one_that_is(tmp_path: Path) -> None:
    """As `provisioning/setup/install.sh` lays it out: no unit is forgotten, none is enabled twice."""
    words = [str(PROJECT / "provisioning/setup/install.sh"), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    installed = {path.name for path in (tmp_path / "usr/lib/systemd/system").glob("lykta*")}
    assert installed == set(ALL)
    wants = tmp_path / "etc/systemd/system"
    assert [link.name for link in (wants / "multi-user.target.wants").iterdir()] == ["lykta.target"]
    wanted = {link.name for link in (wants / "lykta.target.wants").iterdir()}
    started = {name.rsplit(".", 1)[0] + ".service" for name in wanted if name.endswith((".timer", ".path"))}
    started |= {name.replace(".socket", "@.service") for name in wanted if name.endswith(".socket")}
    assert [link.name for link in (wants / "sysinit.target.wants").iterdir()] == ["lykta-firewall.service"]
    assert installed - wanted - started == {"lykta.target", "lykta-failed@.service", "lykta-firewall.service"}
    assert (tmp_path / "usr/lib/lykta/reread").stat().st_mode & 0o111


def test_users_of_the_units_are_made_by_sysusers() -> None:
    made = set(re.findall(r"(?m)^[ug] (\S+)", (UNITS / "lykta.sysusers.conf").read_text()))
    for name in (*SERVICES, "failed@"):
        for line in lines_of(name):
            if line.startswith(("User=", "Group=", "SupplementaryGroups=")):
                assert set(line.split("=")[1].split()) <= made, line


def test_no_python_in_the_folder() -> None:
    """It would hide the installed package of that name."""
    assert list(UNITS.rglob("*.py")) == []


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize(
    ("name", "most"),
    [
        *(("camera", 5), ("io", 5), ("uplink", 11), ("retention", 5), ("setup", 5), ("failed@", 5)),
        *(("wipe", 30), ("apply", 15), ("renew", 15), ("link", 15), ("io-key@", 15)),
    ],
)
def test_exposure(name: str, most: int) -> None:
    unit = UNITS / f"lykta-{name}.service"
    words = ["systemd-analyze", "security", "--offline=true", f"--threshold={most}", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", ALL)
def test_every_unit_is_read_without_a_word(name: str) -> None:
    """systemd-analyze warns with exit code 0: any line about a unit of ours is a failure."""
    assert told_of(UNITS / name) == []


def told_of(unit: Path) -> list[str]:
    """What systemd-analyze says of our units when it reads one."""
    verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    return [
        line for line in verified.stderr.splitlines()
        if "lykta" in line and not any(key in line for key in NEWER) and "is not executable" not in line
    ]  # fmt: skip


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_a_directive_that_systemd_does_not_know_is_noticed(tmp_path: Path) -> None:
    """Else the test before this one could not fail."""
    unit = tmp_path / "lykta-io.service"
    unit.write_text((UNITS / unit.name).read_text().replace("[Service]\n", "[Service]\nPrivateNetwrk=yes\n"))
    assert any("PrivateNetwrk" in line for line in told_of(unit))

"""At boot nobody is there: what the real units do under the real service manager, heard as the centre hears it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.container.rig import LAB, PREFIX, Container, Figure, Installed, booted
from tests.support.nodes import until

WATCHDOG_S = 20


def filming(container: Container) -> bool:
    return container.state("camera")[0] == "ready"


def night() -> list[dict[str, object]]:
    """Assessed hours that do not hold for the next hour at least: two hours from now, for one."""
    begin = datetime.now(UTC) + timedelta(hours=5)
    begin = begin.replace(hour=min(begin.hour, 22))
    return [{"days": [1, 2, 3, 4, 5, 6, 7], "begin": f"{begin.hour:02}:00", "end": f"{begin.hour + 1:02}:00"}]


def test_cold_boot_to_ready(installed: Installed, folder: Path, figure: Figure) -> None:
    """From power to a camera that films, and the centre knows; no unit failed."""
    with booted(installed, folder) as container:
        until(lambda: filming(container), "the camera films", 8)
        figure("seconds from power to ready", time.monotonic() - container.powered_s)
        until(lambda: container.told()[0] == "ready", "the centre hears it")
        assert container.must("systemctl", "--failed", "--plain", "--no-legend") == ""
        assert {container.show(f"lykta-{name}", "NRestarts") for name in ("camera", "io", "uplink")} == {"0"}
        for name in ("retention", "apply", "renew", "link", "heal"):
            container.must("systemctl", "start", f"lykta-{name}.service")
        assert "connected; nothing to do" in container.journal("lykta-link")


def test_a_dead_link_gets_a_fresh_uplink(installed: Installed, folder: Path) -> None:
    """The rescue's first rung, taken by its own unit in its sandbox: 16 minutes without a broker, and told when it is back."""
    uplink_to_broker = f"meta skuid lykta-uplink tcp dport {installed.ports.broker}"
    chain = "add table inet lab; add chain inet lab out { type filter hook output priority 0; }"
    with booted(installed, folder) as container:
        until(lambda: container.told()[0] == "ready", "the centre hears it", 60)
        container.must("systemctl", "stop", "lykta-link.timer")
        container.must("systemctl", "start", "lykta-link")
        pid = container.pid("uplink")
        container.must("nft", f"{chain}; add rule inet lab out {uplink_to_broker} reject with tcp reset")
        until(lambda: container.status("uplink")["detail"]["connected"] is False, "the link is down")
        course = container.file("/var/lib/lykta/link/course.json")
        known = json.loads(course.read_bytes())
        course.write_text(json.dumps(known | {"heard_ms": known["heard_ms"] - 16 * 60_000}))
        container.must("systemctl", "start", "lykta-link")
        until(lambda: container.pid("uplink") not in (0, pid), "the uplink is a new process")
        container.must("nft", "delete table inet lab")
        until(lambda: container.heard("event/link"), "the rung is told", 60)
        assert [(one["rung"], one["result"]) for one in container.heard("event/link")] == [("reconnect", "done")]


def test_a_lawful_night_is_off_without_a_restart(installed: Installed, folder: Path, figure: Figure) -> None:
    """R07: outside the assessed hours the service is up, rests, and feeds its watchdog; for longer than that counts."""

    def prepare(container: Container) -> None:
        container.file("/etc/lykta/basis.jws").write_bytes(container.sign("basis", hours=night()))

    with booted(installed, folder, prepare) as container:
        until(lambda: container.state("camera") == ("off", "outside_hours"), "the camera rests", 8)
        figure("seconds from power to off", time.monotonic() - container.powered_s)
        pid = container.pid("camera")
        time.sleep(WATCHDOG_S + 2)
        assert container.pid("camera") == pid
        assert container.show("lykta-camera", "NRestarts") == "0"
        assert container.told() == ("off", "outside_hours")
        assert container.heard("event/failure") == []


def test_a_hang_is_ended_and_the_centre_told(installed: Installed, folder: Path, figure: Figure) -> None:
    """A camera that hangs is started again in the watchdog's time and 3 s; its last word says why."""
    with booted(installed, folder) as container:
        until(lambda: filming(container), "the camera films", 60)
        pid = container.pid("camera")
        begin = time.monotonic()
        container.must("kill", "-STOP", str(pid))
        until(lambda: container.pid("camera") not in (0, pid), "it is started again", WATCHDOG_S + 3)
        figure("seconds from hang to start", time.monotonic() - begin)
        until(lambda: filming(container), "it films again", 60)
        until(lambda: container.heard("event/failure"), "its last word is heard")
        (word,) = container.heard("event/failure")
        assert (word["unit"], word["result"], word["final"]) == ("camera", "watchdog", False)


def test_a_camera_that_crashes_again_and_again(installed: Installed, folder: Path) -> None:
    """Back-off, one word and not one for each start, `blind` with its reason; help, SSH and status go on; later it heals."""
    with booted(installed, folder) as container:
        until(lambda: filming(container), "the camera films", 60)
        container.drop_in("lykta-camera.service", "[Service]\nExecStart=\nExecStart=/usr/bin/sh -c 'kill -SEGV $$$$'\n")
        container.must("kill", "-SEGV", str(container.pid("camera")))
        until(lambda: container.told() == ("blind", "camera_crashes"), "the centre hears why", 60)
        assert container.state("io")[0] == "ready"
        container.press()
        until(lambda: container.lamp() == "blinking", "the lamp blinks")
        assert container.answers_ssh()
        done = container.run("/opt/lykta/bin/lykta", "status")
        assert done.returncode == 4
        assert "camera_crashes" in done.stdout
        assert len([word for word in container.heard("event/failure") if word["unit"] == "camera"]) == 1
        container.file("/etc/systemd/system/lykta-camera.service.d/test.conf").unlink()
        container.must("systemctl", "daemon-reload")
        until(lambda: container.told()[0] == "ready", "it films again by itself", 90)
        assert container.show("lykta-camera", "NRestarts") != "0"
        container.must("systemctl", "start", "lykta-heal")
        assert container.show("lykta-camera", "NRestarts") == "0"


def test_a_new_basis_is_read_at_once(installed: Installed, folder: Path, figure: Figure) -> None:
    """A record placed by rename ends what it no longer allows; and one that is mended starts a camera that had given up."""

    with booted(installed, folder) as container:
        until(lambda: filming(container), "the camera films", 60)
        io, target = container.pid("io"), container.file("/etc/lykta/basis.jws")
        good = target.read_bytes()

        def place(token: bytes) -> float:
            part = target.with_name("basis.part")
            part.write_bytes(token)
            part.rename(target)
            return time.monotonic()

        placed = place(container.sign("basis", hours=night()))
        until(lambda: container.state("camera") == ("off", "outside_hours"), "the camera obeys", 10)
        figure("seconds from a new basis to obeying it", time.monotonic() - placed)
        place(b"no record")
        until(lambda: container.told() == ("blind", "basis_invalid"), "the centre hears of the bad one", 30)
        assert container.show("lykta-camera", "ActiveState") == "failed"
        place(good)
        until(lambda: filming(container), "it films again", 30)
        assert container.pid("io") == io, "help was not disturbed"


def test_a_basis_from_the_centre_is_placed_by_root_and_obeyed(installed: Installed, folder: Path, figure: Figure) -> None:
    """R05: over the broker, through the inbox, verified by `lykta apply`, placed, read anew, reported; a forged one is not."""

    def publish(container: Container, token: bytes) -> None:
        container.file(f"/{LAB}/record").write_bytes(token)
        tls = ["--cafile", f"/{LAB}/centre/ca.pem", "--cert", f"/{LAB}/centre/ops.pem", "--key", f"/{LAB}/centre/ops.key"]
        where = [
            "-V",
            "5",
            "-h",
            "127.0.0.1",
            "-p",
            str(installed.ports.operators),
            "-q",
            "1",
            "-r",
            "-t",
            f"{PREFIX}/basis/desired",
        ]
        container.must("mosquitto_pub", *where, *tls, "-f", f"/{LAB}/record")

    with booted(installed, folder) as container:
        until(lambda: filming(container), "the camera films", 60)
        until(lambda: container.told()[0] == "ready", "the centre hears it")
        before = container.file("/etc/lykta/basis.jws").read_bytes()
        publish(container, before[:-20] + b"A" * 20)
        until(
            lambda: [one for one in container.heard("basis/reported") if one["result"] == "refused"],
            "the forged one is refused",
            30,
        )
        assert container.file("/etc/lykta/basis.jws").read_bytes() == before
        assert container.state("camera")[0] == "ready"
        end = json.loads((installed.node.centre / "basis.json").read_text())["end"]
        sent = time.monotonic()
        publish(container, container.sign("basis", id="basis-at-night", assessment="2026-night", hours=night(), end=end))
        until(lambda: container.file("/etc/lykta/basis.jws").read_bytes() != before, "it is placed", 10)
        until(lambda: container.told()[0] == "blind", "the view was drawn for another basis: the lens shuts", 30)
        figure("seconds from the broker to a shut lens", time.monotonic() - sent)
        assert [one["result"] for one in container.heard("basis/reported")][-1] == "placed"

"""Stock picamera2 on libcamera's virtual pipeline, under the camera's real unit: what films, what is refused, what is lost.

Two things are not the unit's own here: the memory that stands in for a dma-heap, and netlink, without which libcamera looks
for cameras in /sys/bus/media, which this kernel may lack. `make test-vm` has the bus, and runs without netlink.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.container.rig import LAB, Container, Installed, booted
from tests.container.virtual_camera import HEAP, configure, virtual
from tests.support.nodes import PROJECT, until


def test_it_films_seals_and_survives_a_loose_cable(installed: Installed, folder: Path) -> None:
    """R14, R17: one stream, clips that verify; a camera that is lost leaves the node blind, and films again."""
    with booted(installed, folder, virtual) as container:
        until(lambda: container.state("camera")[0] == "ready", "it films", 60)
        assert container.status("camera")["detail"]["camera_model"] == "Virtual0"
        until(lambda: container.status("camera")["detail"].get("frames", 0) > 60, "four seconds of pictures", 60)
        container.press()
        until(lambda: clips(container), "a clip is sealed and complete", 60)
        assert container.run("/opt/lykta/bin/lykta", "clips", "verify").returncode == 0
        container.file(f"/{LAB}/unplugged").touch()
        until(lambda: container.told()[0] == "blind", "the centre hears that it is blind", 90)
        assert "no picture for" in container.journal("lykta-camera")
        assert container.state("io")[0] == "ready"
        container.file(f"/{LAB}/unplugged").unlink()
        until(lambda: container.told()[0] == "ready", "it films again by itself", 120)


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (lambda container: virtual(container, ()), "no_camera"),
        (lambda container: virtual(container, ("Virtual0", "Virtual1")), "several_cameras"),
        (lambda container: virtual(container, number="3"), "no_camera"),
        (lambda container: virtual(container, fps="30", height="1080"), "mode_refused"),
    ],
    ids=["loose at boot", "a second camera", "not that many", "wrong sensor"],
)
def test_what_cannot_be_opened_is_blind_and_says_why(
    installed: Installed, folder: Path, wire: Callable[[Container], None], reason: str
) -> None:
    """Never unmasked, help on; and mended by the settings alone, without a visit."""
    with booted(installed, folder, wire) as container:
        until(lambda: container.told() == ("blind", reason), "the centre hears why", 60)
        container.press()
        until(lambda: container.lamp() == "blinking", "the lamp blinks")
        if reason in ("several_cameras", "mode_refused"):
            configure(container, number="0", height="720", fps="15")
            until(lambda: container.told()[0] == "ready", "it films", 60)


def test_the_contracts_of_camera_and_service_manager_hold(installed: Installed, folder: Path) -> None:
    """The files that `make test` runs on the fakes that ship: here on picamera2 and on systemd, none skipped."""
    files = ("test_cameras.py", "test_sysd.py")

    def wire(container: Container) -> None:
        virtual(container)
        tests = container.file(f"/{LAB}/tests")
        tests.mkdir()
        for name in files:
            shutil.copy(PROJECT / "tests/drivers" / name, tests)

    with booted(installed, folder, wire) as container:
        until(lambda: container.state("camera")[0] == "ready", "it films", 60)
        container.must("systemctl", "stop", "lykta-camera")
        have = [f"LD_PRELOAD={HEAP}", "LYKTA_TEST_FPS=15", f"LYKTA_VIRTUAL_CAMERA=/{LAB}", "LYKTA_SYSTEMD=1"]
        words = ["/opt/lykta/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "picamera2 or systemd"]
        done = container.run("env", *have, *words, *(f"/{LAB}/tests/{name}" for name in files), limit=300)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
        assert "skipped" not in done.stdout


def clips(container: Container) -> list[dict[str, object]]:
    """The complete ones."""
    found: list[dict[str, object]] = json.loads(container.must("/opt/lykta/bin/lykta", "clips", "list", "--json"))["clips"]
    return found

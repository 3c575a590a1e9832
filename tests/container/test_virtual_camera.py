"""Stock picamera2 on libcamera's virtual pipeline, under the camera's real unit: what films, what is refused, what is lost.

Two things are not the unit's own here: the memory that stands in for a dma-heap, and netlink, without which libcamera looks
for cameras in /sys/bus/media, which this kernel may lack. `make test-vm` has the bus, and runs without netlink.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.container.rig import HERE, LAB, Container, Installed, booted
from tests.support.nodes import PROJECT, until

LIBRARY = "opt/lykta/lib/python3.13/site-packages"
HEAP = "/opt/lykta/lib/lykta-test-heap.so"
PIPELINE = "/usr/share/libcamera/pipeline/virtual/virtual.yaml"
UNIT = f"[Service]\nEnvironment=LD_PRELOAD={HEAP} LYKTA_TEST_FPS=15\nRestrictAddressFamilies=AF_NETLINK\n"


def cameras(*names: str) -> str:
    sizes = "".join(
        f"  - width: {width}\n    height: {height}\n    frame_rates: [15, 30]\n" for width, height in ((1280, 720), (640, 480))
    )
    one = '"{0}":\n  supported_formats:\n' + sizes + '  test_pattern: "bars"\n  location: "CameraLocationFront"\n  model: "{0}"\n'
    return "%YAML 1.1\n---\n" + "".join(one.format(name) for name in names)


def virtual(container: Container, names: tuple[str, ...] = ("Virtual0",), **settings: str) -> None:
    """Wire cameras to a node that is off."""
    program = container.file(HEAP)
    words = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(program), str(HERE / "virtual/heap.c"), "-ldl"]
    subprocess.run(words, check=True)
    shutil.copy(HERE / "virtual/lykta_virtual_camera.py", container.file(LIBRARY))
    container.file(f"{LIBRARY}/lykta_virtual_camera.pth").write_text("import lykta_virtual_camera\n")
    pipeline = container.file(PIPELINE)
    pipeline.parent.mkdir(parents=True, exist_ok=True)
    pipeline.write_text(cameras(*names))
    container.drop_in("lykta-camera.service", UNIT)
    configure(container, **{"source": '"picamera2"', "width": "1280", "height": "720", "fps": "15"} | settings)


def configure(container: Container, **settings: str) -> None:
    path = container.file("/etc/lykta/lykta.toml")
    text = path.read_text()
    for name, value in settings.items():
        text = re.sub(rf"(?m)(^\[camera\]\n(?:[^\[].*\n)*?){name} = .*\n", r"\1", text)
        text = text.replace("[camera]\n", f"[camera]\n{name} = {value}\n")
    part = path.with_name("lykta.part")
    part.write_text(text)
    part.rename(path)


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
            shutil.copy(PROJECT / "tests" / name, tests)

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

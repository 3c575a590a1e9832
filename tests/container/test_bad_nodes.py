"""What is broken on the node when it starts. Always: the centre or the technician is told why, nothing unmasked is filmed, the
help button works, and SSH answers, so that it can be mended without being installed anew.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.container.rig import Container, Installed, booted
from tests.support.nodes import until

CAMERA = "/etc/lykta/credentials/camera.cred"


def no_model(container: Container) -> None:
    for path in container.file("/var/lib/lykta/models").glob("*.onnx"):
        path.unlink()


def no_camera_key(container: Container) -> None:
    container.file(CAMERA).unlink()


def foreign(container: Container, unit: str) -> None:
    """As on a card that was put into another board: the seal does not open there."""
    path = container.file(f"/etc/lykta/credentials/{unit}.cred")
    path.write_bytes(path.read_bytes()[:-40] + b"A" * 39 + b"\n")


def foreign_camera_key(container: Container) -> None:
    foreign(container, "camera")


def time_unknown(container: Container) -> None:
    """As at a boot in 1970: nothing has vouched for the time."""
    path = container.file("/etc/lykta/lykta.toml")
    path.write_text(path.read_text().replace('trust = "host"', 'trust = "timesync"'))


def no_basis(container: Container) -> None:
    container.file("/etc/lykta/basis.jws").unlink()


def no_data_partition(container: Container) -> None:
    del container.binds["var/lib/lykta"]
    container.file("/srv/lab/torn.img").write_bytes(bytes(4096))
    fstab = container.file("/etc/fstab")
    fstab.write_text("/srv/lab/torn.img /var/lib/lykta ext4 nofail 0 0\n")


@pytest.mark.parametrize(
    ("harm", "state", "reason"),
    [
        (no_model, "blind", "models_invalid"),
        (no_camera_key, "blind", "not_enrolled"),
        (foreign_camera_key, "blind", "camera_fails"),
        (time_unknown, "off", "time_unknown"),
        (no_basis, "blind", "basis_missing"),
        (no_data_partition, "blind", "data_mount_failed"),
    ],
)
def test_told_and_helped(installed: Installed, folder: Path, harm: Callable[[Container], None], state: str, reason: str) -> None:
    """Promises 3, 4 and 5, R07: at the broker stands why; the lamp answers a press; SSH is there."""
    with booted(installed, folder, harm) as container:
        until(lambda: container.told() == (state, reason), f"the centre hears {state}: {reason}", 30)
        helps(container)
        assert list(container.file("/var/lib/lykta/spool").glob("*/clip.age")) == []


def no_io_key(container: Container) -> None:
    container.file("/etc/lykta/credentials/io.cred").unlink()


def foreign_io_key(container: Container) -> None:
    foreign(container, "io")


@pytest.mark.parametrize("harm", [no_io_key, foreign_io_key])
def test_without_its_key_io_helps_all_the_same(installed: Installed, folder: Path, harm: Callable[[Container], None]) -> None:
    """Promise 5: a key is for the journal; the lamp and the event need none."""
    with booted(installed, folder, harm) as container:
        until(lambda: container.state("io") == ("degraded", "not_enrolled"), "io says what is missing", 30)
        # A press stands nowhere for who subscribes later; the state does.
        until(lambda: container.told()[0], "the centre listens", 30)
        helps(container)
        until(lambda: container.heard("event/help"), "the centre hears the press", 30)


def read_only(container: Container) -> None:
    container.binds["var/lib/lykta"] = "--bind-ro"


def full(container: Container) -> None:
    """A small file system with everything in it and no byte more."""
    data = container.file("/var/lib/lykta")
    kept = data.rename(data.with_name("kept"))
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(data)], check=True)
    shutil.copytree(kept, data, dirs_exist_ok=True)
    done = subprocess.run(["dd", "if=/dev/zero", f"of={data}/filler", "bs=4k"], capture_output=True, text=True, check=False)
    assert "No space left" in done.stderr


@pytest.mark.parametrize("harm", [read_only, full])
def test_a_data_partition_that_takes_nothing(installed: Installed, folder: Path, harm: Callable[[Container], None]) -> None:
    """Promise 5: nothing can be written, and the lamp answers; nothing is filmed that could not be kept."""
    with booted(installed, folder, harm) as container:
        until(lambda: container.state("io") == ("degraded", "disk_refuses_events"), "io says what is wrong", 30)
        helps(container)
        assert container.state("camera")[0] != "ready"


def helps(container: Container) -> None:
    until(lambda: container.state("io")[0] in ("ready", "degraded"), "io is up", 30)
    container.press()
    until(lambda: container.lamp() == "blinking", "the lamp blinks", 5)
    assert container.answers_ssh()

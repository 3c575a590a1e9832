"""The disk of the virtual node: the container suite's node over a tree with a kernel, its keys still as the bundle brought them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.container.rig import LAB, TREE, Installed, overlay
from tests.support.nodes import PROJECT

HERE = Path(__file__).parent
SYSTEM = PROJECT / "out/vm"
_DISK = "4G"
_UNITS = {
    "lab-prepare": (
        # udev and gpio-sim first, services after: on a board the pins are there before systemd is
        "[Unit]\nWants=dev-tpmrm0.device\nAfter=dev-tpmrm0.device sys-kernel-config.mount systemd-udevd.service\n"
        "Before=lykta-camera.service lykta-io.service lykta-uplink.service\n"
        f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/{LAB}/prepare.sh\nTimeoutStartSec=300\n"
    ),
    "lab-inside": (
        "[Unit]\nAfter=lab-prepare.service\n"
        f"[Service]\nEnvironment=LAB_PATIENCE=%PATIENCE%\nExecStart=/opt/lykta/bin/python /{LAB}/inside.py\n"
    ),
}
# An emulated processor is ten times too slow for these; what they do is shown in the container suite.
_SLOW = "[Service]\nTimeoutStartSec=900\nWatchdogSec=600\n"


def make_system() -> None:
    """The tree and the kernel, unless they are there."""
    subprocess.run([str(PROJECT / "tests/container/tree.sh"), str(TREE)], check=True)
    subprocess.run([str(HERE / "system.sh"), str(TREE), str(SYSTEM)], check=True)


class VirtualNode(Installed):
    """Installed over the tree with a kernel; a first boot seals the keys to the machine it finds itself in."""

    def __init__(self, folder: Path, patience: int, watchdog_s: int) -> None:
        self.patience, self.watchdog_s = patience, watchdog_s
        super().__init__(folder, SYSTEM / "layer", TREE / "root")

    def _seal(self, root: Path) -> None:
        """Not here: this machine is not the node's."""

    def _lab(self, root: Path) -> None:
        super()._lab(root)
        lab = root / LAB
        for name in ("prepare.sh", "inside.py", "doors.py", "core.sh"):
            shutil.copy(HERE / name, lab)
        (lab / "tests/drivers").mkdir(parents=True)
        shutil.copy(PROJECT / "tests/drivers/test_pins.py", lab / "tests/drivers")
        shutil.copytree(PROJECT / "tests/hardware", lab / "tests/hardware", ignore=shutil.ignore_patterns("__pycache__"))
        settings = root / "etc/lykta/lykta.toml"
        settings.write_text(settings.read_text().replace('factory = "mock"', 'factory = "gpio"'))
        (root / "etc/fstab").write_text("/dev/vda / ext4 rw,errors=remount-ro 0 1\n/dev/vdb none swap sw 0 0\n")
        for name, text in _UNITS.items():
            path = root / f"etc/systemd/system/{name}.service"
            path.write_text(text.replace("%PATIENCE%", str(self.patience)))
            (root / "etc/systemd/system/multi-user.target.wants" / path.name).symlink_to(f"/etc/systemd/system/{path.name}")

        if self.patience > 1:
            for service in ("camera", "io", "uplink"):
                path = root / f"etc/systemd/system/lykta-{service}.service.d/slow.conf"
                path.parent.mkdir()
                path.write_text(_SLOW)
            slow = root / "etc/systemd/system.conf.d/slow.conf"
            slow.parent.mkdir(parents=True, exist_ok=True)
            slow.write_text(f"[Manager]\nRuntimeWatchdogSec={self.watchdog_s}s\n")

    def disk(self, target: Path) -> None:
        """An ext4 image of the whole node."""
        root = self.folder / "image"
        overlay(root, self.folder / "image-layer", self.layer, SYSTEM / "layer", TREE / "root")
        words = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-d", str(root), str(target), _DISK]
        subprocess.run(words, check=True, timeout=600)
        subprocess.run(["umount", str(root)], check=True)

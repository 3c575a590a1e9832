"""A node that boots: Debian 13's systemd as PID 1 over the tree of tree.sh, with our package's files, units and a demo's keys.

No virtual machine: systemd-nspawn in a mount and a control group namespace of its own, each container on an overlay, so that
the tree stays as it was made. Mounts end with the namespace that `make test-root` runs the tests in.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agent.demo.run import Demo
from agent.demo.site import NODE, SITE
from privacy.errors import LyktaError
from tests.support.asking import ask
from tests.support.broker import PATIENCE
from tests.support.nodes import MODELS, PROJECT, VIDEO, Node, until

TREE = PROJECT / "out/container"
HERE = Path(__file__).parent
LAB = "srv/lab"
Figure = Callable[[str, float], None]
"""Note a measured value under a name."""
_OWN = ("etc/lykta", "var/lib/lykta")
PREFIX = f"lykta/v1/{SITE}/{NODE}"
_ENTER = ("nsenter", "-m", "-u", "-i", "-n", "-p", "-C", "-T")
_NSPAWN = (
    "mount --make-rprivate / && { umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 cgroup2 /sys/fs/cgroup; } && "
    'exec systemd-nspawn -q -D "$0" -b --register=no --keep-unit --console=pipe --private-network --link-journal=no '
    '--capability=CAP_BPF,CAP_MKNOD,CAP_PERFMON --system-call-filter=bpf "$@"'
)


def overlay(target: Path, upper: Path, *lower: Path) -> None:
    """Mount a tree over others: what is written lands in upper."""
    for folder in (target, upper / "files", upper / "work"):
        folder.mkdir(parents=True, exist_ok=True)
    lowers = ":".join(str(path) for path in lower)
    options = f"lowerdir={lowers},upperdir={upper}/files,workdir={upper}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(target)], check=True)


class Installed:
    """The tree with the project installed as a package would, and a node that was enrolled. Made once a session.

    lower  what the tree consists of, the uppermost first
    """

    def __init__(self, folder: Path, *lower: Path) -> None:
        self.folder, self.layer = folder, folder / "layer/files"
        subprocess.run([str(HERE / "tree.sh"), str(TREE)], check=True)
        root = folder / "root"
        overlay(root, folder / "layer", *(lower or (TREE / "root",)))
        self._program(root)
        self.node = self._node(root)
        self._lab(root)
        subprocess.run(["umount", str(root)], check=True)

    def _program(self, root: Path) -> None:
        source = self.folder / "source"
        for name in ("agent", "drivers", "privacy", "provisioning", "central"):
            shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
            shutil.copy(PROJECT / name, source)
        words = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(root / "mnt"),
            str(source),
        ]
        subprocess.run(words, check=True)
        (wheel,) = (root / "mnt").glob("lykta-*.whl")
        self._in(root, "/opt/lykta/bin/pip", "install", "-q", "--no-deps", "--no-index", f"/mnt/{wheel.name}")
        subprocess.run(["systemd-machine-id-setup", f"--root={root}"], check=True, capture_output=True)
        # As the README says it: in place, with the system's own users, and by its own tools.
        shutil.copytree(PROJECT / "systemd", root / "mnt/systemd")
        (root / "mnt/provisioning/setup").mkdir(parents=True)
        shutil.copy(PROJECT / "provisioning/setup/install.sh", root / "mnt/provisioning/setup")
        self._in(root, "/mnt/provisioning/setup/install.sh")

    def _node(self, root: Path) -> Node:
        """A demo's node, its keys sealed to this tree."""
        demo = Demo(self.folder / "demo", VIDEO, MODELS)
        demo.prepare()
        lab = root / LAB
        lab.mkdir(parents=True)
        shutil.copy(VIDEO, lab / "video.avi")
        shutil.copytree(demo.node / "etc/lykta", root / "etc/lykta", dirs_exist_ok=True)
        shutil.copytree(demo.models, root / "var/lib/lykta/models")
        settings = root / "etc/lykta/lykta.toml"
        settings.write_text(settings.read_text().replace(str(demo.video), f"/{LAB}/video.avi"))
        shutil.copytree(demo.centre, lab / "centre")
        demo.broker_files()
        (lab / "broker").mkdir()
        for name in ("broker.acl", "broker.conf"):
            (lab / "broker" / name).write_text((demo.broker / name).read_text().replace(str(demo.folder), f"/{LAB}"))
        self._seal(root)
        self.ports = demo.ports
        return Node(demo.node, demo.centre)

    def _seal(self, root: Path) -> None:
        self._in(root, "/opt/lykta/bin/lykta", "seal-keys")

    def _lab(self, root: Path) -> None:
        """What is not ours: the broker and the operator's ear."""
        tls = f"--cafile /{LAB}/centre/ca.pem --cert /{LAB}/centre/ops.pem --key /{LAB}/centre/ops.key"
        ear = f"mosquitto_sub -V 5 -h 127.0.0.1 -p {self.ports.operators} {tls} -t lykta/v1/# -F '%%U\\t%%r\\t%%t\\t%%p'"
        units = {
            "lab-broker": f"ExecStart=/usr/sbin/mosquitto -c /{LAB}/broker/broker.conf",
            "lab-ear": f'ExecStart=/bin/sh -c "exec {ear} >> /{LAB}/heard"\nRestart=always\nRestartSec=100ms',
        }
        for name, lines in units.items():
            path = root / f"etc/systemd/system/{name}.service"
            path.write_text(f"[Unit]\nStartLimitIntervalSec=0\n[Service]\n{lines}\n")
            wants = root / "etc/systemd/system/multi-user.target.wants"
            (wants / path.name).symlink_to(f"/etc/systemd/system/{path.name}")
        (root / "etc/systemd/system/mosquitto.service").symlink_to("/dev/null")

    @staticmethod
    def _in(root: Path, *words: str) -> None:
        enter = ["unshare", "--mount", "sh", "-c", 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"', str(root), *words]
        done = subprocess.run(enter, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr[-2000:]}"


class Container:
    """One booted node."""

    def __init__(self, installed: Installed, folder: Path) -> None:
        self.installed, self.folder, self.disk = installed, folder, folder / "root"
        self.binds = dict.fromkeys(_OWN, "--bind")
        self._leader = 0
        overlay(self.disk, folder / "layer", installed.layer, TREE / "root")
        # On a real file system, as in the field: an overlay does not tell of every change of what lies below it.
        for path in _OWN:
            shutil.copytree(self.disk / path, folder / "own" / path, symlinks=True)

    # -- life --------------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Power on; returns once systemd lets itself be entered."""
        self.powered_s = time.monotonic()
        binds = [f"{how}={self.folder}/own/{path}:/{path}" for path, how in self.binds.items()]
        # A name of its own: systemd-nspawn keeps a folder for each, and two runs on one machine must not meet in it.
        name = f"--machine=lykta-{uuid.uuid4().hex[:12]}"
        # Its time since power begins here: a machine that has been up for hours would have every timer due at once.
        clocks = {"--boottime": time.CLOCK_BOOTTIME, "--monotonic": time.CLOCK_MONOTONIC}
        shifts = [f"{name}=-{int(time.clock_gettime(clock))}" for name, clock in clocks.items()]
        words = ["unshare", "--mount", "--cgroup", "--time", *shifts, "bash", "-c", _NSPAWN, str(self.disk), name, *binds]
        with (self.folder / "console").open("wb") as console:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT)
        self._leader = int(until(self._find_leader, f"systemd starts; see {self.folder}/console", 20))

    def _find_leader(self) -> int:
        assert self._process.poll() is None, (self.folder / "console").read_text(errors="replace")[-2000:]
        pid = self._process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            # A child of the script may have ended meanwhile.
            with suppress(FileNotFoundError, ProcessLookupError):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        return 0

    def off(self) -> None:
        """Power off without warning: nothing in it is asked. Its first process takes all others with it."""
        if self._leader:
            os.kill(self._leader, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait(PATIENCE * 20)
        subprocess.run(["umount", "-l", str(self.disk)], check=True)

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self._leader}/root")

    def run(self, *words: str, limit: float = 60) -> subprocess.CompletedProcess[str]:
        enter = [_ENTER[0], "-t", str(self._leader), *_ENTER[1:], "--", *words]
        return subprocess.run(enter, capture_output=True, text=True, timeout=PATIENCE * limit, check=False)

    def must(self, *words: str, limit: float = 60) -> str:
        done = self.run(*words, limit=limit)
        assert done.returncode == 0, f"{' '.join(words)}: {done.returncode}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        return self.must("systemctl", "show", "--value", "-p", name, unit).strip()

    def pid(self, service: str) -> int:
        return int(self.show(f"lykta-{service}", "MainPID"))

    def status(self, service: str) -> dict[str, Any]:
        try:
            return ask(self.root / f"run/lykta/{service}/ctl.sock", {"verb": "status"})
        except LyktaError:
            return {}

    def state(self, service: str) -> tuple[str, str]:
        standing = self.status(service).get("standing", {})
        return standing.get("state", ""), standing.get("reason", "")

    def press(self) -> None:
        ask(self.root / "run/lykta/io/ctl.sock", {"verb": "press", "name": "help"})

    def set_contact(self, name: str, closed: bool) -> None:
        ask(self.root / "run/lykta/io/ctl.sock", {"verb": "set", "name": name, "closed": closed})

    def lamp(self) -> str:
        return str(self.status("io").get("detail", {}).get("lamp"))

    def heard(self, tail: str) -> list[dict[str, Any]]:
        """Bodies that the operator heard under a topic, oldest first."""
        path = self.root / LAB / "heard"
        text = path.read_text(errors="replace") if path.exists() else ""
        rows = [line.split("\t", 3) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [json.loads(row[3])["body"] for row in rows if row[2] == f"{PREFIX}/{tail}" and row[3]]

    def told(self) -> tuple[str, str]:
        """The node's state as the centre has it."""
        states = self.heard("state")
        return (states[-1]["state"], states[-1]["reason"]) if states else ("", "")

    def answers_ssh(self) -> bool:
        return "SSH-2.0" in self.run("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/22; head -c 7 <&3", limit=10).stdout

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "-q", "-b", "-o", "cat", "-u", unit).stdout

    def drop_in(self, unit: str, text: str) -> None:
        """Change a unit on the disk before boot, or in the running node."""
        path = (self.root if self._leader else self.disk) / f"etc/systemd/system/{unit}.d/test.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if self._leader:
            self.must("systemctl", "daemon-reload")

    def file(self, path: str) -> Path:
        """A file of the node, as it can be reached from here before and after power comes."""
        inside = path.lstrip("/")
        own = inside.startswith(tuple(self.binds))
        return (self.root if self._leader else self.folder / "own" if own else self.disk) / inside

    def sign(self, record: str, **changes: Any) -> bytes:
        """The node's record, signed anew with some fields changed."""
        self.installed.node.sign(record, **changes)
        return Path(getattr(self.installed.node.layout, record)).read_bytes()


@contextmanager
def booted(installed: Installed, folder: Path, prepare: Callable[[Container], object] = lambda _: None) -> Iterator[Container]:
    """A container that is off again afterwards. prepare: what is done to its disk before power comes."""
    container = Container(installed, folder)
    try:
        prepare(container)
        container.boot()
        yield container
    finally:
        if hasattr(container, "_process"):
            container.off()

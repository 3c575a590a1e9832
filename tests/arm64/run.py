"""`make test-arm64`: the node's locked packages for a Pi's Debian 13, each imported and used once under emulation. Root; slow.

Wheels are resolved for aarch64 and CPython 3.13 and checked by the lock's hashes; the four packages without such wheels are
built from their locked sources with arm64's own compiler. What it cannot show: speed, seccomp, and anything of a board.
usage: python -m tests.arm64.run [--log FILE]
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from packaging.markers import Marker

from tests.arm64.check import CHECKS
from tests.support.nodes import MODELS, PROJECT

HERE = Path(__file__).parent
OUT = PROJECT / "out/arm64"
ROOT = OUT / "root"
QEMU = OUT / "qemu-aarch64"
SOURCES = ("pidng", "python-prctl", "systemd-python", "videodev2")
"""Packages that bring no wheel for aarch64 and CPython 3.13."""
_DEBIAN = (
    "base-files,bash,coreutils,dash,grep,sed,gcc,g++,pkgconf,libc6-dev,libcap-dev,libsystemd-dev,"
    "python3,python3-dev,python3-pip-whl,python3-libcamera,libarchive13t64"
)
_PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_26", "manylinux_2_27", "manylinux_2_28", "manylinux_2_34")
_TARGET = {"python_version": "3.13", "python_full_version": "3.13.5", "platform_machine": "aarch64", "sys_platform": "linux"}
_LIMIT_S = 600


def missing() -> str:
    absent = [name for name in ("mmdebstrap", "unshare") if not shutil.which(name)]
    if os.geteuid() != 0:
        return "needs root"
    return f"needs {', '.join(absent)}: provisioning/setup/setup.sh arm64" if absent else ""


def run(words: list[str], limit_s: float = _LIMIT_S) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=limit_s, check=False)


def must(words: list[str], limit_s: float = _LIMIT_S) -> None:
    done = run(words, limit_s)
    if done.returncode:
        raise SystemExit(f"error: test-arm64: {words[0]}: {(done.stdout + done.stderr)[-1500:]}")


def inside(*words: str) -> list[str]:
    environment = ["env", "PYTHONPATH=/opt/lykta:/mnt/lykta", "LC_ALL=C.UTF-8", "LIBCAMERA_LOG_LEVELS=*:ERROR", *words]
    return [str(HERE / "enter.sh"), str(QEMU), str(ROOT), "/usr/bin/env", *environment[1:]]


def entries(lock: str) -> dict[str, str]:
    """The lock's entries that hold on the target, by name, each with its version and hashes."""
    found, name = {}, ""
    for line in lock.splitlines():
        if line[:1].isalpha():
            name = line.split("==")[0]
            marker = line.partition(" ; ")[2].rstrip(" \\")
            holds = not marker or Marker(marker).evaluate(_TARGET)
            if not holds:
                name = ""
            else:
                found[name] = line.partition(" ; ")[0].rstrip(" \\") + " \\\n"
        elif name and line.strip().startswith("--hash"):
            found[name] += line + "\n"
    return {name: text.rstrip(" \\\n") for name, text in found.items()}


def tree() -> None:
    """An arm64 Debian 13, unpacked only: no script of its packages has to run."""
    stamp = OUT / "stamp"
    if stamp.exists() and stamp.read_text() == _DEBIAN:
        return
    sys.stderr.write("arm64: a Debian 13 for arm64, about one minute\n")
    shutil.rmtree(ROOT, ignore_errors=True)
    OUT.mkdir(parents=True, exist_ok=True)
    must(["mmdebstrap", "--quiet", "--architectures=arm64", "--variant=extract", f"--include={_DEBIAN}", "trixie", str(ROOT)])
    for name in ("bin", "lib", "sbin"):
        if not (ROOT / name).exists():
            (ROOT / name).symlink_to(f"usr/{name}")
    stamp.write_text(_DEBIAN)


def emulator() -> None:
    """Debian 13's own: the 7.2 of Debian 12 answers close_range(2) by a walk through 2^31 descriptors, ten seconds a process."""
    if QEMU.exists():
        return
    spare = OUT / "spare"
    must(["mmdebstrap", "--quiet", "--variant=extract", "--include=qemu-user", "trixie", str(spare)])
    shutil.copy(spare / "usr/bin/qemu-aarch64", QEMU)
    shutil.rmtree(spare)


def install() -> dict[str, int]:
    """The locked packages into /opt/lykta of the tree; how many as wheels and how many from source."""
    lock = entries((PROJECT / "requirements/pi.txt").read_text())
    site, spare = ROOT / "opt/lykta", ROOT / "mnt"
    shutil.rmtree(site, ignore_errors=True)
    spare.mkdir(exist_ok=True)
    wheels = {name: text for name, text in lock.items() if name not in SOURCES}
    (spare / "wheels.txt").write_text("\n".join(wheels.values()) + "\n")
    (spare / "sources.txt").write_text("\n".join(lock[name] for name in SOURCES) + "\n")
    options = ["--implementation", "cp", "--python-version", "3.13", "--abi", "cp313", "--abi", "abi3", "--abi", "none"]
    options += [word for name in _PLATFORMS for word in ("--platform", f"{name}_aarch64")]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
        "--ignore-requires-python",
    ]
    must([*pip, "--only-binary=:all:", *options, "--target", str(site), "-r", str(spare / "wheels.txt")])
    build()
    return {"wheels": len(wheels), "built": len(SOURCES)}


def build() -> None:
    """The packages without wheels, by arm64's own gcc and the lock's setuptools."""
    resolver = ROOT / "etc/resolv.conf"
    resolver.unlink(missing_ok=True)
    shutil.copy("/etc/resolv.conf", resolver)
    (whl,) = (ROOT / "usr/share/python-wheels").glob("pip-*.whl")
    pip = ["/usr/bin/python3", f"/usr/share/python-wheels/{whl.name}/pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    must(inside(*pip, "--require-hashes", "--target", "/opt/lykta", "-r", "/mnt/sources.txt"))


def ours() -> None:
    target = ROOT / "mnt/lykta"
    shutil.rmtree(target, ignore_errors=True)
    for name in ("agent", "drivers", "privacy", "provisioning"):
        shutil.copytree(PROJECT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(MODELS, ROOT / "mnt/models", dirs_exist_ok=True)
    shutil.copy(HERE / "check.py", ROOT / "mnt")


def judge(name: str) -> tuple[str, str]:
    try:
        done = run(inside("/usr/bin/python3", "/mnt/check.py", name), 180)
    except subprocess.TimeoutExpired:
        return "FAIL", "not within 180 s"
    if done.returncode == 0:
        return "PASS", done.stdout.strip().splitlines()[-1]
    last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
    return "FAIL", f"exit {done.returncode}: {last}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.arm64.run")
    parser.add_argument("--log", type=Path, default=PROJECT / "docs/test-arm64.log")
    chosen = parser.parse_args()
    if why := missing():
        sys.stderr.write(f"error: test-arm64: {why}\n")
        return 6
    tree()
    emulator()
    counts = install()
    ours()
    rows = {name: judge(name) for name in CHECKS}
    qemu = run([str(QEMU), "--version"]).stdout.split()[2]
    passed = sum(outcome == "PASS" for outcome, _ in rows.values())
    head = (
        f"make test-arm64, {datetime.now(UTC):%Y-%m-%d}: Debian 13 for arm64 under qemu-user {qemu} on {platform.machine()}\n"
        f"requirements/pi.txt for aarch64, CPython 3.13, by hash: {counts['wheels']} wheels; "
        f"built from source: {', '.join(SOURCES)}\n"
        f"{passed} passed, {len(rows) - passed} failed\n\n"
    )
    chosen.log.write_text(head + "".join(f"{outcome}  {name}: {figure}\n" for name, (outcome, figure) in rows.items()))
    sys.stderr.write(chosen.log.read_text())
    return 0 if passed == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())

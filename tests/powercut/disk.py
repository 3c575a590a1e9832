"""A disk that remembers: ext4 on a loop device, on a FUSE export of qemu-storage-daemon that logs every write and flush.

The block log's format is dm-log-writes' (Linux, Documentation/admin-guide/device-mapper/log-writes.rst), as QEMU's
`blklogwrites` driver writes it. Behind the file system lies room for marks: a sector written there stands in the log between
the writes before it and those after it, and so says at which moment something had been acknowledged.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
SIZE = 24 << 20
"""Bytes of the file system."""
MARKS = 4 << 20
"""Bytes behind it for marks."""
# Without noauto_da_alloc ext4 forgives a missing fsync before a rename; other file systems, and ext4 elsewhere, do not.
OPTIONS = "noauto_da_alloc,errors=remount-ro"
_MAGIC = 0x6A736677736872
_FLUSH, _DISCARD = 1, 4
_READ_ONLY, _NOATIME = 1, 1024
_libc = ctypes.CDLL(None, use_errno=True)


def unavailable() -> str:
    """Why there can be no such disk here; empty if there can."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.access("/dev/fuse", os.W_OK):
        return "needs /dev/fuse"
    missing = [name for name in ("qemu-storage-daemon", "mke2fs", "losetup", "unshare") if not shutil.which(name)]
    if missing:
        return f"needs {', '.join(missing)}: provisioning/setup/setup.sh powercut"
    alone = subprocess.run([*ALONE, "losetup", "-f"], capture_output=True, text=True, check=False)
    return f"needs loop devices and mounts of its own: {alone.stderr.strip()}" if alone.returncode else ""


INSIDE = "LYKTA_ALONE"
"""Set in the environment of what runs behind `ALONE`."""
ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "env", f"{INSIDE}=1")
"""Runs a command whose mounts, loop devices and processes end with it, however it ends."""


def make(path: Path, size: int = SIZE, *words: str) -> None:
    """A new ext4 image with a small journal, everything in it written: no background work disturbs the log. words: mke2fs's."""
    with path.open("wb") as file:
        file.truncate(size)
    quick = "lazy_itable_init=0,lazy_journal_init=0"
    plain = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-J", "size=4", "-m", "0", "-E", quick]
    subprocess.run([*plain, *words, path], check=True)


@contextmanager
def loop(path: Path, size: int = SIZE) -> Iterator[str]:
    """A loop device over the first bytes of a file; frees itself, if need be, when the last mount of it goes."""
    words = ["losetup", "--find", "--show", "--sizelimit", str(size), str(path)]
    device = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@contextmanager
def mounted(device: str, folder: Path, *, read_only: bool = False) -> Iterator[Path]:
    """Mount ext4, which replays its journal; OSError if it cannot."""
    flags = _NOATIME | (_READ_ONLY if read_only else 0)
    if _libc.mount(device.encode(), os.fsencode(folder), b"ext4", flags, OPTIONS.encode()):
        raise OSError(ctypes.get_errno(), f"mount {device}: {os.strerror(ctypes.get_errno())}")
    try:
        yield folder
    finally:
        if _libc.umount2(os.fsencode(folder), 0):
            raise OSError(ctypes.get_errno(), f"umount {folder}: {os.strerror(ctypes.get_errno())}")


@dataclass(frozen=True)
class Recording:
    """A disk that is being recorded. folder: the mounted file system; marks: the file whose bytes from `SIZE` on are marks."""

    folder: Path
    marks: Path


@contextmanager
def recording(work: Path) -> Iterator[Recording]:
    """Record everything written below `folder`; afterwards `read_log(work)` has it."""
    make(work / "base.raw")
    shutil.copyfile(work / "base.raw", work / "disk.raw")
    os.truncate(work / "disk.raw", SIZE + MARKS)
    for name, size in (("log.raw", 2 << 30), ("export", 0)):
        with (work / name).open("wb") as file:
            file.truncate(size)
    (work / "mnt").mkdir()
    with ExitStack() as stack:
        stack.enter_context(_daemon(work))
        device = stack.enter_context(loop(work / "export"))
        yield Recording(stack.enter_context(mounted(device, work / "mnt")), work / "export")


@contextmanager
def _daemon(work: Path) -> Iterator[None]:
    graph = (
        f"driver=file,node-name=disk,filename={work}/disk.raw",
        f"driver=file,node-name=log,filename={work}/log.raw",
        f"driver=blklogwrites,node-name=both,file=disk,log=log,log-sector-size={SECTOR}",
    )
    words = ["qemu-storage-daemon", *(word for node in graph for word in ("--blockdev", node))]
    words += ["--export", f"fuse,id=export,node-name=both,mountpoint={work}/export,writable=on"]
    process = subprocess.Popen(words)
    try:
        while (work / "export").stat().st_size != SIZE + MARKS:
            if process.poll() is not None:
                raise OSError(f"qemu-storage-daemon: ended with {process.returncode}")
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        if process.wait(30):
            raise OSError(f"qemu-storage-daemon: ended with {process.returncode}")


@dataclass(frozen=True, slots=True)
class Write:
    """One entry of the log. start: byte on the disk; at: where its bytes stand in the log's file; a flush alone has no bytes."""

    start: int
    size: int
    at: int
    flush: bool

    @property
    def mark(self) -> bool:
        return self.start >= SIZE


def read_log(work: Path) -> list[Write]:
    """All entries, in the order in which the disk took them."""
    found: list[Write] = []
    with (work / "log.raw").open("rb") as log:
        magic, _version, count, sector = struct.unpack("<QQQI", log.read(28))
        if (magic, sector) != (_MAGIC, SECTOR):
            raise ValueError(f"block log: is none (magic {magic:x}, sector {sector})")
        at = SECTOR
        for _ in range(count):
            log.seek(at)
            start, sectors, flags, _length = struct.unpack("<QQQQ", log.read(32))
            if flags & _DISCARD:
                raise ValueError("block log: a discard, which this file system was not told to make")
            found.append(Write(start * SECTOR, sectors * SECTOR, at + SECTOR, bool(flags & _FLUSH)))
            at += SECTOR + sectors * SECTOR
    return found

"""Whoever has rights in a folder works against whoever acts there: one name is by turns the plain thing and a link elsewhere.

A process of its own, so that a name changes between any two system calls of what is tested. What it leads to is watched by the
kernel (inotify): nothing there may as much as be opened.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.broker import until
from tests.support.nodes import PROJECT
from tests.support.swapper import FILES, Plain

ROUNDS, EXCHANGES = 25, 4000
"""So often the tested code works in the folder at least, while the names change so often at least."""
_ALL_EVENTS = 0xFFF
"""IN_ALL_EVENTS (linux/inotify.h)."""


class Swapper:
    """A running process that changes names."""

    def __init__(self, process: subprocess.Popen[bytes], count: mmap.mmap) -> None:
        self._process, self._count = process, count

    @property
    def exchanges(self) -> int:
        [number] = struct.unpack("Q", self._count[:8])
        return int(number)

    def rounds(self, least: int = ROUNDS) -> Iterator[int]:
        """Numbers of rounds, until there were enough of them and of exchanges meanwhile."""
        until(lambda: self.exchanges or self._process.poll() is not None, "the names change")
        begin, number = self.exchanges, 0
        while number < least or self.exchanges - begin < EXCHANGES:
            assert self._process.poll() is None, "the process that changes the names has ended"
            yield number
            number += 1


@contextmanager
def swapping(folder: Path, name: str, target: Path, plain: Plain, *, other: str = ".other", user: int = 0) -> Iterator[Swapper]:
    """In `folder`, `name` and `other` are by turns something plain and a link to `target`; what is removed is made again.

    user   who does it, where the tests run as root
    """
    with tempfile.NamedTemporaryFile(prefix="lykta-swapping-") as file:
        file.write(bytes(8))
        file.flush()
        words = [sys.executable, PROJECT / "tests/support/swapper.py", folder, name, other, target, plain, file.name, str(user)]
        process = subprocess.Popen(words)
        try:
            with mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ) as count:
                yield Swapper(process, count)
        finally:
            process.kill()
            process.wait()


def victim(folder: Path, *names: str) -> Path:
    """A new folder with such files, to which links may lead."""
    folder.mkdir(mode=0o700)
    for name in names or FILES:
        (folder / name).write_bytes(b"of somebody else")
    return folder


@contextmanager
def untouched(*targets: Path) -> Iterator[None]:
    """Nothing in these folders is opened, read, written, made, removed, or given to somebody meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    try:
        for target in (path for top in targets for path in (top, *top.rglob("*"))):
            assert libc.inotify_add_watch(descriptor, os.fsencode(target), _ALL_EVENTS) >= 0, os.strerror(ctypes.get_errno())
        yield
        with suppress(BlockingIOError):
            raise AssertionError(f"somebody was there: {_events(os.read(descriptor, 1 << 16))}")
    finally:
        os.close(descriptor)


def _events(data: bytes) -> list[tuple[str, str]]:
    """Mask and name of each event (struct inotify_event)."""
    found, at = [], 0
    while at < len(data):
        _, mask, _, length = struct.unpack_from("iIII", data, at)
        found.append((hex(mask), data[at + 16 : at + 16 + length].rstrip(b"\0").decode(errors="replace")))
        at += 16 + length
    return found

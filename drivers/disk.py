"""Free space of a disk, and discarding of its free blocks: the kernel's FITRIM, as `fstrim` uses it, root only."""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# _IOWR('X', 121, struct fstrim_range) of linux/fs.h: start, length, minimum extent; the kernel returns the discarded length.
_FITRIM = 0xC0185879


@dataclass(frozen=True)
class Room:
    """Capacity of a file system in bytes and in files (inodes). File systems that allocate inodes on demand report 0 of 0 files."""

    total: int
    free: int
    files: int
    files_free: int

    def scarce(self, share: float) -> str:
        """Stable code of what has less than this share (0..1) free: no_inodes or disk_full; "" if both have enough."""
        if self.files_free < share * self.files:
            return "no_inodes"
        return "disk_full" if self.free < share * self.total else ""


def room_of(path: Path) -> Room:
    """Capacity of the file system that holds path, and how much of it this user may still use. Raises OSError."""
    found = os.statvfs(path)
    return Room(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)


def refusal(path: Path, otherwise: str) -> str:
    """Stable code of why the disk that holds path refused a write: no_inodes if it has no free inode, else `otherwise`."""
    with suppress(OSError):  # if statvfs fails too, the disk has another fault
        room = room_of(path)
        return "no_inodes" if room.files and not room.files_free else otherwise
    return otherwise


def discard(path: Path) -> int:
    """Discard the free blocks of the disk that holds path; returns the bytes. OSError (EOPNOTSUPP) if the disk does not support
    it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        answer = fcntl.ioctl(descriptor, _FITRIM, struct.pack("QQQ", 0, 2**64 - 1, 0))
    finally:
        os.close(descriptor)
    return int(struct.unpack("QQQ", answer)[1])

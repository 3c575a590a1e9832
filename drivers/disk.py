"""Room on a disk, and telling it that what was deleted may be forgotten: the kernel's FITRIM, as `fstrim` does it, root only."""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# _IOWR('X', 121, struct fstrim_range) of linux/fs.h: start, length, least extent; the length comes back.
_FITRIM = 0xC0185879


@dataclass(frozen=True)
class Room:
    """Bytes, and files (inodes); a file system that makes these as it goes has none to count: 0 of 0."""

    total: int
    free: int
    files: int
    files_free: int

    def scarce(self, share: float) -> str:
        """What less than this share, 0..1, is free of, as a stable code: no_inodes, disk_full, or "" if there is enough of both."""
        if self.files_free < share * self.files:
            return "no_inodes"
        return "disk_full" if self.free < share * self.total else ""


def room_of(path: Path) -> Room:
    """What a service of this user may still use of the disk that holds path."""
    found = os.statvfs(path)
    return Room(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)


def refusal(path: Path, otherwise: str) -> str:
    """Why the disk that holds path refuses, as a stable code: no_inodes if it takes no further file, whatever room it has for
    bytes."""
    with suppress(OSError):  # a disk that does not even say that has another fault
        room = room_of(path)
        return "no_inodes" if room.files and not room.files_free else otherwise
    return otherwise


def discard(path: Path) -> int:
    """Bytes of free space handed back to the disk that holds path; OSError where it takes none (EOPNOTSUPP)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        answer = fcntl.ioctl(descriptor, _FITRIM, struct.pack("QQQ", 0, 2**64 - 1, 0))
    finally:
        os.close(descriptor)
    return int(struct.unpack("QQQ", answer)[1])

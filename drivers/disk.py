"""Telling the disk that what was deleted may be forgotten: the kernel's FITRIM, as `fstrim` does it. Root only."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

# _IOWR('X', 121, struct fstrim_range) of linux/fs.h: start, length, least extent; the length comes back.
_FITRIM = 0xC0185879


def discard(path: Path) -> int:
    """Bytes of free space handed back to the disk that holds path; OSError where it takes none (EOPNOTSUPP)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        answer = fcntl.ioctl(descriptor, _FITRIM, struct.pack("QQQ", 0, 2**64 - 1, 0))
    finally:
        os.close(descriptor)
    return int(struct.unpack("QQQ", answer)[1])

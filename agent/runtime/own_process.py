"""What a service knows of its own process: memory, threads, open files, and how often it was started in this boot.

From /proc/self, without psutil, which io would otherwise load.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from privacy.errors import RecordError
from privacy.files import place, read
from privacy.foreign import decode


class Usage(Struct, frozen=True):
    """memory_mb: resident."""

    memory_mb: float
    threads: int
    descriptors: int


class _Starts(Struct, frozen=True, forbid_unknown_fields=True):
    boot_id: str
    starts: Annotated[int, Meta(ge=0)]


def usage() -> Usage:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    memory_kb, threads = (int(fields[name].split()[0]) for name in ("VmRSS", "Threads"))
    return Usage(round(memory_kb * 1024 / 1e6, 1), threads, sum(1 for _ in Path("/proc/self/fd").iterdir()))


def count_start(path: Path, boot_id: str) -> int | None:
    """Count one start in a file in /run; the starts of this boot without the first. None if /run refuses."""
    try:
        known = decode(read(path, "starts"), _Starts, "starts")
    except (OSError, RecordError):  # the first start, or damaged: the count begins anew
        known = _Starts("", 0)
    starts = known.starts + 1 if known.boot_id == boot_id else 1
    with suppress(OSError):
        place(path, msgspec.json.encode(_Starts(boot_id, starts)))
        return starts - 1
    return None

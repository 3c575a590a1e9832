"""A bound on the memory that checking may take: what is checked was made by somebody else (decision 0040)."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from privacy.errors import SealError

CHECKING = 2 << 30
"""Bytes beside what the process has already; a clip of 1920x1080 takes a quarter of it."""


@contextmanager
def bounded(what: str, more: int = CHECKING) -> Iterator[None]:
    """`SealError` where the work inside needs more bytes than that. For a whole process: one at a time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _data() + more
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    try:
        yield
    except MemoryError as problem:
        raise SealError(f"{what}: takes more than {more >> 20} MiB to check", "the clip must not be used") from problem
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data() -> int:
    """Bytes of data and stack that the process has (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()

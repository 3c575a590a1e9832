"""Limits the memory for checking a clip, because the clip may have been made to exhaust it (decision 0040)."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from privacy.errors import SealError

CHECKING = 2 << 30
"""Most bytes in addition to what the process already uses; a clip of 1920x1080 needs a quarter of this."""


@contextmanager
def memory_limited(what: str, more: int = CHECKING) -> Iterator[None]:
    """`SealError` if the block needs more than `more` further bytes. The limit is the process's: one block at a time."""
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
    """Bytes of data and stack of this process (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()

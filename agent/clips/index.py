"""The index of the spool: one entry per complete clip, so that ten thousand clips can be listed and checked in one read.

It is a cache, written without fsync: a line that is torn or missing costs a read of that clip's own manifest,
and the line of a deleted clip is ignored.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from privacy.errors import RecordError
from privacy.files import append, place, read
from privacy.foreign import decode
from privacy.records.manifest import Manifest, Milliseconds

CLIP_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LARGEST = 64 << 20
_OWN = ("index", "head")


class IndexEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of a manifest that listing and deletion need. size: bytes of the sealed files."""

    clip: str
    begin: datetime
    end: datetime
    frames: int
    trigger: str
    state: str
    deadline: datetime
    boot_id: str
    mono_ms: Milliseconds
    size: int

    @classmethod
    def of(cls, manifest: Manifest) -> IndexEntry:
        size = sum(file.size for file in manifest.files)
        when = (manifest.begin, manifest.end, manifest.frames)
        since = (manifest.deadline, manifest.boot_id, manifest.mono_ms)
        return cls(manifest.clip, *when, manifest.trigger, manifest.state, *since, size)


def read_entries(index: Path) -> dict[str, IndexEntry]:
    """The entries by clip id; lines that are damaged are left out."""
    try:
        lines = read(index, "index", most=_LARGEST).split(b"\n")
    except (OSError, RecordError):  # absent, on a bad spot of the card, or no file
        return {}
    return {entry.clip: entry for entry in _entries(lines)}


def add_entry(index: Path, entry: IndexEntry) -> None:
    with os.fdopen(append(index), "wb") as file:
        file.write(_line(entry))


def rewrite(index: Path, entries: Iterable[IndexEntry]) -> None:
    """Replace the index by one of these entries only."""
    place(index, b"".join(map(_line, entries)))


def clip_names(spool: Path, *files: str) -> list[str]:
    """Names of the folders that hold one of these files, oldest first: a UUIDv7 sorts by time."""
    with os.scandir(spool) as found:
        names = [entry.name for entry in found if CLIP_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)]
    # Not Path.exists: ten thousand of them cost a tenth of a second.
    return sorted(name for name in names if any(os.path.exists(f"{spool}/{name}/{file}") for file in files))  # noqa: PTH110


def strange_names(spool: Path) -> list[str]:
    """Names in a spool that are neither clips nor the spool's own files. A name with a leading dot is being made or deleted."""
    with os.scandir(spool) as found:
        odd = [entry.name for entry in found if not entry.name.startswith(".") and not _is_ours(entry)]
    return sorted(ascii(name)[1:-1] for name in odd)


def _is_ours(entry: os.DirEntry[str]) -> bool:
    if entry.is_dir(follow_symlinks=False):
        return CLIP_ID.fullmatch(entry.name) is not None
    return entry.is_file(follow_symlinks=False) and entry.name in _OWN


def _line(entry: IndexEntry) -> bytes:
    text = msgspec.json.encode(entry)
    return f"{zlib.crc32(text):08x} ".encode() + text + b"\n"


def _entries(lines: Iterable[bytes]) -> Iterator[IndexEntry]:
    for line in lines:
        if line[:9] == f"{zlib.crc32(line[9:]):08x} ".encode():
            with suppress(RecordError):  # of another version
                yield decode(line[9:], IndexEntry, "entry")

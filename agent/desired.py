"""The folder between the uplink, which leaves there what the centre signed, and `lykta apply`, which takes it as root.

The uplink owns the folder, so root follows no link in it and reads nothing but short regular files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from agent.applied import Kind, id_in_force, last_judgement
from privacy.errors import RecordError, StorageError
from privacy.files import make_folder, place
from privacy.records import sha256_hex
from provisioning.layout import Layout

LONGEST = 64 * 1024
"""Bytes of a signed record."""


def leave(layout: Layout, kind: Kind, token: str) -> bool:
    """Leave it for `lykta apply`, unless it was judged already; whether it was left. `StorageError` if the disk refuses.

    A refused one is judged again when another basis is in force: it may have come before the basis it was made for.
    """
    if not 0 < len(token) <= LONGEST:
        raise RecordError(f"{kind}: 1 to {LONGEST} bytes (got {len(token)})", "sign a shorter one")
    before = last_judgement(layout, kind)
    known = before is not None and before.desired == sha256_hex(token.encode())
    if before and known and (before.result == "placed" or before.against == id_in_force(layout, "basis")):
        return False
    path = layout.desired / f"{kind}.jws"
    try:
        # It comes with every connection: a bad link must not wear out the card.
        if path.exists() and path.read_bytes() == token.encode():
            return False
        make_folder(path.parent)
        place(path, token.encode())
    except OSError as problem:
        raise StorageError(f"desired: {path}: {problem.strerror}", "free space or check the disk") from problem
    return True


class Taken:
    """What lies in the folder, claimed one by one; what was claimed and not let go, for a power cut, is found again."""

    def __init__(self, folder: int) -> None:
        self._folder = folder

    def claim(self, kind: Kind) -> bytes | None:
        """The text, None if there is none; `RecordError` if it is no short file."""
        with suppress(FileNotFoundError):
            # By rename: a newer one that the uplink leaves meanwhile stays for the next run.
            os.rename(f"{kind}.jws", _claimed(kind), src_dir_fd=self._folder, dst_dir_fd=self._folder)
        try:
            file = os.open(_claimed(kind), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._folder)
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise RecordError(f"{kind}: desired: {problem.strerror}", "the uplink may leave files only") from problem
        with os.fdopen(file, "rb") as source:
            facts = os.fstat(source.fileno())
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > LONGEST:
                raise RecordError(f"{kind}: desired: must be a file of at most {LONGEST} bytes", "send it again")
            return source.read(LONGEST)

    def let_go(self, kind: Kind) -> None:
        with suppress(FileNotFoundError):
            os.unlink(_claimed(kind), dir_fd=self._folder)


@contextmanager
def taken(layout: Layout) -> Iterator[Taken | None]:
    """The folder, held open so that nobody can put another in its place; None if there is none."""
    try:
        folder = os.open(layout.desired, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    except OSError as problem:
        raise StorageError(f"desired: {layout.desired}: {problem.strerror}", "it must be a folder, not a link") from problem
    try:
        yield Taken(folder)
    finally:
        os.close(folder)


def _claimed(kind: Kind) -> str:
    return f".{kind}.jws.taken"

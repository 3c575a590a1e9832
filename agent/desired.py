"""The folder between the uplink, which leaves there what the centre signed, and `lykta apply`, which takes it as root.

The uplink owns the folder, so root follows no link in it and reads nothing but short regular files.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from agent.applied import KINDS, Kind, id_in_force, last_judgement
from privacy.errors import AccessError, LyktaError, RecordError, StorageError
from privacy.files import locked, make_folder, place
from privacy.records import load_chain, sha256_hex
from privacy.renewal import wished_key
from provisioning.identity import TLS_AND_UNITS, renewal_of
from provisioning.layout import Layout

LONGEST = 64 * 1024
"""Bytes of a signed record."""


def leave_certificate(layout: Layout, unit: str, pem: str) -> bool:
    """The same for a certificate, if a key waits for this very one: what stood there for an earlier key is nothing new."""
    wish = renewal_of(layout, unit)
    if not 0 < len(pem) <= LONGEST or not wish.exists():
        return False
    if load_chain(pem.encode())[0].public_key() != wished_key(wish.read_bytes()):
        return False
    return _leave(layout, f"{unit}.pem", pem)


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
    return _leave(layout, f"{kind}.jws", token)


def _leave(layout: Layout, name: str, token: str) -> bool:
    path = layout.desired / name
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

    def claim(self, name: str) -> bytes | None:
        """The text, None if there is none; `RecordError` if it is no short file."""
        with suppress(FileNotFoundError):
            # By rename: a newer one that the uplink leaves meanwhile stays for the next run.
            os.rename(name, _claimed(name), src_dir_fd=self._folder, dst_dir_fd=self._folder)
        try:
            file = os.open(_claimed(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._folder)
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise RecordError(f"{name}: desired: {problem.strerror}", "the uplink may leave files only") from problem
        with os.fdopen(file, "rb") as source:
            facts = os.fstat(source.fileno())
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > LONGEST:
                raise RecordError(f"{name}: desired: must be a file of at most {LONGEST} bytes", "send it again")
            return source.read(LONGEST)

    def let_go(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(_claimed(name), dir_fd=self._folder)

    def sweep(self) -> None:
        """Take away what nobody claims: the unit that waits for this folder to be empty would start again for ever."""
        wanted = {f"{kind}.jws" for kind in KINDS} | {f"{unit}.pem" for unit in TLS_AND_UNITS}
        for name in set(os.listdir(self._folder)) - wanted:  # noqa: PTH208 - by descriptor: nobody can put another folder here
            try:
                os.unlink(name, dir_fd=self._folder)
            except FileNotFoundError:
                continue
            except (IsADirectoryError, PermissionError):
                shutil.rmtree(name, dir_fd=self._folder)


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


def _claimed(name: str) -> str:
    return f".{name}.taken"


@contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """One of root's commands at a time; errors of the disk and of missing rights in the words of the design."""
    try:
        with locked(layout.etc):
            yield
    except PermissionError as problem:
        if isinstance(problem, LyktaError):
            raise
        raise AccessError(f"{problem.filename or layout.etc}: {problem.strerror}", "use sudo") from problem
    except OSError as problem:
        if isinstance(problem, LyktaError):
            raise
        raise StorageError(f"{problem.filename or layout.etc}: {problem.strerror}", "free space or check the disk") from problem

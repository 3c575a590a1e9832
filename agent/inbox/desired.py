"""The folder in which the uplink puts records that the centre signed, and from which `lykta apply` takes them, as root.

The uplink owns the folder, so root follows no link in it and reads only short regular files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from agent.inbox.applied import KINDS, Kind, id_in_force, last_judgement
from privacy.errors import RecordError, StorageError
from privacy.files import locked, make_folder, on_disk, place, read_own
from privacy.folders import Folder, opened
from privacy.records.jws import load_chain, sha256_hex
from privacy.records.renewal import requested_key
from provisioning.identity import TLS_AND_UNITS, renewal_of
from provisioning.layout import Layout

LONGEST = 64 * 1024
"""Bytes of a signed record."""


def leave_certificate(layout: Layout, unit: str, pem: bytes) -> bool:
    """The same for a certificate, if a key waits for it: one that is retained for an earlier key is ignored."""
    wish = renewal_of(layout, unit)
    if not 0 < len(pem) <= LONGEST or not wish.exists():
        return False
    if load_chain(pem)[0].public_key() != requested_key(read_own(wish)):
        return False
    return _leave(layout, f"{unit}.pem", pem)


def leave(layout: Layout, kind: Kind, token: bytes) -> bool:
    """Put a record there for `lykta apply`, unless it has a result already; whether it was put. `StorageError` if the disk refuses.

    A refused record is checked again when another basis is in force: it may have arrived before the basis it was made for.
    """
    if not 0 < len(token) <= LONGEST:
        raise RecordError(f"{kind}: 1 to {LONGEST} bytes (got {len(token)})", "sign a shorter one")
    before = last_judgement(layout, kind)
    known = before is not None and before.desired == sha256_hex(token)
    if before and known and (before.result == "placed" or before.against == id_in_force(layout, "basis")):
        return False
    return _leave(layout, f"{kind}.jws", token)


def _leave(layout: Layout, name: str, token: bytes) -> bool:
    path = layout.desired / name
    with on_disk(f"desired: {path}"):
        # It arrives with every connection: an unstable link must not wear out the SD card.
        if path.exists() and read_own(path) == token:
            return False
        make_folder(path.parent)
        place(path, token)
    return True


class Taken:
    """The files in the folder, claimed one by one; a file claimed before a power cut is found again."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def claim(self, name: str) -> bytes | None:
        """The file's content, None if absent; `RecordError` if it is not a short regular file."""
        with suppress(FileNotFoundError):
            self._folder.facts(name)
            if not self._folder.is_file(_claimed(name)):
                self.remove_claimed(name)
            # By rename: a newer file from the uplink remains for the next run.
            self._folder.rename(name, _claimed(name))
        try:
            return self._folder.read(_claimed(name), f"{name}: desired", most=LONGEST)
        except FileNotFoundError:
            return None

    def remove_claimed(self, name: str) -> None:
        self._folder.remove(_claimed(name))

    def sweep(self) -> None:
        """Remove all other files: the path unit starts again for as long as this folder is not empty."""
        wanted = {f"{kind}.jws" for kind in KINDS} | {f"{unit}.pem" for unit in TLS_AND_UNITS}
        while unwanted := set(self._folder.names()) - wanted:
            if [left for name in unwanted for left in self._folder.remove(name)]:
                return


@contextmanager
def taken(layout: Layout) -> Iterator[Taken | None]:
    """The folder, held open so that it cannot be replaced by another; None if absent."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(opened(layout.var, *layout.desired.relative_to(layout.var).parts))
        except FileNotFoundError:
            folder = None
        except (OSError, RecordError) as problem:
            raise StorageError(f"desired: {layout.desired}: {problem}", "it must be a folder, not a link") from problem
        yield Taken(folder) if folder else None


def _claimed(name: str) -> str:
    return f".{name}.taken"


@contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """Lock: one of root's commands at a time; errors of the disk and of permissions become `LyktaError`."""
    with on_disk(layout.etc, denied="use sudo"), locked(layout.etc):
        yield

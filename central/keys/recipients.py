"""To whom clips may be sealed: who is in recipients.txt, and who was before; anybody else on a node is a stranger.

recipients-known.txt lists all that ever were: a clip may be older than the last change.
"""

from __future__ import annotations

from pathlib import Path

import pyrage

from central.keys.key_folder import read, write
from privacy.errors import RecordError, SealError
from privacy.files import locked, open_file
from privacy.records.manifest import Manifest
from privacy.records.seal import LONGEST_HEAD, stanzas

_NOW, _KNOWN = "recipients.txt", "recipients-known.txt"
HINT = "look at trust/recipients.txt on the node, and who could write there"


def present(keys: Path) -> list[str]:
    """The recipients in force, the centre's own first."""
    return _lines(read(keys / _NOW))


def known(keys: Path) -> frozenset[str]:
    """Everybody to whom a clip may be sealed: in force now, or before."""
    return _listed(keys) | frozenset(_own(keys))


def _listed(keys: Path) -> frozenset[str]:
    path = keys / _KNOWN
    return frozenset([*present(keys), *(_lines(read(path)) if path.exists() else [])])


def change(keys: Path, recipients: list[str]) -> None:
    """Put others into force, and remember all that were."""
    with locked(keys):
        if (keys / _NOW).exists():
            _write(keys / _KNOWN, sorted(known(keys) | set(recipients)))
        _write(keys / _NOW, recipients)


def strangers(manifest: Manifest, keys: Path) -> str:
    """What is wrong with the recipients that a manifest names, "" if nothing is."""
    if not manifest.recipients:
        return "recipients: the manifest names nobody"
    odd = sorted(set(manifest.recipients) - _listed(keys))
    if odd:  # identities are looked at for these alone: an ingest need not hold any
        odd = sorted(set(odd).difference(_own(keys)))
    return f"recipients: sealed to {', '.join(one[:70] for one in odd[:3])}, whom this centre does not know" if odd else ""


def check_clip_recipients(folder: Path, manifest: Manifest, keys: Path) -> str:
    """What was checked of a stored clip: its recipients are the centre's, and each sealed file has as many. `RecordError`."""
    wrong = strangers(manifest, keys)
    if wrong:
        raise RecordError(wrong, HINT)
    for file in manifest.files:
        with open_file(folder / file.name, file.name) as sealed:
            check_stanzas(file.name, sealed.read(LONGEST_HEAD), manifest)
    return f"sealed to {len(manifest.recipients)} recipient(s), all of this centre"


def check_stanzas(name: str, head: bytes, manifest: Manifest) -> None:
    """Whether a sealed file can be opened by as many as its manifest names; `SealError` if not. head: its first bytes."""
    count = stanzas(head)
    if count != len(manifest.recipients):
        raise SealError(f"{name}: is sealed to {count}, the manifest names {len(manifest.recipients)}", HINT)


def _write(path: Path, lines: list[str]) -> None:
    write(path, "".join(f"{line}\n" for line in lines).encode(), 0o644, replace=True)


def _lines(data: bytes) -> list[str]:
    lines = (line.strip() for line in data.decode(errors="replace").split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def _own(keys: Path) -> list[str]:
    """Of identities that lie here: a folder of keys from before recipients-known.txt."""
    found = []
    for path in sorted(keys.glob("identity*.txt")):
        for line in _lines(read(path)):
            try:
                found.append(str(pyrage.x25519.Identity.from_str(line).to_public()))
            except pyrage.IdentityError as problem:
                raise RecordError(f"identity: {path}: {problem}", "a line looks like AGE-SECRET-KEY-1…") from problem
    return found

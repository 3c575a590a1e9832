"""The recipients to whom clips may be sealed: those in recipients.txt now, and earlier ones. Clips sealed to others are refused.

recipients-known.txt lists all that were ever in recipients.txt, because a clip may be older than the last change.
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
HINT = "check trust/recipients.txt on the node, and who could write there"


def current(keys: Path) -> list[str]:
    """The recipients of new clips, the centre's own first."""
    return _lines(read(keys / _NOW))


def known(keys: Path) -> frozenset[str]:
    """All recipients to whom a clip may be sealed: current and earlier ones."""
    return _ever_listed(keys) | frozenset(_from_identities(keys))


def _ever_listed(keys: Path) -> frozenset[str]:
    path = keys / _KNOWN
    return frozenset([*current(keys), *(_lines(read(path)) if path.exists() else [])])


def set_recipients(keys: Path, recipients: list[str]) -> None:
    """Replace recipients.txt; the earlier ones stay in recipients-known.txt."""
    with locked(keys):
        if (keys / _NOW).exists():
            _write(keys / _KNOWN, sorted(known(keys) | set(recipients)))
        _write(keys / _NOW, recipients)


def recipients_problem(manifest: Manifest, keys: Path) -> str:
    """What is wrong with the recipients that a manifest names, as text; "" if nothing is."""
    if not manifest.recipients:
        return "recipients: the manifest names nobody"
    odd = sorted(set(manifest.recipients) - _ever_listed(keys))
    if odd:  # only now read identities: an ingest need not have any
        odd = sorted(set(odd).difference(_from_identities(keys)))
    return f"recipients: sealed to {', '.join(one[:70] for one in odd[:3])}, whom this centre does not know" if odd else ""


def check_clip_recipients(folder: Path, manifest: Manifest, keys: Path) -> str:
    """Check a stored clip's recipients: all are the centre's, and each sealed file has as many. Returns a line for the report.

    `RecordError` for an unknown recipient, `SealError` for another number of them.
    """
    wrong = recipients_problem(manifest, keys)
    if wrong:
        raise RecordError(wrong, HINT)
    for file in manifest.files:
        with open_file(folder / file.name, file.name) as sealed:
            check_stanzas(file.name, sealed.read(LONGEST_HEAD), manifest)
    return f"sealed to {len(manifest.recipients)} recipient(s), all of this centre"


def check_stanzas(name: str, head: bytes, manifest: Manifest) -> None:
    """`SealError` if a sealed file has another number of recipients than its manifest names. head: its first bytes."""
    count = stanzas(head)
    if count != len(manifest.recipients):
        raise SealError(f"{name}: is sealed to {count}, the manifest names {len(manifest.recipients)}", HINT)


def _write(path: Path, lines: list[str]) -> None:
    write(path, "".join(f"{line}\n" for line in lines).encode(), 0o644, replace=True)


def _lines(data: bytes) -> list[str]:
    lines = (line.strip() for line in data.decode(errors="replace").split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def _from_identities(keys: Path) -> list[str]:
    """Recipients of the identities in this folder: an older folder of keys has no recipients-known.txt."""
    found = []
    for path in sorted(keys.glob("identity*.txt")):
        for line in _lines(read(path)):
            try:
                found.append(str(pyrage.x25519.Identity.from_str(line).to_public()))
            except pyrage.IdentityError as problem:
                raise RecordError(f"identity: {path}: {problem}", "a line looks like AGE-SECRET-KEY-1…") from problem
    return found

"""Journals at the centre: a node's, one folder a unit, or one chain as the access log; a cut, rewrite or swap is found (R32)."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec
from cryptography import x509

from central.access import UNIT, check_deed
from central.certificates import common_name
from privacy.errors import RecordError, UsageError
from privacy.journal import ENTRY, Chain, Entry, Head, check_head, cross_check, segments, verify_segment
from privacy.records import Authority, peek


@dataclass(frozen=True)
class Journals:
    """Verified chains by unit, who signed them (SITE/NODE; "centre" for the access log), and what they were held against."""

    chains: Mapping[str, Chain]
    names: frozenset[str]
    crossed: int
    heard: int


def is_journal(path: Path) -> bool:
    return bool(_folders(path))


def verify_journals(path: Path, trusted: Authority, heads: Mapping[str, Head], node: str = "") -> Journals:
    """Every chain below `path`, held against what the others noted and against heads that the centre heard itself.

    `RecordError` names unit and number of the first entry that does not hold. node: whose journals they must be.
    """
    chains: dict[str, Chain] = {}
    names: set[str] = set()
    for unit, folder in _folders(path).items():
        chain, by = _chain(folder, unit, trusted)
        chains[unit], names = chain, names | by
    if len(names) > 1 or (node and names - {node}):
        raise RecordError(f"journal: signed by {', '.join(sorted(names))}, not all by {node or 'one node'}", "chains were swapped")
    crossed = cross_check(chains)
    for unit, head in heads.items():
        if unit not in chains:
            raise RecordError(f"journal: {unit}: there is none, but its head was heard", "the whole chain is gone")
        check_head(chains[unit], head, "the centre")
    return Journals(chains, frozenset(names), crossed, len(heads))


def heads_of(words: list[str]) -> dict[str, Head]:
    """Heads from UNIT=LENGTH:SHA256 words."""
    for word in words:
        if "=" not in word:
            raise UsageError(f"verify: head: must be UNIT=LENGTH:SHA256 (got {word!r})", "as the node tells it over MQTT")
    return {unit: Head.parse(text) for unit, _, text in (word.partition("=") for word in words)}


def _folders(path: Path) -> dict[str, Path]:
    """Where each unit's segments lie. A chain by itself is of the unit that its first entry names."""
    own = segments(path)
    if own:
        first = own[0].read_bytes().split(b"\n", 1)[0]
        return {peek(first, ENTRY, Entry).unit: path}
    return {folder.name: folder for folder in sorted(path.glob("*/")) if segments(folder)}


def _chain(folder: Path, unit: str, trusted: Authority) -> tuple[Chain, set[str]]:
    """One chain from its first entry, and who signed it."""
    entries: list[Entry] = []
    hashes: list[str] = []
    names: set[str] = set()
    deeds: set[str] = set()
    for line, begins in _lines(folder):
        at = len(entries)
        try:
            if begins not in (None, at):
                raise RecordError(f"segment {begins:010} does not begin at its number", "a segment was renamed or is missing")
            part = verify_segment(line, unit, trusted, Head(at, hashes[-1] if hashes else ""))
            deed = check_deed(part.entries[0], trusted) if unit == UNIT else ""
            if deed and deed in deeds:
                raise RecordError("deed: stands in an earlier entry", "an officer's signature was used twice")
        except RecordError as problem:
            raise RecordError(f"journal: {unit}: entry {at}: {problem}", problem.hint) from problem
        entries += part.entries
        hashes += part.hashes
        deeds.add(deed)
        names.add(_signer(line.split(b".", 1)[0]))
    return Chain(unit, 0, tuple(entries), tuple(hashes)), names


def _lines(folder: Path) -> Iterator[tuple[bytes, int | None]]:
    """Each line with its end, but for a torn last one; beside the first of a segment the number that its name claims."""
    for path in segments(folder):
        begins: int | None = int(path.stem)
        for line in path.read_bytes().split(b"\n")[:-1]:
            yield line + b"\n", begins
            begins = None


@lru_cache(maxsize=64)
def _signer(header: bytes) -> str:
    """Common name of the certificate in a header that was verified."""
    fields = msgspec.json.decode(base64.urlsafe_b64decode(header + b"=" * (-len(header) % 4)))
    return common_name(x509.load_der_x509_certificate(base64.b64decode(fields["x5c"][0])).subject)

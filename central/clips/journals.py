"""Journals at the centre: a node's, one folder a unit, or one chain as the access log; a cut, rewrite or swap is found (R32)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from central.keys.access_log import UNIT, check_deed
from central.store.limits import MOST_BYTES
from privacy.errors import RecordError, UsageError
from privacy.files import read
from privacy.records.journal import ENTRY, Chain, Entry, Head, check_head, cross_check, segments, verify_segment
from privacy.records.jws import Authority, peek


@dataclass(frozen=True)
class Journals:
    """Verified chains by unit, who signed them (SITE/NODE; "centre" for the access log), and what they were held against.

    claims: what units noted of each other that the chains contradict, without proof.
    """

    chains: Mapping[str, Chain]
    names: frozenset[str]
    crossed: int
    heard: int
    claims: tuple[str, ...]


def is_journal(path: Path) -> bool:
    return bool(_folders(path))


def verify_journals(path: Path, trusted: Authority, heads: Mapping[str, Head], node: str = "") -> Journals:
    """Every chain below `path`, held against what the others noted and against heads that the centre heard itself.

    `RecordError` names unit and number of the first entry that does not hold; where all hold that are there, those that are
    missing between them. node: whose journals they must be.
    """
    chains: dict[str, Chain] = {}
    names: set[str] = set()
    for unit, folder in _folders(path).items():
        chain, by = _chain(folder, unit, trusted)
        chains[unit], names = chain, names | by
    if not chains and not heads:
        raise RecordError(f"journal: {path}: there is no journal", "name a node's folder of journals, or KEYS/access")
    if len(names) > 1 or (node and names - {node}):
        raise RecordError(f"journal: signed by {', '.join(sorted(names))}, not all by {node or 'one node'}", "chains were swapped")
    crossed = cross_check(chains, trusted)
    for unit, head in heads.items():
        if unit not in chains:
            raise RecordError(f"journal: {unit}: there is none, but its head was heard", "the whole chain is gone")
        check_head(chains[unit], head, "the centre")
    _check_no_gaps(chains)
    return Journals(chains, frozenset(names), crossed.held, len(heads), crossed.claims)


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
        first = read(own[0], "journal", most=MOST_BYTES["journal"]).split(b"\n", 1)[0]
        return {peek(first, ENTRY, Entry).unit: path}
    return {folder.name: folder for folder in sorted(path.glob("*/")) if segments(folder)}


def _check_no_gaps(chains: Mapping[str, Chain]) -> None:
    """`RecordError` names all entries that are missing, by unit and number."""
    missing = [
        f"{unit}: " + (f"entry {before + 1} is" if after == before + 2 else f"entries {before + 1} to {after - 1} are") + " missing"
        for unit, chain in chains.items()
        for before, after in pairwise([-1, *(entry.number for entry in chain.entries)])
        if after > before + 1
    ]
    if missing:
        raise RecordError(
            f"journal: {'; '.join(missing)}",
            "cut out, or damaged on the node: what the ingest took after a gap stands in KEYS/journal as `journal_gap`",
        )


def _chain(folder: Path, unit: str, trusted: Authority) -> tuple[Chain, set[str]]:
    """One chain, and who signed it. A segment that begins later than the one before it ends leaves a gap."""
    entries: list[Entry] = []
    hashes: list[str] = []
    names: set[str] = set()
    deeds: set[str] = set()
    for line, begins in _lines(folder):
        at = entries[-1].number + 1 if entries else 0
        head = Head(at, hashes[-1] if hashes else "")
        try:
            if begins is not None and begins < at:
                raise RecordError(f"segment {begins:010} does not begin at its number", "a segment was renamed")
            if begins is not None and begins > at:
                at, head = begins, Head(begins, peek(line, ENTRY, Entry).previous)
            part = verify_segment(line, unit, trusted, head)
            deed = check_deed(part.entries[0], trusted) if unit == UNIT else ""
            if deed and deed in deeds:
                raise RecordError("deed: stands in an earlier entry", "an officer's signature was used twice")
        except RecordError as problem:
            raise RecordError(f"journal: {unit}: entry {at}: {problem}", problem.hint) from problem
        entries += part.entries
        hashes += part.hashes
        deeds.add(deed)
        names |= part.signers
    return Chain(unit, 0, tuple(entries), tuple(hashes), frozenset(names)), names


def _lines(folder: Path) -> Iterator[tuple[bytes, int | None]]:
    """Each line with its end, but for a torn last one; beside the first of a segment the number that its name claims."""
    for path in segments(folder):
        begins: int | None = int(path.stem)
        for line in read(path, "journal", most=MOST_BYTES["journal"]).split(b"\n")[:-1]:
            yield line + b"\n", begins
            begins = None

"""Verifies journals at the centre: a node's (one folder a unit) or a single chain such as the access log. Finds missing, changed
and exchanged entries (R32)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from central.keys.access_log import UNIT, check_deed
from central.store.limits import MOST_BYTES
from privacy.errors import RecordError, UsageError
from privacy.files import read
from privacy.records.chains import Chain, check_head, cross_check, verify_segment
from privacy.records.journal import ENTRY, Entry, Head, segments
from privacy.records.jws import Authority, peek


@dataclass(frozen=True)
class Journals:
    """Verified journals.

    chains    by unit
    names     who signed them: SITE/NODE, or "centre" for the access log
    crossed   number of heads that units recorded of each other and that agree
    heard     number of heads given by the caller, which agree
    claims    heads that units recorded of each other and that the chains contradict; no proof of a fault
    """

    chains: Mapping[str, Chain]
    names: frozenset[str]
    crossed: int
    heard: int
    claims: tuple[str, ...]


def is_journal(path: Path) -> bool:
    """Whether a folder holds journal segments, or folders of them."""
    return bool(_folders(path))


def verify_journals(path: Path, trusted: Authority, heads: Mapping[str, Head], node: str = "") -> Journals:
    """Verify every chain below `path`, compare heads that units recorded of each other, and those in `heads`, by unit.

    `RecordError` names unit and number of the first invalid entry; if all entries are valid, those that are missing between
    them. node: SITE/NODE that must have signed, "" for any.
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
            raise RecordError(f"journal: {unit}: no journal found, but its head is known", "the whole chain is missing")
        check_head(chains[unit], head, "the centre")
    _check_no_gaps(chains)
    return Journals(chains, frozenset(names), crossed.held, len(heads), crossed.claims)


def parse_heads(words: list[str]) -> dict[str, Head]:
    """Heads by unit from arguments UNIT=LENGTH:SHA256."""
    for word in words:
        if "=" not in word:
            raise UsageError(f"verify: head: must be UNIT=LENGTH:SHA256 (got {word!r})", "as the node publishes it over MQTT")
    return {unit: Head.parse(text) for unit, _, text in (word.partition("=") for word in words)}


def _folders(path: Path) -> dict[str, Path]:
    """The folder of each unit's segments. For a single chain its first entry names the unit."""
    own = segments(path)
    if own:
        first = read(own[0], "journal", most=MOST_BYTES["journal"]).split(b"\n", 1)[0]
        return {peek(first, ENTRY, Entry).unit: path}
    return {folder.name: folder for folder in sorted(path.glob("*/")) if segments(folder)}


def _check_no_gaps(chains: Mapping[str, Chain]) -> None:
    """`RecordError` if entries are missing between others; names all of them by unit and number."""
    missing = [
        f"{unit}: " + (f"entry {before + 1} is" if after == before + 2 else f"entries {before + 1} to {after - 1} are") + " missing"
        for unit, chain in chains.items()
        for before, after in pairwise([-1, *(entry.number for entry in chain.entries)])
        if after > before + 1
    ]
    if missing:
        raise RecordError(
            f"journal: {'; '.join(missing)}",
            "removed, or damaged on the node: gaps that the ingest accepted are in KEYS/journal as `journal_gap`",
        )


def _chain(folder: Path, unit: str, trusted: Authority) -> tuple[Chain, set[str]]:
    """Verify one chain; returns it and who signed it. Segments may leave a gap between them."""
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
                raise RecordError("deed: is already in an earlier entry", "an officer's signature was used twice")
        except RecordError as problem:
            raise RecordError(f"journal: {unit}: entry {at}: {problem}", problem.hint) from problem
        entries += part.entries
        hashes += part.hashes
        deeds.add(deed)
        names |= part.signers
    return Chain(unit, 0, tuple(entries), tuple(hashes), frozenset(names)), names


def _lines(folder: Path) -> Iterator[tuple[bytes, int | None]]:
    """Each complete line with its newline; with the first line of a segment the entry number in the file's name, else None."""
    for path in segments(folder):
        begins: int | None = int(path.stem)
        for line in read(path, "journal", most=MOST_BYTES["journal"]).split(b"\n")[:-1]:
            yield line + b"\n", begins
            begins = None

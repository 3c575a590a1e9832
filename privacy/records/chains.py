"""Verified chains of journals: each entry of a unit's chain, and the heads that the other units recorded of it (R32).

Only here is an entry trusted: its line is signed by its unit, and follows the line before it. `privacy.records.journal` writes the
chains and says how they are stored.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from privacy.errors import DamageError, RecordError
from privacy.records.journal import ENTRY, HEADS, WHOLE_ENTRY, Entry, Head, lines_of, read_segment, segments
from privacy.records.jws import AT_ISSUE, Authority, check_intact, sha256_hex, verify_issued

_UNIT = re.compile(r"[a-z]{1,16}")
_SAME_USER = {("retention", "camera")}
"""Pairs (witness, unit) that run as the same user, so that the witness reads the unit's journal itself."""
_DOTS = 2
"""Dots in a line of a journal, which is a compact JWS; a head in its text form has none."""
_LONGEST_NOTE = 4096
"""Characters of a recorded line at most."""


class Chain(Struct, frozen=True):
    """A verified chain or segment: its entries, the hash of each entry's line, and the signers.

    Complete, or with gaps (missing numbers) if the centre checks the rest of a damaged chain.

    first     number of the first entry
    signers   common names of the certificates: SITE/NODE, or the centre; the caller must check that there is one only
    """

    unit: str
    first: int
    entries: tuple[Entry, ...]
    hashes: tuple[str, ...]
    signers: frozenset[str] = frozenset()

    @property
    def head(self) -> Head:
        return Head(self.entries[-1].number + 1, self.hashes[-1]) if self.entries else Head(self.first, "")

    def hash_of(self, number: int) -> str:
        """SHA-256 of an entry's line; "" if it lies in a gap."""
        at = bisect_left(self.entries, number, key=lambda entry: entry.number)
        return self.hashes[at] if at < len(self.entries) and self.entries[at].number == number else ""


def verify_chain(folder: Path, unit: str, authority: Authority) -> Chain:
    """All entries of a chain, if none was changed, removed or inserted; otherwise `RecordError` with the entry's number."""
    chain = Chain(unit, 0, (), ())
    for path in segments(folder):
        part = verify_segment(read_segment(path), unit, authority, chain.head)
        if int(path.stem) != chain.head.length:
            raise RecordError(
                f"journal: {unit}: segment {path.name} does not begin at its number", "a segment was renamed or is missing"
            )
        chain = Chain(unit, 0, chain.entries + part.entries, chain.hashes + part.hashes, chain.signers | part.signers)
    return chain


def verify_segment(data: bytes, unit: str, authority: Authority, after: Head) -> Chain:
    """The entries of one segment, if they follow `after`; otherwise `RecordError`. An incomplete last line is ignored."""
    entries: list[Entry] = []
    hashes: list[str] = []
    signers: set[str] = set()
    head = after
    for line in lines_of(data):
        if not WHOLE_ENTRY.fullmatch(line):
            raise RecordError(f"journal: {unit}: entry {head.length}: not a signed record", "it is damaged, or was changed")
        # The entry's time may be wrong if the node had lost the time, so the certificate is not checked against it. The order of
        # the chain is still proven.
        entry, party = verify_issued(line, ENTRY, authority, unit, Entry, AT_ISSUE)
        if (entry.number, entry.previous, entry.unit) != (head.length, head.sha256, unit):
            raise RecordError(f"journal: {unit}: entry {head.length} does not follow the one before it", "the chain was changed")
        head = Head(entry.number + 1, sha256_hex(line))
        entries.append(entry)
        hashes.append(head.sha256)
        signers.add(party.name)
    return Chain(unit, after.length, tuple(entries), tuple(hashes), frozenset(signers))


def check_undamaged(data: bytes, unit: str, first: int) -> None:
    """`DamageError` if a closed segment has lines that are not entries as they were signed. first: number of its first entry.

    It does not check who signed the segment, or whether it belongs to this chain.
    """
    lines = lines_of(data)
    for number, line in enumerate(lines, first):
        try:
            if not WHOLE_ENTRY.fullmatch(line):
                raise RecordError("not a signed record")
            check_intact(line, ENTRY, Entry)
        except RecordError as problem:
            raise DamageError(f"journal: {unit}: entry {number} is damaged: {problem}", "the disk may be failing") from problem
    if not lines or not data.endswith(b"\n"):
        raise DamageError(f"journal: {unit}: entry {first + len(lines)} is incomplete", "the disk may be failing")


class CrossCheck(Struct, frozen=True):
    """The result of comparing chains with each other.

    held     number of recorded heads that are in their chains
    claims   contradictions between what one unit recorded and the chain of another; no proof, because the recording unit may be the
             false one, so its name is included
    """

    held: int
    claims: tuple[str, ...]


def cross_check(chains: Mapping[Any, Chain], authority: Authority) -> CrossCheck:
    """Compare each chain, complete from its first entry, with the heads that the other chains recorded of it.

    `RecordError` if a contradiction is a proof: that unit itself signed the recorded line, or a unit of the same user read it.
    """
    held, claims = 0, []
    for witness in chains.values():
        for entry in witness.entries:
            for unit, text in entry.facts.items() if entry.kind == HEADS else ():
                if unit not in chains:
                    continue
                by = f"{witness.unit} entry {entry.number}"
                proof = False
                try:
                    head, proof = _noted(str(text), chains[unit], authority)
                    found = check_head(chains[unit], head, by)
                except RecordError as problem:
                    if proof or (witness.unit, unit) in _SAME_USER:
                        raise
                    claims.append(f"{by} claims: {problem}")
                else:
                    held += found
    return CrossCheck(held, tuple(claims))


def _noted(text: str, chain: Chain, authority: Authority) -> tuple[Head, bool]:
    """A recorded head, and whether the chain's own unit signed it, which is so if the record is that unit's line."""
    if text.count(".") != _DOTS:
        return Head.parse(text), False
    line = text.encode()
    entry, party = verify_issued(line, ENTRY, authority, chain.unit, Entry, AT_ISSUE)
    if entry.unit != chain.unit or chain.signers - {party.name}:
        raise RecordError(f"journal: {chain.unit}: the recorded line is signed by {party.name}", "it is of another node")
    return Head(entry.number + 1, sha256_hex(line)), True


def check_head(chain: Chain, seen: Head, witness: str) -> bool:
    """Whether a chain contains a recorded head; False if it lies in a gap; `RecordError` if the chain contradicts it.

    witness   who recorded the head, for the error
    """
    if seen.length > chain.head.length:
        raise RecordError(
            f"journal: {chain.unit}: ends after {chain.head.length} entries, {witness} saw {seen.length}", "its end was cut off"
        )
    stands = chain.hash_of(seen.length - 1) if seen.length else ""
    if stands and stands != seen.sha256:
        raise RecordError(f"journal: {chain.unit}: entry {seen.length - 1} is not the one that {witness} saw", "it was rewritten")
    return bool(stands) or not seen.length


def read_heads(reported: object) -> dict[str, Head | str]:
    """Reported heads of other chains by unit: each is LENGTH:SHA256, or the last line itself. `RecordError` for anything else."""
    if not isinstance(reported, dict) or not 0 < len(reported) <= 8 or not all(_UNIT.fullmatch(str(unit)) for unit in reported):
        raise RecordError("heads: must have the head of each unit's chain", 'for example {"uplink": "LENGTH:SHA256"}')
    return {str(unit): _read_head(text) for unit, text in reported.items()}


def _read_head(text: object) -> Head | str:
    if isinstance(text, str) and text.count(".") == _DOTS and text.isascii() and len(text) <= _LONGEST_NOTE:
        return text
    return Head.parse(str(text))

"""Checks journal segments of nodes: accepted if they contradict nothing that the store has of that unit's chain (R32).

A segment that begins after the stored head is accepted, and the gap is recorded: one damaged segment must not block all later
ones (decision 0052). A gap can be filled only by a segment that fits the entries before and after it.
"""

from __future__ import annotations

from itertools import islice

from msgspec import Struct

from central.store.port import Store, object_prefix, owner, record_key
from privacy.errors import DamageError, RecordError, RequestRejectedError
from privacy.records.chains import Chain, check_undamaged, verify_segment
from privacy.records.journal import ENTRY, Entry, Head
from privacy.records.jws import Authority, peek
from privacy.records.manifest import PARCEL, Parcel

MOST_ASIDE = 50
"""Most refused segments of one unit that are kept as evidence."""
_NAMES = 3
"""Most files for one refused segment: the parcel, the segment, and the reason if it is damaged."""
UNITS = ("camera", "io", "uplink", "retention")
DAMAGED = 422
"""HTTP status for a damaged segment: a node that finds the damage too sets it aside and sends the next one."""


class Gap(Struct, frozen=True):
    """Numbers of the entries that are missing, both included."""

    first: int
    last: int


def unit_of(parcel: Parcel) -> str:
    """The unit whose journal it is. (The uplink packs the parcels of all units.)"""
    return str(parcel.facts["unit"])


def segment_key(parcel: Parcel) -> str:
    """Where the segment goes once it is accepted."""
    return f"{object_prefix(parcel)}.jws"


def check_parcel(parcel: Parcel) -> None:
    """`RecordError` if a journal parcel does not hold one file, or lacks unit, first or last."""
    numbers = [parcel.facts.get(name) for name in ("first", "last")]
    if len(parcel.files) != 1 or parcel.facts.get("unit") not in UNITS or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise RecordError("parcel: facts: a journal parcel is one segment, with unit, first and last", "pack it anew")


def check_segment(store: Store, parcel: Parcel, data: bytes, authority: Authority) -> Gap | None:
    """Check a segment; returns the gap before it, None if there is none. The caller holds the node's lock.

    `DamageError` if it is damaged; `RecordError` if it contradicts the stored chain: the same entries with other content, or
    hashes that do not match. A segment sent before it was closed may come again with more lines after the same first ones.
    """
    first, stored = int(parcel.facts["first"]), store.get(segment_key(parcel))
    if stored is not None and stored != data and stored.startswith(data):
        raise RequestRejectedError(
            409, f"journal: {unit_of(parcel)}: segment {first} is stored with more entries", "nothing is lost; delete this parcel"
        )
    try:
        before = _head_before(store, parcel, first)
        _check_matches(store, parcel, data, stored or b"", _verified(parcel, data, authority, before))
    except RecordError:
        check_undamaged(data, unit_of(parcel), first)
        raise
    return Gap(before.length, first - 1) if first > before.length and stored is None else None


def _verified(parcel: Parcel, data: bytes, authority: Authority, before: Head) -> Chain:
    """The verified entries of a segment that continues `before`, or begins after it with a gap."""
    first = int(parcel.facts["first"])
    chain = verify_segment(data, unit_of(parcel), authority, before if first <= before.length else Head(first, _previous(data)))
    if not chain.entries or not data.endswith(b"\n"):
        raise RecordError(f"journal: {unit_of(parcel)}: the segment's last line is torn", "pack it anew")
    return chain


def _check_matches(store: Store, parcel: Parcel, data: bytes, stored: bytes, chain: Chain) -> None:
    """`RecordError` if a segment is not the node's, not as its parcel says, or contradicts the stored chain."""
    if not data.startswith(stored):
        raise RecordError(
            f"journal: {unit_of(parcel)}: segment {chain.first} is stored with other entries", "the chain was written anew"
        )
    if (chain.head.length - 1, chain.head.sha256) != (parcel.facts["last"], parcel.facts.get("head")):
        raise RecordError(f"journal: {unit_of(parcel)}: the segment does not end where its parcel says", "pack it anew")
    if chain.signers != {owner(parcel)}:
        raise RecordError(
            f"journal: {unit_of(parcel)}: signed by {', '.join(sorted(chain.signers))}, not by {owner(parcel)}",
            "chains were swapped",
        )
    _check_next_segment(store, parcel, chain.head)


def keep_aside(store: Store, parcel: Parcel, token: bytes, data: bytes, problem: RecordError) -> bool:
    """Keep a refused segment as evidence; False if `MOST_ASIDE` of that unit are kept already."""
    names = islice(store.names(refused_key(parcel).rpartition("/")[0]), _NAMES * MOST_ASIDE)
    if sum(name.endswith(".parcel.jws") for name in names) >= MOST_ASIDE:
        return False
    if isinstance(problem, DamageError):
        store.put(f"{refused_key(parcel)}.damaged", str(problem).encode())
    store.put(f"{refused_key(parcel)}.parcel.jws", token)
    store.put(f"{refused_key(parcel)}.jws", data)
    return True


def check_not_refused(store: Store, parcel: Parcel) -> None:
    """`RequestRejectedError` if this parcel was refused before, so that it is not uploaded again."""
    if store.get(f"{refused_key(parcel)}.jws") is None:
        return
    damage = store.get(f"{refused_key(parcel)}.damaged")
    if damage is not None:
        raise rejection(DamageError(damage.decode()))
    raise rejection(RecordError(f"journal: {unit_of(parcel)}: this segment does not continue the chain"))


def rejection(problem: RecordError) -> RequestRejectedError:
    """The answer to the node: 422 for a damaged segment (send the next one), 409 for a contradiction."""
    if isinstance(problem, DamageError):
        return RequestRejectedError(DAMAGED, str(problem), "it is kept aside; go on with the next one")
    return RequestRejectedError(409, str(problem), "it is kept aside; the centre looks into it")


def refused_key(parcel: Parcel) -> str:
    return f"{owner(parcel)}/journal/{unit_of(parcel)}/refused/{parcel.id}"


def _check_next_segment(store: Store, parcel: Parcel, head: Head) -> None:
    """`RecordError` if the next stored segment begins before this one ends, or follows it directly with another `previous`."""
    after = next((key for key in _taken(store, parcel) if _first(key) > int(parcel.facts["first"])), None)
    if after is None:
        return
    stands = Head(_first(after), _previous_in_store(store, after.replace(".parcel.jws", ".jws")))
    if head.length > stands.length or (head.length == stands.length and head.sha256 != stands.sha256):
        raise RecordError(
            f"journal: {unit_of(parcel)}: entry {stands.length} is stored and does not follow this segment",
            "the chain was written anew",
        )


def _previous(data: bytes) -> str:
    """`previous` of a segment's first entry: the hash of the line before it."""
    return peek(data.split(b"\n", 1)[0], ENTRY, Entry).previous


def _previous_in_store(store: Store, key: str) -> str:
    try:
        return _previous(store.get(key) or b"")
    except RecordError as problem:
        raise _damaged(key, problem) from problem


def _damaged(key: str, problem: RecordError) -> RequestRejectedError:
    """A stored segment was whole when it was accepted: the fault is the centre's (500), so the node keeps its segment."""
    return RequestRejectedError(500, f"store: {key}: {problem}", "the centre must repair its store; send it again later")


def _taken(store: Store, parcel: Parcel) -> list[str]:
    """Keys of the parcels of the unit's accepted segments, in the chain's order."""
    folder = record_key(parcel).rpartition("/")[0]
    return [key for key in store.names(folder) if key.endswith(".parcel.jws") and "/refused/" not in key]


def _head_before(store: Store, parcel: Parcel, first: int) -> Head:
    """The chain's head before entry `first`: the end of the last accepted segment before it."""
    before = [key for key in _taken(store, parcel) if _first(key) < first]
    token = store.get(before[-1]) if before else None
    if token is None:
        return Head(0, "")
    try:
        last = peek(token, PARCEL, Parcel).facts
    except RecordError as problem:
        raise _damaged(before[-1], problem) from problem
    return Head(int(last["last"]) + 1, str(last["head"]))


def _first(key: str) -> int:
    return int(key.rpartition("/")[2].partition(".")[0])

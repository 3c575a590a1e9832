"""Journal segments of nodes: one is taken where it contradicts nothing that the store holds of that unit's chain (R32).

A segment that lies beyond the stored head is taken with a gap that is noted: one damaged segment must not keep away all that
follow it (decision 0052). A gap is filled by the segment alone that fits what stands before and after it.
"""

from __future__ import annotations

from itertools import islice

from msgspec import Struct

from central.store.port import Store, home, owner, record_key
from privacy.errors import DamageError, RecordError, RequestRejectedError
from privacy.records.journal import ENTRY, Chain, Entry, Head, check_undamaged, verify_segment
from privacy.records.jws import Authority, peek
from privacy.records.manifest import PARCEL, Parcel

MOST_ASIDE = 50
"""Segments of one unit that are kept aside."""
_NAMES = 3
"""Of one of them, at most: the parcel, the segment, and that it is damaged."""
UNITS = ("camera", "io", "uplink", "retention")
DAMAGED = 422
"""HTTP status for a segment that is damaged: the node sets it aside, if it finds that too, and sends the next one."""


class Gap(Struct, frozen=True):
    """Numbers of the entries that are missing, both included."""

    first: int
    last: int


def unit_of(parcel: Parcel) -> str:
    """Whose journal it is; who packed it is another matter: the uplink packs all of them."""
    return str(parcel.facts["unit"])


def place_of(parcel: Parcel) -> str:
    return f"{home(parcel)}.jws"


def check_parcel(parcel: Parcel) -> None:
    """`RecordError` if a parcel does not say where its segment belongs."""
    numbers = [parcel.facts.get(name) for name in ("first", "last")]
    if len(parcel.files) != 1 or parcel.facts.get("unit") not in UNITS or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise RecordError("parcel: facts: a journal parcel is one segment, with unit, first and last", "pack it anew")


def check(store: Store, parcel: Parcel, data: bytes, authority: Authority) -> Gap | None:
    """The gap that a segment leaves before it, if it may be put in its place. Below the node's lock.

    `DamageError` if it is damaged, `RecordError` if it contradicts what is here: entries twice, or that do not hold each other.
    A segment that was sent before it was closed may come again with more lines, and with the same ones first.
    """
    first, stored = int(parcel.facts["first"]), store.get(place_of(parcel))
    if stored is not None and stored != data and stored.startswith(data):
        raise RequestRejectedError(
            409, f"journal: {unit_of(parcel)}: segment {first} is here with more entries", "it is safe; delete this parcel"
        )
    try:
        before = _head_before(store, parcel, first)
        _check_fits(store, parcel, data, stored or b"", _verified(parcel, data, authority, before))
    except RecordError:
        check_undamaged(data, unit_of(parcel), first)
        raise
    return Gap(before.length, first - 1) if first > before.length and stored is None else None


def _verified(parcel: Parcel, data: bytes, authority: Authority, before: Head) -> Chain:
    """The entries of a segment, where the chain stood at `before` or a gap begins there."""
    first = int(parcel.facts["first"])
    chain = verify_segment(data, unit_of(parcel), authority, before if first <= before.length else Head(first, _previous(data)))
    if not chain.entries or not data.endswith(b"\n"):
        raise RecordError(f"journal: {unit_of(parcel)}: the segment's last line is torn", "pack it anew")
    return chain


def _check_fits(store: Store, parcel: Parcel, data: bytes, stored: bytes, chain: Chain) -> None:
    """`RecordError` if a segment is not the node's, not what its parcel says, or contradicts what the store holds."""
    if not data.startswith(stored):
        raise RecordError(
            f"journal: {unit_of(parcel)}: segment {chain.first} is here with other entries", "the chain was written anew"
        )
    if (chain.head.length - 1, chain.head.sha256) != (parcel.facts["last"], parcel.facts.get("head")):
        raise RecordError(f"journal: {unit_of(parcel)}: the segment does not end where its parcel says", "pack it anew")
    if chain.signers != {owner(parcel)}:
        raise RecordError(
            f"journal: {unit_of(parcel)}: signed by {', '.join(sorted(chain.signers))}, not by {owner(parcel)}",
            "chains were swapped",
        )
    _check_fits_before(store, parcel, chain.head)


def keep_aside(store: Store, parcel: Parcel, token: bytes, data: bytes, problem: RecordError) -> bool:
    """What was refused is evidence all the same; False if so much of that unit is kept aside that no more is."""
    names = islice(store.names(refused_key(parcel).rpartition("/")[0]), _NAMES * MOST_ASIDE)
    if sum(name.endswith(".parcel.jws") for name in names) >= MOST_ASIDE:
        return False
    if isinstance(problem, DamageError):
        store.put(f"{refused_key(parcel)}.damaged", str(problem).encode())
    store.put(f"{refused_key(parcel)}.parcel.jws", token)
    store.put(f"{refused_key(parcel)}.jws", data)
    return True


def check_not_refused(store: Store, parcel: Parcel) -> None:
    """`RequestRejectedError` for a parcel that was kept aside before: it need not be sent again."""
    if store.get(f"{refused_key(parcel)}.jws") is None:
        return
    damage = store.get(f"{refused_key(parcel)}.damaged")
    if damage is not None:
        raise refusal(DamageError(damage.decode()))
    raise refusal(RecordError(f"journal: {unit_of(parcel)}: this segment did not follow the chain"))


def refusal(problem: RecordError) -> RequestRejectedError:
    """What the node is told: whether the next segment may come all the same."""
    if isinstance(problem, DamageError):
        return RequestRejectedError(DAMAGED, str(problem), "it is kept aside; go on with the next one")
    return RequestRejectedError(409, str(problem), "it is kept aside; the centre looks into it")


def refused_key(parcel: Parcel) -> str:
    return f"{owner(parcel)}/journal/{unit_of(parcel)}/refused/{parcel.id}"


def _check_fits_before(store: Store, parcel: Parcel, head: Head) -> None:
    """`RecordError` if the segment that the store holds after this one does not go on from its head, or begins before it."""
    after = next((key for key in _taken(store, parcel) if _first(key) > int(parcel.facts["first"])), None)
    if after is None:
        return
    stands = Head(_first(after), _previous_in_store(store, after.replace(".parcel.jws", ".jws")))
    if head.length > stands.length or (head.length == stands.length and head.sha256 != stands.sha256):
        raise RecordError(
            f"journal: {unit_of(parcel)}: entry {stands.length} is here and does not follow this segment",
            "the chain was written anew",
        )


def _previous(data: bytes) -> str:
    """What the first entry of a segment names as the hash of the line before it."""
    return peek(data.split(b"\n", 1)[0], ENTRY, Entry).previous


def _previous_in_store(store: Store, key: str) -> str:
    try:
        return _previous(store.get(key) or b"")
    except RecordError as problem:
        raise _damaged(key, problem) from problem


def _damaged(key: str, problem: RecordError) -> RequestRejectedError:
    """What the store holds was whole when it was taken: the fault is the centre's, and the node keeps what it has."""
    return RequestRejectedError(500, f"store: {key}: {problem}", "the centre mends it; send it again later")


def _taken(store: Store, parcel: Parcel) -> list[str]:
    """Keys of the parcels of that unit's segments that the store took, in the chain's order."""
    folder = record_key(parcel).rpartition("/")[0]
    return [key for key in store.names(folder) if key.endswith(".parcel.jws") and "/refused/" not in key]


def _head_before(store: Store, parcel: Parcel, first: int) -> Head:
    """Where the chain stood before entry `first`, by the last segment that the store took before it."""
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

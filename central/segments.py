"""Journal segments of nodes: one is taken only where it follows what the store holds of that unit's chain (R32)."""

from __future__ import annotations

from central.refusing import RefusalError
from central.store import Store, home, owner, record_key
from privacy.errors import RecordError
from privacy.journal import Head, verify_segment
from privacy.manifest import PARCEL, Parcel
from privacy.records import Authority, peek

LARGEST = 16 << 20
"""Bytes of a segment, at most; a node closes it after one megabyte."""


UNITS = ("camera", "io", "uplink", "retention")


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
    if parcel.files[0].size > LARGEST:
        raise RecordError(
            f"parcel: {parcel.files[0].name}: at most {LARGEST} bytes (got {parcel.files[0].size})", "close segments sooner"
        )


def take(store: Store, parcel: Parcel, data: bytes, authority: Authority) -> None:
    """Put a segment in its place if the chain goes on with it; otherwise `RecordError` says what breaks. Below the node's lock.

    A segment that was sent before it was closed may come again with more lines, and with the same ones first.
    """
    first, stored = int(parcel.facts["first"]), store.get(place_of(parcel))
    if stored is not None and len(data) < len(stored) and stored.startswith(data):
        raise RefusalError(
            409, f"journal: {unit_of(parcel)}: segment {first} is here with more entries", "it is safe; delete this parcel"
        )
    if stored is not None and not data.startswith(stored):
        raise RecordError(f"journal: {unit_of(parcel)}: segment {first} is here with other entries", "the chain was written anew")
    chain = verify_segment(data, unit_of(parcel), authority, _head_before(store, parcel, first))
    if (chain.head.length - 1, chain.head.sha256) != (parcel.facts["last"], parcel.facts.get("head")):
        raise RecordError(f"journal: {unit_of(parcel)}: the segment does not end where its parcel says", "pack it anew")
    if chain.entries[0].unit != unit_of(parcel) or not data.endswith(b"\n"):
        raise RecordError(f"journal: {unit_of(parcel)}: the segment's last line is torn", "pack it anew")
    store.put(place_of(parcel), data)


def keep_aside(store: Store, parcel: Parcel, token: bytes, data: bytes) -> None:
    """What did not follow is evidence all the same."""
    store.put(f"{refused_key(parcel)}.parcel.jws", token)
    store.put(f"{refused_key(parcel)}.jws", data)


def check_not_refused(store: Store, parcel: Parcel) -> None:
    """`RefusalError` for a parcel that was kept aside before: it need not be sent again."""
    if store.get(f"{refused_key(parcel)}.jws") is not None:
        raise RefusalError(
            409, f"journal: {unit_of(parcel)}: this segment did not follow the chain", "it is kept aside; the centre looks into it"
        )


def refused_key(parcel: Parcel) -> str:
    return f"{owner(parcel)}/journal/{unit_of(parcel)}/refused/{parcel.id}"


def _head_before(store: Store, parcel: Parcel, first: int) -> Head:
    """Where the chain stood before entry `first`, by the last segment that the store took before it."""
    folder = record_key(parcel).rpartition("/")[0]
    before = [key for key in store.names(folder) if key.endswith(".parcel.jws") and "/refused/" not in key and _first(key) < first]
    token = store.get(before[-1]) if before else None
    if token is None:
        return Head(0, "")
    last = peek(token, PARCEL, Parcel).facts
    return Head(int(last["last"]) + 1, str(last["head"]))


def _first(key: str) -> int:
    return int(key.rpartition("/")[2].partition(".")[0])

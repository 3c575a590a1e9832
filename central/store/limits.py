"""What the ingest takes of what a node says: which sizes, times and names, and how much at once (decision 0040)."""

from __future__ import annotations

from datetime import datetime, timedelta

from central.store.port import OPEN, RESERVED, TAKEN, Record, Store, open_key, part_count
from privacy.errors import RequestRejectedError
from privacy.records.manifest import LARGEST, Kind, Manifest

RETENTION = timedelta(days=60)
"""The greatest retention that a basis may state: a clip's deadline lies at most so long after its end, and after its arrival."""
MOST_BYTES: dict[Kind, int] = {"clip": LARGEST, "journal": 16 << 20, "report": 16 << 20, "diag": 16 << 20}
"""Bytes of all files of one object."""
MOST_OPEN, MOST_OPEN_BYTES = 128, 8 << 30
"""Of one node: objects that are announced and not complete, and the bytes that they would have."""
MOST_A_DAY, MOST_BYTES_A_DAY = 256, 64 << 20
"""Of one node, of what is no clip: objects that begin in a day, and their bytes. A clip has a deadline, journals and reports stay
for years; a node makes some ten of them in a day, and 1 MB."""
UNFINISHED = timedelta(days=7)
"""So long parts of an object without a deadline are kept while it is incomplete."""


def check(record: Record, name: str, md5: dict[str, tuple[str, ...]]) -> None:
    """`RequestRejectedError` if a signed record is not the one that was announced, or says what no node of ours would."""
    names, size = [file.name for file in record.files], sum(file.size for file in record.files)
    if record.id != name:
        raise RequestRejectedError(400, f"id: is not the record's own (got {name})", "announce the object by its own id")
    if isinstance(record, Manifest):
        _check_clip(record)
    if not names or len(set(names)) != len(names) or RESERVED & set(names):
        raise RequestRejectedError(
            400, f"object {record.id}: files: one at least, each once, none of the centre's names", "pack it anew"
        )
    if size > MOST_BYTES[record.kind]:
        raise RequestRejectedError(
            413, f"object {record.id}: at most {MOST_BYTES[record.kind]} bytes (got {size})", "close it sooner"
        )
    if any(md5.get(file.name) and len(md5[file.name]) != part_count(file.size) for file in record.files) or md5.keys() - set(names):
        raise RequestRejectedError(400, f"object {record.id}: md5: one for each part of each file", "compute them from the parts")


def check_room(store: Store, record: Record, node: str) -> None:
    """`RequestRejectedError` if a node has too much on its way already. Called below the node's lock."""
    size = sum(file.size for file in record.files)
    others = [key for key in store.names(f"{OPEN}/{node}") if key != open_key(node, record)]
    if len(others) >= MOST_OPEN or sum(int(key.rpartition("~")[2]) for key in others) + size > MOST_OPEN_BYTES:
        raise RequestRejectedError(
            429,
            f"object {record.id}: {node} has {len(others)} objects on their way (at most {MOST_OPEN}, {MOST_OPEN_BYTES} bytes)",
            "complete those first",
        )


def count_in(store: Store, record: Record, node: str, now: datetime) -> None:
    """Count a new object in what a node may leave in a day; `RequestRejectedError` if it is too much. Called with the lock."""
    if record.kind == "clip":
        return
    day, size, counts, room = f"{now:%Y%m%d}", sum(file.size for file in record.files), 0, MOST_BYTES_A_DAY
    for key in list(store.names(f"{TAKEN}/{node}")):
        then, _, of_size = key.rpartition("/")[2].split("~")
        if then != day:
            store.unhint(key)
        else:
            counts, room = counts + 1, room - int(of_size)
    if counts >= MOST_A_DAY or size > room:
        raise RequestRejectedError(
            429,
            f"object {record.id}: {node} sent {counts} journals and reports today (at most {MOST_A_DAY}, {MOST_BYTES_A_DAY} bytes)",
            "it may come tomorrow; if the node is not making up for weeks, look at what it sends",
        )
    store.hint(f"{TAKEN}/{node}/{day}~{record.id}~{size}")


def count_out(store: Store, record: Record, node: str) -> None:
    """Of an object that is deleted nothing is left, also not that it was once counted. It lived longer than a day."""
    if record.kind == "clip":
        return
    for key in list(store.names(f"{TAKEN}/{node}")):
        if key.rpartition("/")[2].split("~")[1] == record.id:
            store.unhint(key)


def _check_clip(clip: Manifest) -> None:
    if clip.state == "open":
        raise RequestRejectedError(400, f"object {clip.id}: is still running", "announce the clip when it is finished")
    if clip.end < clip.begin:
        raise RequestRejectedError(
            400, f"object {clip.id}: ends before it begins ({clip.begin} to {clip.end})", "set the node's clock"
        )
    if clip.deadline > clip.end + RETENTION:
        raise RequestRejectedError(
            400, f"object {clip.id}: deadline: at most {RETENTION.days} days after its end (got {clip.deadline})", "see the basis"
        )

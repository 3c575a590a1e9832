"""Limits on what a node may announce: sizes, times, names, and how much at once and in a day (decision 0040)."""

from __future__ import annotations

from datetime import datetime, timedelta

from central.store.port import OPEN, RESERVED, TAKEN, Record, Store, open_key, part_count
from privacy.errors import RequestRejectedError
from privacy.records.manifest import LARGEST, Kind, Manifest

RETENTION = timedelta(days=60)
"""The longest retention that a basis may state. A clip's deadline is at most this long after its end, and after it is announced."""
MOST_BYTES: dict[Kind, int] = {"clip": LARGEST, "journal": 16 << 20, "report": 16 << 20, "diag": 16 << 20}
"""Most bytes of all files of one object together, by kind."""
MOST_OPEN, MOST_OPEN_BYTES = 128, 8 << 30
"""For one node: most objects that are announced and incomplete, and most bytes that these announce together."""
MOST_A_DAY, MOST_BYTES_A_DAY = 256, 64 << 20
"""For one node: most objects other than clips announced in a day (UTC), and their bytes. Clips have a deadline, but journals and
reports stay for years; a node makes about ten of them a day, 1 MB."""
UNFINISHED = timedelta(days=7)
"""How long the parts of an incomplete object without a deadline are kept."""


def check_announcement(record: Record, name: str, md5: dict[str, tuple[str, ...]]) -> None:
    """Check a verified record against the announcement and the limits; `RequestRejectedError` if it does not hold.

    name   the id that was announced
    md5    base64 MD5 of each part, by file name; may be empty
    """
    names, size = [file.name for file in record.files], sum(file.size for file in record.files)
    if record.id != name:
        raise RequestRejectedError(400, f"id: is not the record's id (got {name})", "announce the object by its own id")
    if isinstance(record, Manifest):
        _check_clip(record)
    if not names or len(set(names)) != len(names) or RESERVED & set(names):
        raise RequestRejectedError(400, f"object {record.id}: files: at least one, each once, no reserved name", "pack it anew")
    if size > MOST_BYTES[record.kind]:
        raise RequestRejectedError(
            413, f"object {record.id}: at most {MOST_BYTES[record.kind]} bytes (got {size})", "close it sooner"
        )
    if any(md5.get(file.name) and len(md5[file.name]) != part_count(file.size) for file in record.files) or md5.keys() - set(names):
        raise RequestRejectedError(400, f"object {record.id}: md5: one for each part of each file", "compute them from the parts")


def check_open_objects(store: Store, record: Record, node: str) -> None:
    """`RequestRejectedError` if the node has too many incomplete objects. The caller holds the node's lock."""
    size = sum(file.size for file in record.files)
    others = [key for key in store.names(f"{OPEN}/{node}") if key != open_key(node, record)]
    if len(others) >= MOST_OPEN or sum(int(key.rpartition("~")[2]) for key in others) + size > MOST_OPEN_BYTES:
        raise RequestRejectedError(
            429,
            f"object {record.id}: {node} has {len(others)} incomplete objects (at most {MOST_OPEN}, {MOST_OPEN_BYTES} bytes)",
            "complete those first",
        )


def count_new(store: Store, record: Record, node: str, now: datetime) -> None:
    """Count a new object against the node's daily limit; `RequestRejectedError` if that is reached. Clips are not counted.

    The caller holds the node's lock.
    """
    if record.kind == "clip":
        return
    day, size, counts, room = f"{now:%Y%m%d}", sum(file.size for file in record.files), 0, MOST_BYTES_A_DAY
    for key in list(store.names(f"{TAKEN}/{node}")):
        then, _, of_size = key.rpartition("/")[2].split("~")
        if then != day:
            store.remove_marker(key)
        else:
            counts, room = counts + 1, room - int(of_size)
    if counts >= MOST_A_DAY or size > room:
        raise RequestRejectedError(
            429,
            f"object {record.id}: {node} sent {counts} journals and reports today (at most {MOST_A_DAY}, {MOST_BYTES_A_DAY} bytes)",
            "send it tomorrow; unless the node is sending weeks of backlog, look at what it sends",
        )
    store.put_marker(f"{TAKEN}/{node}/{day}~{record.id}~{size}")


def remove_count(store: Store, record: Record, node: str) -> None:
    """Remove the daily count's marker of a deleted object, which is older than a day: nothing of it may stay. Clips have none."""
    if record.kind == "clip":
        return
    for key in list(store.names(f"{TAKEN}/{node}")):
        if key.rpartition("/")[2].split("~")[1] == record.id:
            store.remove_marker(key)


def _check_clip(clip: Manifest) -> None:
    if clip.state == "open":
        raise RequestRejectedError(400, f"object {clip.id}: is still being recorded", "announce the clip when it is finished")
    if clip.end < clip.begin:
        raise RequestRejectedError(
            400, f"object {clip.id}: ends before it begins ({clip.begin} to {clip.end})", "set the node's clock"
        )
    if clip.deadline > clip.end + RETENTION:
        raise RequestRejectedError(
            400, f"object {clip.id}: deadline: at most {RETENTION.days} days after its end (got {clip.deadline})", "see the basis"
        )

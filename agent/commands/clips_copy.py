"""`lykta clips copy DIR`: sealed clips and closed journal segments on a USB stick for nodes without a link; receipts back.

First visit: everything is copied. `lykta-central ingest DIR` takes it and puts a receipt beside each. Second visit: the
camera deletes the clips that the receipts name, and new ones are copied. Only the centre can decrypt the stick's files.

The stick may have been tampered with, by links or devices: everything below its folder is opened by descriptor.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from agent.clips.index import clip_names
from agent.inbox.inbox import hand_over_receipt
from agent.runtime.clocks import clock_of
from agent.runtime.settings_in_force import settings_in_force
from agent.terminal import progress, show, table_of
from agent.uplink.upload.parcels import Parcels
from drivers import stderr
from privacy.errors import LyktaError, RecordError, StorageError
from privacy.files import PUBLIC, make_folder, on_disk, open_file
from privacy.folders import Folder, opened
from privacy.records.journal import segments
from privacy.records.jws import peek
from privacy.records.manifest import HOLD_FILE, MANIFEST, MANIFEST_FILE, PARCEL, PARCEL_FILE, RECEIPT_FILE, Manifest, Parcel
from provisioning.identity import UNITS, load_signer
from provisioning.layout import Layout

_BLOCK = 1 << 20
_MOST = 100_000
"""Most folders of a stick that are examined."""


def command(layout: Layout, target: Path, as_json: bool) -> int:
    """Exit code: 0; 1 if a clip could not be copied or deleted, which is named on stderr."""
    with on_disk(f"clips: {target}", "is the stick mounted, and may you write to it?"):
        make_folder(target, 0o755)
        with opened(target) as stick:
            facts = _visit(layout, stick)
    table = table_of("clips", "")
    for name, value in (facts | {"folder": str(target)}).items():
        table.add_row(name, str(value))
    show("clips-copy", facts | {"folder": str(target)}, table, as_json)
    return int(facts["failed"] > 0)


def _visit(layout: Layout, stick: Folder) -> dict[str, int]:
    freed, held, refused = _return_receipts(layout, stick)
    copied, failed = _copy_clips(layout, stick)
    segments_copied, damaged = _copy_segments(layout, stick)
    failed += refused + damaged
    return {"copied": copied, "freed": freed, "held": held, "failed": failed, "segments": segments_copied}


def _return_receipts(layout: Layout, stick: Folder) -> tuple[int, int, int]:
    """Counts freed, held and refused. Passes receipts to the camera; removes clips from the stick that the node no longer has.

    held   the camera has the receipt, and keeps the clip until its hold ends
    """
    freed = held = refused = 0
    node = settings_in_force(layout).node
    mine = (node.site, node.id)
    for clip in stick.names(_MOST):
        if not _of_this_node(stick, clip, mine):
            continue
        if _is_here(layout, clip):
            try:
                # If the camera does not run, the receipt is in the inbox, and the clip stays on both until the next visit.
                token = _read(stick, clip, RECEIPT_FILE).decode(errors="replace")
                taken = hand_over_receipt(layout, clip, token) is not None
                kept = (layout.spool / clip / HOLD_FILE).exists()
                freed, held = freed + (taken and not kept), held + (taken and kept)
            except (LyktaError, OSError) as problem:
                refused += 1
                stderr.note(f"{clip}: {problem}")
        if not _is_here(layout, clip):
            for left in stick.remove(clip):
                stderr.note(f"{clip}: {left}")
    return freed, held, refused


def _of_this_node(stick: Folder, clip: str, mine: tuple[str, str]) -> bool:
    """Whether it is a clip of this node with a receipt file: one stick may serve several nodes."""
    try:
        with stick.folder(clip) as folder:
            folder.facts(RECEIPT_FILE)
            manifest = peek(folder.read(MANIFEST_FILE, MANIFEST_FILE), MANIFEST, Manifest)
    except (OSError, RecordError):
        return False
    return (manifest.site, manifest.node) == mine


def _is_here(layout: Layout, clip: str) -> bool:
    return (layout.spool / clip / MANIFEST_FILE).exists()


def _read(stick: Folder, clip: str, name: str) -> bytes:
    with stick.folder(clip) as folder:
        return folder.read(name, name)


def _has(stick: Folder, name: str, file: str) -> bool:
    """Whether a folder of the stick is complete. False for a name that is not a folder: copying into it then gives the error."""
    try:
        with stick.folder(name) as folder:
            return folder.is_file(file)
    except (OSError, RecordError):
        return False


def _copy_clips(layout: Layout, stick: Folder) -> tuple[int, int]:
    wanted = [clip for clip in clip_names(layout.spool, MANIFEST_FILE) if not _has(stick, clip, MANIFEST_FILE)]
    copied = failed = 0
    with progress("copying", len(wanted), every=20) as advance:
        for clip in wanted:
            try:
                with opened(layout.spool, clip) as source:
                    _copy(source, stick, clip)
                copied += 1
            except (OSError, RecordError) as problem:
                # The camera may delete a clip at any moment; a stick may be full.
                failed += 1
                stick.remove(clip)
                stderr.note(f"{clip}: {problem}")
            advance()
    return copied, failed


def _copy(source: Folder, stick: Folder, clip: str) -> None:
    """Copy a clip's folder, so that it is absent or complete: the manifest is last. Only the bytes that the manifest names."""
    token = source.read(MANIFEST_FILE, MANIFEST_FILE)
    stick.make(clip, 0o755)
    with stick.folder(clip) as target:
        for file in peek(token, MANIFEST, Manifest).files:
            with source.open(file.name, file.name) as data:
                _copy_file(data, target, file.name, file.size)
        target.place(MANIFEST_FILE, token, mode=PUBLIC)


def _copy_segments(layout: Layout, stick: Folder) -> tuple[int, int]:
    """Closed journal segments, each in a folder of its own with the parcel that the uplink would have sent it in: copied, failed.

    They stay on the stick when their receipt returns: the uplink, not this command, records what the centre has.
    """
    clock = clock_of(layout, settings_in_force(layout))
    parcels = Parcels(layout, settings_in_force(layout).node, load_signer(layout, "uplink"), clock.now)
    copied = failed = 0
    for unit in UNITS:
        for path in segments(layout.journal(unit))[:-1]:
            try:
                copied += _copy_segment(path, parcels.pack(path, unit), stick)
            except (OSError, RecordError) as problem:
                failed += 1
                stderr.note(f"journal {unit}: {path.name}: {problem}")
    return copied, failed


def _copy_segment(path: Path, token: bytes, stick: Folder) -> bool:
    """Whether it was copied; False if it was there already."""
    parcel = peek(token, PARCEL, Parcel)
    if _has(stick, parcel.id, PARCEL_FILE):
        return False
    stick.make(parcel.id, 0o755)
    with stick.folder(parcel.id) as target, open_file(path, path.name) as data:
        _copy_file(data, target, path.name, parcel.files[0].size)
        target.place(PARCEL_FILE, token, mode=PUBLIC)
    return True


def _copy_file(source: BinaryIO, target: Folder, name: str, size: int) -> None:
    """Copy exactly `size` bytes; `StorageError` if there are fewer."""
    part = f".{name}.part"
    target.remove(part)
    with os.fdopen(target.create(part, PUBLIC), "wb") as file:
        left = size
        while left and (block := source.read(min(_BLOCK, left))):
            file.write(block)
            left -= len(block)
        file.flush()
        os.fsync(file.fileno())
    if left:
        raise StorageError(f"{name}: is {left} bytes too short", "the clip is damaged")
    target.rename(part, name)

"""`lykta clips copy DIR`: sealed clips and closed journal segments on a stick, where no link reaches, and their receipts back.

First visit: everything is copied. `lykta-central ingest DIR` takes it and puts a receipt beside each. Second visit: what the
receipts name is freed by the camera, and what is new is copied. The stick holds nothing that opens without the centre.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from agent.cards import clip_names
from agent.clocks import clock_of
from agent.inbox import hand_over
from agent.inspect import show, table_of
from agent.overlay import settings_in_force
from agent.parcels import Parcels
from agent.progress import note, progress
from privacy.errors import LyktaError, RecordError, StorageError
from privacy.files import place, sync_folder
from privacy.journal import segments
from privacy.manifest import MANIFEST, PARCEL, TAIL, Manifest, Parcel
from privacy.records import peek
from provisioning.identity import UNITS, load_signer
from provisioning.layout import Layout

_FILES = ("clip.age", "masks.age", "tail.age", "manifest.jws")


def command(layout: Layout, target: Path, as_json: bool) -> int:
    """0; 1 if a clip could not be copied or freed, which is named on stderr."""
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise StorageError(f"clips: {target}: {problem.strerror}", "is the stick mounted, and may you write to it?") from problem
    freed, refused = _return_receipts(layout, target)
    copied, failed = _copy_clips(layout, target)
    segments_copied = _copy_segments(layout, target)
    table = table_of("clips", "")
    facts = {"copied": copied, "freed": freed, "failed": failed + refused, "segments": segments_copied, "folder": str(target)}
    for name, value in facts.items():
        table.add_row(name, str(value))
    show("clips-copy", facts, table, as_json)
    return int(failed + refused > 0)


def _return_receipts(layout: Layout, target: Path) -> tuple[int, int]:
    """Hand in what the centre has signed since the last visit; what the node no longer has leaves the stick too."""
    freed = refused = 0
    node = settings_in_force(layout).node
    mine = (node.site, node.id)
    for path in sorted(target.glob("*/receipt.jws")):
        clip = path.parent.name
        if not _of_this_node(path.parent, mine):
            continue
        if (layout.spool / clip / "manifest.jws").exists():
            try:
                # Left in the inbox of a camera that is away, the clip stays on both until the next visit.
                freed += hand_over(layout, "receipt", clip, path.read_text()) is not None
            except LyktaError as problem:
                refused += 1
                note(f"{clip}: {problem}")
        if not (layout.spool / clip / "manifest.jws").exists():
            shutil.rmtree(path.parent)
    return freed, refused


def _of_this_node(folder: Path, mine: tuple[str, str]) -> bool:
    """Whether a folder of the stick is a clip of ours: one stick may serve several nodes."""
    try:
        manifest = peek((folder / "manifest.jws").read_bytes(), MANIFEST, Manifest)
    except (OSError, RecordError):
        return False
    return (manifest.site, manifest.node) == mine


def _copy_clips(layout: Layout, target: Path) -> tuple[int, int]:
    wanted = [clip for clip in clip_names(layout.spool, "manifest.jws") if not (target / clip / "manifest.jws").exists()]
    copied = failed = 0
    with progress("copying", len(wanted), every=20) as advance:
        for clip in wanted:
            try:
                _copy(layout.spool / clip, target / clip)
                copied += 1
            except OSError as problem:
                # The camera may free a clip at any moment; a stick may be full.
                failed += 1
                shutil.rmtree(target / clip, ignore_errors=True)
                note(f"{clip}: {problem}")
            advance()
    return copied, failed


def _copy(source: Path, target: Path) -> None:
    """A clip's folder, absent or complete: its manifest is what comes last."""
    target.mkdir(exist_ok=True)
    for name in _FILES:
        if name != TAIL or (source / name).exists():
            _copy_file(source / name, target / name)
    sync_folder(target)


def _copy_segments(layout: Layout, target: Path) -> int:
    """Closed journal segments, each in a folder of its own with the parcel that the uplink would have sent it in.

    They stay on the stick when their receipt comes back: the uplink, not this command, keeps the books of what the centre has.
    """
    clock = clock_of(layout, settings_in_force(layout))
    parcels = Parcels(layout, settings_in_force(layout).node, load_signer(layout, "uplink"), clock.now)
    copied = 0
    for unit in UNITS:
        for path in segments(layout.journal(unit))[:-1]:
            token = parcels.pack(path, unit)
            folder = target / peek(token, PARCEL, Parcel).id
            if not (folder / "parcel.jws").exists():
                folder.mkdir(exist_ok=True)
                _copy_file(path, folder / path.name)
                place(folder / "parcel.jws", token)
                copied += 1
    return copied


def _copy_file(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)

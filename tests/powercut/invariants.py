"""What must hold in every state that a crash could have left, judged by the store's own recovery and by a foreign opener."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyrage

from agent.clips.spool import check_files
from agent.messages import Help
from privacy.errors import LyktaError
from privacy.records.chains import check_head, cross_check, verify_chain
from privacy.records.journal import Head
from privacy.records.jws import sha256_hex
from privacy.records.manifest import CLIP, MASKS, Manifest, read_manifest
from tests.powercut.store import UNITS, Home, Store, clear, content, opened_store
from tests.powercut.told import Told

LEFT = ("clip_uploaded", "clip_expired", "clip_dropped")


def check(root: Path, home: Home, told: Told) -> list[str]:
    """Recover the store below `root`; every broken promise in a line. It goes on afterwards, or that is one too."""
    try:
        with opened_store(root, home) as store:
            store.keeper.recover()
            found = [*_messages(store, told), *_clips(store, told), *_orders(store, told)]
            _go_on(store, told)
            return [*found, *_journals(store, told)]
    except (LyktaError, OSError, ValueError, pyrage.DecryptError) as problem:
        return [f"does not recover: {type(problem).__name__}: {problem}"]


def _messages(store: Store, told: Told) -> Iterator[str]:
    here = store.keys()
    if told.epoch and store.outbox.epoch != told.epoch:
        yield "outbox: another epoch"
    yield from (f"outbox: lost {key}" for key in sorted(told.stored - set(here)))
    yield from (f"outbox: came back {key}" for key in sorted(told.deleted & set(here)))


def _go_on(store: Store, told: Told) -> None:
    """Each part takes more, behind what it had."""
    for journal in store.journals.values():
        journal.append("again")
    store.outbox.put(Help("again", "pressed"))
    if (seq := store.keys()["again"].seq) <= told.seq:
        raise ValueError(f"outbox: gave {seq} again, {told.seq} was told")
    film = store.film()
    film.begin()
    film.second(1000, 100)
    film.finish()


def _journals(store: Store, told: Told) -> Iterator[str]:
    chains = {unit: verify_chain(store.layout.journal(unit), unit, store.home.authority) for unit in UNITS}
    for unit, head in told.heads.items():
        check_head(chains[unit], Head.parse(head), "who was told")
    assert cross_check(chains, store.home.authority).claims == ()
    here = {path.name for path in store.spool.folder.iterdir()}
    left = {entry.facts["clip"] for entry in chains["camera"].entries if entry.kind in LEFT}
    yield from (f"journal: nothing about the end of {clip}" for clip in sorted(told.ending - here - left))


def _orders(store: Store, told: Told) -> Iterator[str]:
    """What was answered stays answered, with the same words; what is held is held."""
    for number, sha256 in told.obeyed.items():
        if sha256_hex(store.answer(number)) != sha256:
            yield f"order {number}: another answer than was told"
    for clip in sorted(told.held):
        if store.spool.marked(clip, "hold") is None:
            yield f"order: no longer holds {clip}"


def _clips(store: Store, told: Told) -> Iterator[str]:
    folders = {path.name for path in store.spool.folder.iterdir() if path.is_dir()}
    yield from (f"clip: came back {clip}" for clip in sorted(told.freed & folders))
    yield from (f"clip: lost {clip}" for clip in sorted((set(told.sealed) | set(told.synced)) - folders))
    parents: dict[str, str] = {}
    heads = {told.last}
    for clip in sorted(folders):
        path = store.spool.folder / clip / "manifest.jws"
        if not path.exists():
            yield f"clip: neither whole nor gone {clip}: {sorted(one.name for one in path.parent.iterdir())}"
            continue
        token = path.read_bytes()
        manifest, _ = read_manifest(token, store.home.authority)
        parents[manifest.previous] = clip
        heads |= set() if clip in told.sealed else {sha256_hex(token)}
        yield from _clip(store, told, manifest, sha256_hex(token))
    # A clip that was refused after its manifest was placed is dropped, and the next one follows that manifest all the same.
    strays = [] if told.refused else [clip for previous, clip in parents.items() if previous not in told.ever | heads]
    yield from (f"clip: follows none that was told {clip}" for clip in strays)
    if store.spool.previous not in heads:
        yield "clip: the next one would not follow the last one"
    if store.spool.previous in parents:
        yield f"clip: the next one would have the same previous as {parents[store.spool.previous]}"


def _clip(store: Store, told: Told, manifest: Manifest, sha256: str) -> Iterator[str]:
    folder = store.spool.folder / manifest.clip
    check_files(folder, manifest)
    if told.sealed.get(manifest.clip, sha256) != sha256:
        yield f"clip: another manifest than was told {manifest.clip}"
    read = clear(folder, manifest, pyrage.x25519.Identity.from_str(store.home.identity))
    for name, fed in zip((CLIP, MASKS), told.synced.get(manifest.clip, (0, 0)), strict=True):
        data = read[name]
        if data != content(manifest.clip, name, len(data)):
            yield f"clip: other bytes than were filmed {manifest.clip}/{name}"
        if len(data) < fed:
            yield f"clip: lost synced seconds of {manifest.clip}/{name}: {len(data)} of {fed} bytes"

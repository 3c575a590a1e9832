"""How long clips stay: deadline, quota, damage. Whatever leaves is journalled and told (R27, R32)."""

from __future__ import annotations

import json
import resource
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.keeping import Keeper
from agent.outbox import Outbox
from central.keys import authority
from drivers.clock import SystemClock
from privacy.errors import StorageError
from privacy.journal import Journal, segments, verify_chain
from provisioning.identity import load_signer
from tests.clips import Node, made


class Shelf:
    """A node's spool with its keeper, whose clock the test sets."""

    def __init__(self, folder: Path) -> None:
        made("keygen", folder / "keys")
        self.keys = folder / "keys"
        self.node = Node(self.keys, "city/stop-1", folder / "node")
        self.now = datetime.now(UTC)
        layout = self.node.layout
        self.outbox = Outbox(layout.outbox, "city", "stop-1", SystemClock("host"))
        self.journal = Journal(layout.journal("camera"), "camera", load_signer(layout, "camera"), lambda: self.now)

    def keeper(self, quota_mb: int = 1000) -> Keeper:
        return Keeper(self.node.spool, self.outbox, self.journal, lambda: self.now, quota_mb, timedelta(hours=72))

    def notes(self) -> list[tuple[str, str, str]]:
        with sqlite3.connect(self.node.layout.outbox) as database:
            rows = database.execute("SELECT payload FROM messages ORDER BY seq").fetchall()
        bodies = [json.loads(payload)["body"] for (payload,) in rows]
        return [(body["clip"], body["stage"], body["reason"]) for body in bodies]

    def kinds(self) -> list[str]:
        chain = verify_chain(self.node.layout.journal("camera"), "camera", authority(self.keys))
        return [entry.kind for entry in chain.entries]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path)
    yield shelf
    shelf.outbox.close()


def test_a_clip_is_deleted_at_its_deadline_and_not_before(shelf: Shelf) -> None:
    clip = shelf.node.clip(b"video").name
    keeper = shelf.keeper()
    shelf.now += timedelta(hours=71)
    keeper.sweep()
    assert shelf.node.spool.clips() == [clip]
    shelf.now += timedelta(hours=2)
    keeper.sweep()
    assert shelf.node.spool.clips() == []
    assert not (shelf.node.layout.spool / clip).exists()
    assert shelf.notes() == [(clip, "expired", "retention")]
    assert shelf.kinds() == ["clip_expired"]


def test_a_full_quota_drops_the_oldest_and_help_last(shelf: Shelf) -> None:
    help_clip = shelf.node.clip(bytes(600_000), trigger="help").name
    others = [shelf.node.clip(bytes(600_000)).name for _ in range(2)]
    shelf.keeper(quota_mb=1).sweep()
    assert shelf.node.spool.clips() == [help_clip]
    assert shelf.notes() == [(clip, "dropped", "quota") for clip in sorted(others)]


def test_a_damaged_manifest_neither_stops_the_sweep_nor_keeps_its_clip(shelf: Shelf) -> None:
    good, bad = shelf.node.clip(b"video").name, shelf.node.clip(b"video").name
    (shelf.node.layout.spool / bad / "manifest.jws").write_bytes(b"torn")
    keeper = shelf.keeper()
    keeper.sweep()
    keeper.sweep()
    assert sorted(shelf.node.spool.clips()) == sorted([good, bad])
    shelf.now += timedelta(hours=80)
    keeper.sweep()
    assert shelf.node.spool.clips() == []
    assert shelf.kinds()[0] == "clip_damaged"
    assert shelf.kinds().count("clip_damaged") == 1
    assert {stage for _, stage, _ in shelf.notes()} == {"expired"}


def test_a_torn_checkpoint_is_dropped_and_told(shelf: Shelf) -> None:
    folder = shelf.node.layout.spool / "01a20d6b-c8ab-7c33-8172-095561562400"
    folder.mkdir(parents=True)
    (folder / "checkpoint.jws").write_bytes(b"")
    (folder / "clip.age").write_bytes(b"")
    shelf.keeper().recover()
    assert not folder.exists()
    ((clip, stage, reason),) = shelf.notes()
    assert (clip, stage) == (folder.name, "dropped")
    assert reason.startswith("torn")


def test_a_disk_that_refuses_a_note_gets_it_later(shelf: Shelf) -> None:
    """Promise 3: a clip's end is journalled and told, if not now then at the next sweep; nothing crashes over it."""
    clip = shelf.node.clip(b"video").name
    keeper = shelf.keeper()
    shelf.now += timedelta(hours=73)
    with sqlite3.connect(shelf.node.layout.outbox) as hog:
        hog.execute("BEGIN IMMEDIATE")
        keeper.sweep()
        assert keeper.later.trouble is not None
        hog.rollback()
    assert shelf.notes() == []
    keeper.sweep()
    assert keeper.later.trouble is None
    assert shelf.notes() == [(clip, "expired", "retention")]
    assert shelf.kinds() == ["clip_expired"]


def test_a_disk_that_fills_within_a_line_breaks_no_chain(shelf: Shelf) -> None:
    """R32: half an entry is taken back, so that the next one does not join with it."""
    shelf.journal.append("before")
    [path] = segments(shelf.node.layout.journal("camera"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
    try:
        with pytest.raises(StorageError):
            shelf.journal.append("refused")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    shelf.journal.append("after")
    assert shelf.kinds() == ["before", "after"]

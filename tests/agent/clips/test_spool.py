"""A running clip (promise 3): what a power cut leaves of it, what it is called, and what a crash at its end leaves."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pyrage
import pytest

from agent.camera.moments import moment
from agent.camera.recorder import Recorder, Stream, Taken, Trigger
from agent.clips.spool import SealedSink, Spool
from agent.messages import Body, ClipNote
from agent.runtime.config import Record
from central.keys.keygen import authority
from drivers.media.encoder import H264Encoder
from privacy.ids import new_clip_id
from privacy.masking.delay import Verdict
from privacy.masking.frames import Frame
from privacy.masking.masker import Masker
from privacy.records.jws import peek, sha256_hex
from privacy.records.manifest import MANIFEST, Manifest, read_manifest
from privacy.records.seal import Recipient, Tail, head_size, whole_size
from provisioning.identity import load_authority, load_signer, recipients
from tests.support.clip_node import ClipNode
from tests.support.clips import made
from tests.support.manifests import HEIGHT, WIDTH, manifest

FPS = 15
SECOND = 1_000_000_000


@dataclass
class Ear:
    """A ledger that only listens."""

    notes: list[ClipNote] = field(default_factory=list)
    told: list[Body] = field(default_factory=list)

    def recorded(self, manifest: Manifest) -> None:
        self.notes.append(ClipNote(manifest.clip, "recorded", manifest.trigger, "", 0))

    def drop(self, note: ClipNote) -> None:
        self.notes.append(note)

    def say(self, *bodies: Body) -> None:
        self.told += bodies

    def clear(self, tail: str) -> None:
        assert tail == "alarm/disk"


class Disk(Spool):
    """A spool that remembers what its last sync made durable: what a power cut would leave, whatever the page cache has."""

    durable: dict[str, int] | None = None

    def sync(self, clip: str, video: SealedSink, masks: SealedSink) -> None:
        super().sync(clip, video, masks)
        self.durable = {name: (self.folder / clip / name).stat().st_size for name in ("clip.age", "masks.age")}

    def pull_the_plug(self, target: Path) -> Path:
        """The spool as it would be found, in a folder of its own."""
        shutil.copytree(self.folder, target)
        [folder] = [path for path in target.iterdir() if path.is_dir()]
        for name, size in (self.durable or {}).items():
            with (folder / name).open("r+b") as file:
                file.truncate(size)
        return folder


class Film:
    """A recorder on a drawn street, fed picture by picture."""

    def __init__(self, clip_node: ClipNode, **settings: Any) -> None:
        self.clip_node, self.ear = clip_node, Ear()
        layout = clip_node.layout
        self.spool = Disk(layout.spool, load_signer(layout, "camera"), load_authority(layout))
        masker = Masker(WIDTH, HEIGHT, None)
        to = tuple(Recipient.parse(one) for one in recipients(layout))
        stream = Stream(WIDTH, HEIGHT, FPS, to, masker.header)
        whole = Record(**{"pre_roll": 1, "post_roll": 60, "longest": 60, **settings})
        self.recorder = Recorder(self.spool, whole, stream, self._opening, self.ear, self.ear, lambda: None)
        self._pictures = self._shoot(masker, time.time_ns())

    def _opening(self, first: Taken, trigger: Trigger) -> Manifest:
        said = {"trigger": trigger.kind, "begin": moment(first.wall_ns), "frames": 0, "full": {}}
        return manifest(new_clip_id(first.wall_ns), self.clip_node.node.name, recipients(self.clip_node.layout), **said)

    def _shoot(self, masker: Masker, begin_ns: int) -> Iterator[Taken]:
        encoder, rng = H264Encoder(WIDTH, HEIGHT, FPS, bitrate=300_000), np.random.default_rng(3)
        street = rng.integers(60, 200, (HEIGHT * 3 // 2, WIDTH)).astype(np.uint8)
        for number in range(10_000):
            stamp = number * SECOND // FPS
            frame = Frame(np.roll(street, number, 1), WIDTH, HEIGHT, number, stamp, begin_ns + stamp)
            masked = masker.mask(frame, Verdict((), ""))
            for packet in encoder.encode(masked):
                yield Taken(packet, masked.record, frame.wall_ns)

    def run(self, frames: int) -> None:
        for _ in range(frames):
            self.recorder.handle(next(self._pictures))

    def press(self, kind: str) -> None:
        self.recorder.handle(Trigger(kind))

    def opened(self, name: str = "checkpoint.jws") -> Manifest:
        [path] = self.clip_node.layout.spool.glob(f"*/{name}")
        return peek(path.read_bytes(), MANIFEST, Manifest)


def joined(folder: Path, identity: pyrage.x25519.Identity) -> tuple[bytes, bytes]:
    """Clear video and mask records of a torn clip, as docs/EVIDENCE.md tells an investigator to join them."""
    tail = pyrage.decrypt((folder / "tail.age").read_bytes(), [identity])
    line, _, rest = tail.partition(b"\n")
    head = msgspec.json.decode(line, type=Tail)
    parts = []
    for name, (offset, size) in (("clip.age", head.clip), ("masks.age", head.masks)):
        clear = io.BytesIO()
        with pytest.raises((OSError, pyrage.DecryptError)):
            pyrage.decrypt_io(io.BytesIO((folder / name).read_bytes()), clear, [identity])
        whole = clear.getvalue()
        assert len(whole) >= offset, "whole chunks reach at least to where the tail begins"
        parts.append(whole[:offset] + rest[:size] if offset + size > len(whole) else whole)
        rest = rest[size:]
    return parts[0], parts[1]


def decoded(video: bytes) -> int:
    with av.open(io.BytesIO(video)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize("frames", [1, 14, 16, 31, 100, 173])
def test_a_power_cut_costs_the_last_second_of_a_running_clip_at_most(clip_node: ClipNode, tmp_path: Path, frames: int) -> None:
    """Promise 3: at any moment, all but the last second decrypts and decodes, with its mask records, whatever the bit rate."""
    film = Film(clip_node)
    film.run(20)
    film.press("presence")
    film.run(frames)
    folder = film.spool.pull_the_plug(tmp_path / "found")
    identity = pyrage.x25519.Identity.from_str((clip_node.keys / "identity.txt").read_text().strip())
    after = Spool(folder.parent, load_signer(clip_node.layout, "camera"), load_authority(clip_node.layout))
    after.repair(lambda _manifest: None)
    done = after.recover(after.torn()[0], clip_node.clock.wall)
    assert {file.name for file in done.files} == {"clip.age", "masks.age", "tail.age"}
    video, masks = joined(folder, identity)
    began = 15  # the ring's first key picture
    fed = 20 - began + frames
    assert fed - decoded(video) <= FPS
    assert decoded(video) <= masks.count(b"\n") - 1, "each picture that can be seen has its record"
    if decoded(video):
        said = json.loads(made("verify", folder, "--keys", clip_node.keys, "--json"))
        assert said["proof"]["frames"] == decoded(video)
        made("open", folder, "--keys", clip_node.keys, "-o", tmp_path / "torn.mp4")
        assert (tmp_path / "torn.mp4").read_bytes() == video


def test_each_bytes_of_a_running_clip_are_signed_up_to_its_last_checkpoint(clip_node: ClipNode, tmp_path: Path) -> None:
    """R32: the torn manifest carries the checkpoint; the prefix that it names is there, and hashes to what it says."""
    film = Film(clip_node)
    film.run(20)
    film.press("presence")
    film.run(100)
    film.press("help")
    film.run(100)
    folder = film.spool.pull_the_plug(tmp_path / "found")
    after = Spool(folder.parent, load_signer(clip_node.layout, "camera"), load_authority(clip_node.layout))
    done = after.recover(after.torn()[0], clip_node.clock.wall)
    signed, party = read_manifest(done.checkpoint.encode(), authority(clip_node.keys))
    assert (signed.state, signed.clip, signed.trigger, party.role) == ("open", done.clip, "help", "camera")
    assert signed.frames >= 100
    for file in signed.files:
        assert sha256_hex((folder / file.name).read_bytes()[: file.size]) == file.sha256
    assert signed.files[0].size > 65_536, "of the video whole chunks are signed, of the mask records here only the header"


def test_a_help_press_names_the_clip_that_runs_already(clip_node: ClipNode) -> None:
    """A clip is kept and uploaded by the weightiest thing that happened in it, also if the power goes right after."""
    film = Film(clip_node, post_roll=2)
    film.run(20)
    film.press("presence")
    film.run(5)
    film.press("help")
    assert film.opened().trigger == "help"
    film.press("presence")
    film.run(60)
    assert film.opened("manifest.jws").trigger == "help"
    assert [(note.stage, note.trigger) for note in film.ear.notes] == [("recorded", "help")]


def test_always_films_routine_clips_back_to_back_and_events_stand_out(clip_node: ClipNode) -> None:
    film = Film(clip_node, mode="always", post_roll=2, longest=10)
    film.run(10 * FPS + 5)
    film.press("tamper")
    film.run(10 * FPS)
    assert [note.trigger for note in film.ear.notes][:2] == ["routine", "tamper"]
    film.run(10 * FPS)
    assert [note.trigger for note in film.ear.notes][2:] == ["routine"]


def test_a_press_right_after_a_clip_gets_a_clip_of_its_own(clip_node: ClipNode) -> None:
    """Promise 5: in the second before the next key picture there is nothing to begin with; the press waits for it."""
    film = Film(clip_node, post_roll=1)
    film.run(20)
    film.press("presence")
    while not film.ear.notes:
        film.run(1)
    film.press("help")
    film.press("presence")
    film.run(40)
    assert [note.trigger for note in film.ear.notes] == ["presence", "help"]


def test_events_only_film_nothing_without_one(clip_node: ClipNode) -> None:
    film = Film(clip_node)
    film.run(60)
    assert film.spool.count() == 0


def test_an_end_that_a_crash_interrupted_is_finished_at_the_next_start(clip_node: ClipNode) -> None:
    """Promise 3: a manifest in place is a complete clip; the chain of manifests goes on from it and never forks."""
    first, second = clip_node.clip(), clip_node.clip()
    spool = clip_node.node.spool
    folder = clip_node.layout.spool / second
    (clip_node.layout.spool / "head").write_text(sha256_hex((clip_node.layout.spool / first / "manifest.jws").read_bytes()))
    shutil.copy(folder / "manifest.jws", folder / "checkpoint.jws")
    (folder / "tail.age").write_bytes(b"tail")
    (folder / ".tail.age.part").write_bytes(b"half a tail")
    clip_node.custody().keeper.recover()
    assert sorted(path.name for path in folder.iterdir()) == ["clip.age", "manifest.jws", "masks.age"]
    assert spool.previous == sha256_hex((folder / "manifest.jws").read_bytes())
    third = clip_node.clip()
    assert spool.manifest(third).previous == sha256_hex((folder / "manifest.jws").read_bytes())


def test_a_clip_of_which_nobody_was_told_is_told_at_the_next_start(clip_node: ClipNode) -> None:
    """Promise 3: while the journal does not have a complete clip, its checkpoint stays beside it; then it is told once."""
    folder = clip_node.node.torn()
    spool = clip_node.node.spool_of("camera")

    def power_cut(_manifest: Manifest) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spool.recover(folder.name, clip_node.clock.wall, power_cut)
    assert clip_node.there() == [folder.name]
    assert clip_node.kinds() == []
    for _ in range(2):
        clip_node.custody().keeper.recover()
        assert clip_node.kinds() == ["clip_recorded"]
    assert clip_node.notes() == [(folder.name, "recorded", "torn")]


def test_what_a_crash_left_of_a_deletion_goes_at_the_next_start(clip_node: ClipNode) -> None:
    """R27: a deletion that had begun is finished; so is a folder that never got its first record."""
    half = clip_node.layout.spool / f".freed-{clip_node.clip()}"
    (clip_node.layout.spool / half.name.removeprefix(".freed-")).rename(half)
    bare = clip_node.layout.spool / new_clip_id(1)
    bare.mkdir()
    (bare / ".checkpoint.jws.part").write_bytes(b"")
    foreign = clip_node.layout.spool / "lost+found"
    foreign.mkdir()
    clip_node.custody().keeper.recover()
    assert not half.exists()
    assert not bare.exists()
    assert foreign.exists()


def test_whole_chunks_are_found_without_a_key(clip_node: ClipNode) -> None:
    """The node trims what it cannot open."""
    folder = clip_node.node.torn(bytes(200_000))
    data = (folder / "clip.age").read_bytes()
    (folder / "clip.age").write_bytes(data + b"half a chunk")
    done = clip_node.node.spool_of("camera").recover(folder.name, clip_node.clock.wall)
    assert done.files[0].size == whole_size(head_size(data), len(data)) == (folder / "clip.age").stat().st_size
    assert json.loads(msgspec.json.encode(done))["state"] == "torn"

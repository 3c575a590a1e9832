"""Clips that a power cut tore, at the centre: whole chunks, their tail, and what the camera had signed before the cut."""

from __future__ import annotations

import json
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.clips.torn_clips import read_tail
from privacy.ids import new_clip_id
from privacy.records.manifest import SealedFile
from privacy.records.seal import Recipient
from provisioning.identity import recipients
from tests.support.clips import HEADER, Node, film, made, noise, refused
from tests.support.manifests import BEGIN, manifest
from tests.support.torn import tear


def test_a_clip_torn_by_a_power_cut_opens_up_to_there(keys: Path, node: Node, tmp_path: Path) -> None:
    """Promise 3: whole chunks of 64 KiB open; and only a manifest that says torn allows an end without its mark."""
    video = noise(5 * 65536)
    opened = manifest(new_clip_id(2), node.name, recipients(node.layout))
    sinks = node.spool.begin(opened, [Recipient.parse(one) for one in opened.recipients])
    sinks[0].feed(video)
    for sink in sinks:
        sink.abandon()
    folder, target = node.spool.folder / opened.clip, tmp_path / "out.mp4"
    node.spool.recover(opened.clip, BEGIN + timedelta(seconds=9))
    made("open", folder, "--keys", keys, "-o", target)
    assert target.read_bytes()
    assert video.startswith(target.read_bytes())
    assert len(target.read_bytes()) % 65536 == 0
    target.unlink()
    node.spool.finish(msgspec.structs.replace(node.spool.manifest(opened.clip), state="complete"))
    refused(1, "cannot be opened", "open", folder, "--keys", keys, "-o", target)
    assert not list(tmp_path.iterdir())


FILM = film()


@pytest.mark.parametrize("overlap", [0, 1, 30_000])
def test_a_torn_clip_goes_on_into_its_tail(keys: Path, node: Node, tmp_path: Path, overlap: int) -> None:
    """Promise 3: whole chunks, then what was synced after them; and the records prove the pictures as far as both reach."""
    folder, video = tear(node, FILM, cut=90_000, left=20_000, overlap=overlap)
    made("open", folder, "--keys", keys, "-o", tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == video == FILM[: 65_536 + 20_000]
    said = json.loads(made("verify", folder, "--keys", keys, "--json"))
    assert said["proof"]["records"] == 30
    assert 0 < said["proof"]["frames"] < 30


def test_a_tail_inside_the_chunks_changes_nothing(keys: Path, node: Node, tmp_path: Path) -> None:
    """The disk kept more chunks than the last tail knew of."""
    line = b'{"clip":[1000,500],"masks":[0,3]}\n'
    folder, _ = tear(node, FILM, cut=90_000, left=0, tail=line + FILM[1000:1500] + msgspec.json.encode(HEADER)[:3])
    made("open", folder, "--keys", keys, "-o", tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == FILM[:65_536]


@given(st.binary(max_size=60), st.binary(max_size=20), st.data())
def test_whole_chunks_and_a_tail_make_one_stream(video: bytes, masks: bytes, data: st.DataObject) -> None:
    """However much of it the chunks kept, and wherever the tail begins before their end: nothing twice, nothing missing."""
    kept = data.draw(st.integers(0, len(video)))
    offset = data.draw(st.integers(0, kept))
    end = data.draw(st.integers(offset, len(video)))
    line = f'{{"clip":[{offset},{end - offset}],"masks":[0,{len(masks)}]}}\n'.encode()
    tail = read_tail(line + video[offset:end] + masks)
    clear, records = BytesIO(), BytesIO()
    clear.write(video[:kept])
    tail["clip.age"].append_to(clear, "clip.age")
    tail["masks.age"].append_to(records, "masks.age")
    assert (clear.getvalue(), records.getvalue()) == (video[: max(kept, end)], masks)


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        (b'{"clip":[65537,4],"masks":[0,0]}\nmore', "begins 1 bytes after the end of clip.age"),
        (b'{"clip":[1000,4],"masks":[0,0]}\nmore', "differs from clip.age where they overlap"),
        (b'{"clip":[65536,5],"masks":[0,0]}\nmore', "holds 4 bytes, its line says 5"),
        (b'{"clip":[-1,4],"masks":[0,0]}\nmore', "its first line"),
        (b'{"clip":[65536,65537],"masks":[0,0]}\n' + bytes(65_537), "its first line"),
        (bytes(200_000), "longer than any tail"),
        (b"", "its first line"),
    ],
)
def test_a_tail_that_does_not_fit_is_refused(keys: Path, node: Node, tmp_path: Path, tail: bytes, said: str) -> None:
    folder, _ = tear(node, FILM, cut=90_000, left=0, tail=tail)
    refused(1, said, "open", folder, "--keys", keys, "-o", tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())


def test_verify_says_how_far_a_torn_clip_was_signed_before_the_cut(keys: Path, node: Node) -> None:
    folder, _ = tear(node, FILM, cut=90_000, left=20_000)
    size = (folder / "clip.age").stat().st_size
    text = made("verify", folder, "--keys", keys)
    assert f"before the cut the camera had signed the first {size} bytes of clip.age, 2.0 s of the clip" in text
    assert "not checked  what the camera wrote after its last checkpoint" in text
    assert "a power cut tore it" in text


OTHER = SealedFile("clip.age", 70, "0" * 64)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"files": (OTHER,)}, "clip.age: its first 70 bytes changed after its last checkpoint"),
        ({"files": (SealedFile("clip.age", 10**9, "0" * 64),)}, "changed after its last checkpoint"),
        ({"clip": new_clip_id(9)}, "checkpoint: belongs to another clip"),
        ({"state": "complete"}, "checkpoint: belongs to another clip"),
        ({"node": "stop-2"}, "checkpoint: belongs to another clip"),
    ],
)
def test_a_torn_clip_that_changed_after_its_checkpoint_is_refused(
    keys: Path, node: Node, changed: dict[str, Any], said: str
) -> None:
    """Signed anew after the cut, it still cannot differ from what was signed before it."""
    folder, _ = tear(node, FILM, cut=90_000, left=20_000, changed=changed)
    refused(5, said, "verify", folder, "--keys", keys)

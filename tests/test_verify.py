"""`lykta-central verify`: a clip whose pixels, records or hashes do not fit together is refused (R17, R22, R26).

The clips are made by the real masker, encoder, muxer and seal, and signed by the node's real key: what is refused here, a
node that turned against its owner could have signed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agent.recorder import new_clip_id
from privacy.frames import Frame
from privacy.mask_record import MaskHeader
from privacy.seal import Recipient
from provisioning.identity import recipients
from tests.clips import BEGIN, HEADER, HEIGHT, PERSON, WIDTH, Node, film, made, manifest, mask
from tests.test_central import keys, node, receipt, refused  # noqa: F401 - fixtures

FILM = film()


def sealed(of: Node, video: bytes, lines: list[Any], **changes: Any) -> Path:
    """A finished clip of that video and those mask lines, its manifest changed as told."""
    opened = manifest(new_clip_id(7), of.name, recipients(of.layout))
    sinks = of.spool.begin(opened, [Recipient.parse(one) for one in opened.recipients])
    sinks[0].feed(video)
    for line in lines:
        sinks[1].feed((line if isinstance(line, bytes) else msgspec.json.encode(line)) + b"\n")
    done = msgspec.structs.replace(opened, state="complete", files=tuple(sink.close() for sink in sinks))
    of.spool.finish(msgspec.structs.replace(done, **changes))
    return of.spool.folder / opened.clip


def records(number: int = 30) -> list[Any]:
    return [HEADER, *(mask(n) for n in range(number))]


def test_verify_says_what_it_checked_and_what_not(keys: Path, node: Node) -> None:  # noqa: F811
    folder = node.clip(FILM)
    receipt(keys, folder)
    said = json.loads(made("verify", folder, "--keys", keys, "--json"))
    assert (said["schema"], said["clip"], said["signer"]) == ("lykta-central.verify/1", folder.name, "city/stop-1")
    proof = said["proof"]
    assert (proof["frames"], proof["unproved"], proof["full"]) == (30, 0, {"start": 2})
    assert 0.15 < proof["checked"] < 0.5
    assert proof["worst"] <= 12
    assert "receipt" in said["checked"]
    assert said["not_checked"] == ["whether somebody stayed visible beside the masks"]
    text = made("verify", folder, "--keys", keys)
    assert "30 pictures against their mask records" in text
    assert "not checked  whether somebody stayed visible" in text
    (folder / "receipt.jws").unlink()
    assert "receipt" not in json.loads(made("verify", folder, "--keys", keys, "--json"))["checked"]


def hole(at: int, left: int, top: int, side: int) -> Any:
    """One frame with a square of the street left as it was inside the person's mask."""

    def after(number: int, frame: Frame) -> None:
        if number == at:
            texture = np.random.default_rng(1).integers(30, 220, (side // 4, side // 4)).astype(np.uint8)
            frame.planes[0][top : top + side, left : left + side] = texture.repeat(4, 0).repeat(4, 1)

    return after


@pytest.mark.parametrize("place", [(80, 40), (91, 77), (110, 118)])
def test_one_unmasked_head_in_one_frame_is_found(keys: Path, node: Node, place: tuple[int, int]) -> None:  # noqa: F811
    """24x24 pixels in one of thirty frames: not a hundredth of what is masked there."""
    video = film(after=hole(17, *place, 24))
    refused(1, "frame 17 (record 17): masked pixels do not hold the fill", "verify", node.clip(video), "--keys", keys)


def test_a_frame_that_was_never_painted_is_found(keys: Path, node: Node) -> None:  # noqa: F811
    def unpainted(number: int, frame: Frame) -> None:
        if number == 1:
            frame.planes[0][:] = np.random.default_rng(2).integers(0, 255, (HEIGHT, WIDTH))

    refused(1, "frame 1 (record 1)", "verify", node.clip(film(after=unpainted)), "--keys", keys)


def test_another_tone_of_the_same_luma_is_found(keys: Path, node: Node) -> None:  # noqa: F811
    """Chroma counts: a picture of a person in grey levels of the tone's luma is none of the mask."""

    def grey(number: int, frame: Frame) -> None:
        if number >= 2:
            for plane in frame.planes[1:]:
                plane[10:80, 30:80] = 128

    refused(1, "masked pixels do not hold the fill", "verify", node.clip(film(after=grey)), "--keys", keys)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (records(29), "29 records for 30 frames"),
        (records(31), "31 records for 30 frames"),
        ([HEADER, *(mask(n) for n in (*range(10), 11, 10, *range(12, 30)))], "frame 10 stands after frame 11"),
        ([HEADER, *(mask(n) for n in (*range(10), 9, *range(11, 30)))], "frame 9 stands after frame 9"),
        ([b"not a record"] * 31, "not mask records"),
        ([], "not mask records"),
        ([msgspec.structs.replace(HEADER, width=322), *records()[1:]], "manifest says otherwise"),
        ([msgspec.structs.replace(HEADER, zones=(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)),)), *records()[1:]], "view and zones"),
        ([HEADER, *(msgspec.structs.replace(mask(n), cause="") for n in range(30))], "fully masked frames differ"),
    ],
)  # fmt: skip
def test_records_that_do_not_fit_are_refused(keys: Path, node: Node, lines: list[Any], said: str) -> None:  # noqa: F811
    refused(1, said, "verify", sealed(node, FILM, lines), "--keys", keys)


@pytest.mark.parametrize("changes", [{"frames": 31}, {"full": {}}, {"full": {"start": 3}}, {"profile": "strict"}])
def test_a_manifest_that_says_otherwise_is_refused(keys: Path, node: Node, changes: dict[str, Any]) -> None:  # noqa: F811
    refused(1, "masks:", "verify", sealed(node, FILM, records(), **changes), "--keys", keys)


def test_a_picture_more_or_less_than_the_records_is_refused(keys: Path, node: Node) -> None:  # noqa: F811
    refused(1, "29 pictures for 30 mask records", "verify", sealed(node, film(29), records()), "--keys", keys)
    refused(1, "31 pictures for 30 mask records", "verify", sealed(node, film(31), records()), "--keys", keys)


def test_a_mask_moved_in_the_records_is_refused(keys: Path, node: Node) -> None:  # noqa: F811
    """Claiming more than was painted."""
    boxes = ((PERSON[0], PERSON[1] + 60, *PERSON[2:3], PERSON[3] + 60, PERSON[4]),)
    lines = [HEADER, mask(0), mask(1), *(msgspec.structs.replace(mask(n), boxes=boxes) for n in range(2, 30))]
    refused(1, "frame 2 (record 2)", "verify", sealed(node, FILM, lines), "--keys", keys)


def test_what_is_no_video_is_refused(keys: Path, node: Node) -> None:  # noqa: F811
    refused(1, "video: cannot be decoded", "verify", node.clip(b"no video" * 999), "--keys", keys)


@pytest.mark.parametrize("kept", [1.0, 0.5])
def test_a_torn_clip_is_proved_as_far_as_its_records_reach(keys: Path, node: Node, kept: float) -> None:  # noqa: F811
    opened = manifest(new_clip_id(8), node.name, recipients(node.layout))
    sinks = node.spool.begin(opened, [Recipient.parse(one) for one in opened.recipients])
    video = film(120)
    sinks[0].feed(video)
    # Filled up to a whole chunk, so that the end of what is torn off lies after the records wanted here.
    lines = b"".join(msgspec.json.encode(line) + b"\n" for line in records(round(120 * kept)))
    sinks[1].feed(lines + b" " * 65536)
    for sink in sinks:
        sink.abandon()
    node.spool.recover(opened.clip, BEGIN)
    said = json.loads(made("verify", node.spool.folder / opened.clip, "--keys", keys, "--json"))
    assert said["manifest"]["state"] == "torn"
    proof = said["proof"]
    assert 60 <= proof["frames"] + proof["unproved"] < 120
    assert proof["frames"] <= round(120 * kept)
    assert any("after the last mask record" in text for text in said["not_checked"]) == (proof["unproved"] > 0)


def test_a_view_is_drawn_again_from_the_header() -> None:
    """What the header carries is enough: the centre needs no view record to check the constant mask."""
    header = msgspec.json.decode(msgspec.json.encode(HEADER), type=MaskHeader)
    assert header == HEADER

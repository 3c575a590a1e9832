"""`lykta-central verify`: a clip whose pixels, records or hashes do not fit together is refused (R17, R22).

The clips are made by the real masker, encoder, muxer and seal, and signed by the node's real key: what is refused here, a
node that turned against its owner could have signed.
"""

from __future__ import annotations

import hashlib
import json
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import av
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from central.clips.checking import Proof, check_masks, check_pictures
from privacy.errors import SealError
from privacy.ids import new_clip_id
from privacy.masking.frames import Frame
from privacy.masking.mask_record import outside_of
from privacy.masking.masker import Masker
from privacy.records.basis import Area, View
from privacy.records.far_zone import FarLine
from privacy.records.manifest import SealedFile
from privacy.records.seal import Recipient
from provisioning.identity import recipients
from tests.support import scenes
from tests.support.clips import HEADER, PERSON, Node, film, made, mask, receipt, records, refused, sealed
from tests.support.manifests import BEGIN, HEIGHT, WIDTH, manifest

FILM = film()


def test_verify_says_what_it_checked_and_what_not(keys: Path, node: Node) -> None:
    folder = node.clip(FILM)
    receipt(keys, folder)
    said = json.loads(made("verify", folder, "--keys", keys, "--json"))
    assert (said["schema"], said["clip"], said["signer"]) == ("lykta-central.verify/1", folder.name, "city/stop-1")
    proof = said["proof"]
    assert (proof["frames"], proof["records"], proof["unproved"], proof["full"]) == (30, 30, 0, {"start": 2})
    person, whole = (PERSON[3] - PERSON[1]) * (PERSON[4] - PERSON[2]), WIDTH * HEIGHT
    inside = (PERSON[3] - PERSON[1] - 16) * (PERSON[4] - PERSON[2] - 16)
    assert proof["masked"] == pytest.approx((2 * whole + 28 * person) / (30 * whole))
    assert proof["checked"] == pytest.approx((2 * whole + 28 * inside) / (2 * whole + 28 * person))
    assert proof["worst"] <= 12
    assert "receipt" in said["checked"]
    assert [text.split()[0] for text in said["not_checked"]] == ["the", "whether"]
    text = made("verify", folder, "--keys", keys)
    assert "30 pictures against their mask records (30); 2 fully masked" in text
    assert "80% of the masked pixels hold the fill" in text
    assert "not checked  the other 20%: the border of each mask" in text
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
def test_one_unmasked_head_in_one_frame_is_found(keys: Path, node: Node, place: tuple[int, int]) -> None:
    """24x24 pixels in one of thirty frames: not a hundredth of what is masked there."""
    video = film(after=hole(17, *place, 24))
    refused(1, "frame 17 (record 17): masked pixels do not hold the fill", "verify", node.clip(video), "--keys", keys)


def test_a_frame_that_was_never_painted_is_found(keys: Path, node: Node) -> None:
    def unpainted(number: int, frame: Frame) -> None:
        if number == 1:
            frame.planes[0][:] = np.random.default_rng(2).integers(0, 255, (HEIGHT, WIDTH))

    refused(1, "frame 1 (record 1)", "verify", node.clip(film(after=unpainted)), "--keys", keys)


def test_another_tone_of_the_same_luma_is_found(keys: Path, node: Node) -> None:
    """Chroma counts: a picture of a person in grey levels of the tone's luma is none of the mask."""

    def grey(number: int, frame: Frame) -> None:
        if number >= 2:
            for plane in frame.planes[1:]:
                plane[10:80, 30:80] = 128

    refused(1, "masked pixels do not hold the fill", "verify", node.clip(film(after=grey)), "--keys", keys)


# From the picture's other side, as a slice would take it.
OUTSIDE = msgspec.structs.replace(mask(29), boxes=(("person", -60, 0, WIDTH, 40),))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (records(29), "29 records for 30 frames"),
        (records(31), "31 records for 30 frames"),
        ([HEADER, *(mask(n) for n in (*range(10), 11, 10, *range(12, 30)))], "frame 10 does not come after frame 11"),
        ([HEADER, *(mask(n) for n in (*range(10), 9, *range(11, 30)))], "frame 9 does not come after frame 9"),
        ([b"not a record"] * 31, "masks: invalid Mask"),
        ([], "masks: invalid Mask"),
        ([msgspec.structs.replace(HEADER, width=322), *records()[1:]], "unlike the manifest"),
        ([msgspec.structs.replace(HEADER, zones=(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)),)), *records()[1:]], "view, zones"),
        ([HEADER, *(msgspec.structs.replace(mask(n), cause="") for n in range(30))], "fully masked frames differ"),
        ([HEADER, *(msgspec.structs.replace(mask(n), mono_ms=7) for n in range(30))], "frame 0 in number and time"),
        ([HEADER, *records(29)[1:], OUTSIDE], "a person lies outside the picture"),
        ([HEADER, *records(29)[1:], b'{"frame":' + b"9" * (1 << 20)], "the last record is cut"),
    ],
)  # fmt: skip
def test_records_that_do_not_fit_are_refused(keys: Path, node: Node, lines: list[Any], said: str) -> None:
    refused(1, said, "verify", sealed(node, FILM, lines), "--keys", keys)


@pytest.mark.parametrize(
    "changes", [{"frames": 31}, {"full": {}}, {"full": {"start": 3}}, {"profile": "strict"}, {"zones_sha256": "0" * 64}]
)
def test_a_manifest_that_says_otherwise_is_refused(keys: Path, node: Node, changes: dict[str, Any]) -> None:
    refused(1, "masks:", "verify", sealed(node, FILM, records(), **changes), "--keys", keys)


@pytest.mark.parametrize("name", ["clip.age", "masks.age"])
def test_one_hash_that_was_changed_is_refused(keys: Path, node: Node, name: str) -> None:
    """The manifest is signed anew with the other hash."""
    folder = node.clip(FILM)
    said = node.spool.manifest(folder.name)
    files = tuple(SealedFile(file.name, file.size, "0" * 64) if file.name == name else file for file in said.files)
    node.spool.finish(msgspec.structs.replace(said, files=files))
    refused(1, f"{name}: sha256", "verify", folder, "--keys", keys)


def test_a_picture_more_or_less_than_the_records_is_refused(keys: Path, node: Node) -> None:
    refused(1, "29 pictures for 30 mask records", "verify", sealed(node, film(29), records()), "--keys", keys)
    refused(1, "31 pictures for 30 mask records", "verify", sealed(node, film(31), records()), "--keys", keys)


def test_a_mask_moved_in_the_records_is_refused(keys: Path, node: Node) -> None:
    """Claiming more than was painted."""
    boxes = ((PERSON[0], PERSON[1] + 60, *PERSON[2:3], PERSON[3] + 60, PERSON[4]),)
    lines = [HEADER, mask(0), mask(1), *(msgspec.structs.replace(mask(n), boxes=boxes) for n in range(2, 30))]
    refused(1, "frame 2 (record 2)", "verify", sealed(node, FILM, lines), "--keys", keys)


def test_what_is_no_video_is_refused(keys: Path, node: Node) -> None:
    refused(1, "video: cannot be decoded", "verify", node.clip(b"no video" * 999), "--keys", keys)


def torn(of: Node, number: int, video: bytes, masks: bytes) -> Path:
    """The clip that a power cut leaves: whole chunks of both files, signed as torn at the next start."""
    opened = manifest(new_clip_id(number), of.name, recipients(of.layout))
    sinks = of.spool.begin(opened, [Recipient.parse(one) for one in opened.recipients])
    for sink, data in zip(sinks, (video, masks), strict=True):
        sink.feed(data)
        sink.abandon()
    of.spool.recover(opened.clip, BEGIN)
    return of.spool.folder / opened.clip


def written(lines: list[Any]) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


@pytest.mark.parametrize("kept", [120, 60, 9])
def test_a_torn_clip_is_proved_as_far_as_its_records_reach(keys: Path, node: Node, kept: int) -> None:
    # Filled up to a whole chunk, so that the end of what is torn off lies after the records wanted here.
    folder = torn(node, kept, film(120), written(records(kept)) + b" " * 65536)
    said = json.loads(made("verify", folder, "--keys", keys, "--json"))
    assert said["manifest"]["state"] == "torn"
    proof = said["proof"]
    assert 60 <= proof["frames"] + proof["unproved"] < 120
    assert (proof["records"], proof["frames"]) == (kept, min(kept, proof["frames"] + proof["unproved"]))
    assert any("after the last mask record" in text for text in said["not_checked"]) == (proof["unproved"] > 0)
    assert any("after the last picture" in text for text in said["not_checked"]) == (kept > proof["frames"])
    assert "good up to where a power cut tore it" in made("verify", folder, "--keys", keys)


def test_a_torn_clip_without_a_record_proves_nothing_and_says_so(keys: Path, node: Node) -> None:
    """Records fill their first chunk of 64 KiB slowly: a power cut before that leaves none."""
    said = json.loads(made("verify", torn(node, 5, film(120), written(records(120))), "--keys", keys, "--json"))
    proof = said["proof"]
    assert (proof["frames"], proof["records"], proof["checked"]) == (0, 0, 0.0)
    assert proof["unproved"] >= 60
    assert said["not_checked"][0] == f"{proof['unproved']} pictures after the last mask record of a torn clip"


def test_a_torn_clip_is_not_excused_for_what_it_shows(keys: Path, node: Node) -> None:
    video = film(120, after=hole(20, 80, 40, 24))
    folder = torn(node, 6, video, written(records(120)) + b" " * 65536)
    refused(1, "frame 20 (record 20)", "verify", folder, "--keys", keys)


def test_of_a_torn_clip_without_a_chunk_there_is_nothing_to_see(keys: Path, node: Node) -> None:
    refused(1, "no whole chunk of the video", "verify", torn(node, 7, FILM[:60_000], b""), "--keys", keys)


LONG = film(60)


def proved(video: bytes, lines: list[Any], state: Literal["complete", "torn"] = "complete") -> Proof:
    """As `verify` does after opening."""
    told = manifest("", state=state, frames=len(lines) - 1)
    masks = BytesIO(written(lines))
    return check_pictures(BytesIO(video), masks, check_masks(masks, told), told, lambda number: None)


@given(cut=st.integers(LONG.index(b"moof") + 40_000, len(LONG)))
@settings(max_examples=40)
def test_wherever_it_is_torn_no_half_picture_is_judged(cut: int) -> None:
    proof = proved(LONG[:cut], records(60), "torn")
    assert 0 < proof.frames <= 60
    assert proof.unproved == 0


@given(
    left=st.integers(PERSON[1] + 8, PERSON[3] - 24),
    top=st.integers(PERSON[2] + 8, PERSON[4] - 24),
    at=st.integers(2, 5),
)
@settings(max_examples=25)
def test_a_hole_of_16x16_pixels_is_found_wherever_it_lies(left: int, top: int, at: int) -> None:
    with pytest.raises(SealError, match=rf"^frame {at} \(record {at}\): masked pixels do not hold the fill: off by [0-9]+ of"):
        proved(film(6, after=hole(at, left, top, 16)), records(6))


def test_a_picture_that_an_edit_list_hides_is_judged_too(tmp_path: Path) -> None:
    """A player skips what stands before an edit list's beginning; whoever opens the file need not."""
    hidden = tmp_path / "hidden.mp4"
    options = {"movflags": "faststart", "avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(BytesIO(FILM)) as source, av.open(str(hidden), "w", format="mp4", options=options) as target:
        track = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream, packet.pts, packet.dts = track, packet.pts - 36_000, packet.dts - 36_000
                target.mux_one(packet)
    with av.open(str(hidden)) as container:
        assert sum(1 for _ in container.decode(video=0)) < 30
    assert proved(hidden.read_bytes(), records()).frames == 30


def test_the_view_and_its_zones_are_checked_from_the_header() -> None:
    """What the header carries is enough: the centre needs no view record to check the constant mask."""
    area = Area("stop", "KBL11.5b", False, ((0.1, 0.1), (0.9, 0.1), (0.8, 0.9), (0.1, 0.9)))
    view = View("view-1", "basis-1", "city", "stop-1", (area,), (((0.6, 0.2), (0.8, 0.2), (0.7, 0.6)),))
    masker = Masker(WIDTH, HEIGHT, view)
    told = manifest("", zones_sha256=masker.zones_sha256)
    masks = BytesIO(written([masker.header, *records()[1:]]))
    proof = check_pictures(BytesIO(film(view=view)), masks, check_masks(masks, told), told, lambda number: None)
    assert proof.masked > 0.5
    with pytest.raises(SealError, match=r"^frame 2 \(record 2\)"):
        check_pictures(BytesIO(FILM), masks, check_masks(masks, told), told, lambda number: None)


FAR = FarLine(0.4, 0.1)


def far_clip(of: Node, video: bytes, far: FarLine) -> Path:
    """A clip whose signed manifest counts the far zone of that line in."""
    header = msgspec.structs.replace(HEADER, far=far)
    lines = [header, *records()[1:]]
    return sealed(of, video, lines, zones_sha256=hashlib.sha256(outside_of(header).tobytes()).hexdigest())


def test_a_far_zone_that_is_painted_is_checked(keys: Path, node: Node) -> None:
    view = msgspec.structs.replace(scenes.view(), far=FAR)
    proof = json.loads(made("verify", far_clip(node, film(view=view), FAR), "--keys", keys, "--json"))["proof"]
    without = json.loads(made("verify", node.clip(FILM), "--keys", keys, "--json"))["proof"]
    assert proof["masked"] > without["masked"] + 0.05


def test_a_far_zone_that_is_not_painted_is_found(keys: Path, node: Node) -> None:
    """R46: not painted at all, painted less far down than was signed, and one frame of it."""
    drawn = [scenes.view(), msgspec.structs.replace(scenes.view(), far=FarLine(0.2, 0.1))]
    for view in drawn:
        refused(1, "frame 2 (record 2): masked pixels do not hold", "verify", far_clip(node, film(view=view), FAR), "--keys", keys)
    video = film(after=hole(17, 8, 2, 16), view=msgspec.structs.replace(scenes.view(), far=FAR))
    refused(1, "frame 17 (record 17): masked pixels do not hold", "verify", far_clip(node, video, FAR), "--keys", keys)


@pytest.mark.parametrize("far", [FarLine(0.3, 0.1), FarLine(0.0, 0.0), UNSET])
def test_another_far_line_than_that_of_the_manifest_is_refused(
    keys: Path,
    node: Node,
    far: FarLine | UnsetType,
) -> None:
    """Who did not paint it cannot leave it out of the records either."""
    signed = hashlib.sha256(outside_of(msgspec.structs.replace(HEADER, far=FAR)).tobytes()).hexdigest()
    lines = [msgspec.structs.replace(HEADER, far=far), *records()[1:]]
    refused(1, "far line differ from the manifest", "verify", sealed(node, FILM, lines, zones_sha256=signed), "--keys", keys)


@pytest.mark.parametrize(
    ("size", "off", "holds"), [(775, 1, True), (775, 8, True), (775, 9, False), (40_000, 39, True), (40_000, 40, False)]
)
def test_a_small_mask_is_not_judged_by_its_worst_pixel(size: int, off: int, holds: bool) -> None:
    """A clip of the demo was refused for one chroma pixel of 775 that the coder had put 18 levels off."""
    from central.clips.checking import LEVELS, _percentile

    where = np.full((1, size), 2, np.uint8)
    levels = np.zeros((1, size), np.uint8)
    levels[0, :off] = 18
    assert (_percentile(levels, where) <= LEVELS) == holds

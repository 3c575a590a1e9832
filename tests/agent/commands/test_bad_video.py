"""Whatever a container holds: masked as it is shown, or refused in one clear sentence; never a clear frame, no silent drop.

Each file is made with ffmpeg and masked by the command. OUT is held against what ffmpeg itself shows of the file: where the
masks leave a pixel clear it must be that pixel, and where they do not it must be one of the tones.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.ffmpeg import X264, count_of, ffmpeg, probe, shown, stamps_of
from tests.support.masked_files import FRAMES, HEIGHT, WIDTH, agree, inner, luma_of, mask, refused, run
from tests.support.nodes import VIDEO

Words = tuple[str | Path, ...]


FORMATS: dict[str, tuple[str, Words]] = {
    "4:2:2": ("mp4", (*X264, "-pix_fmt", "yuv422p")),
    "10 bit 4:4:4": ("mp4", (*X264, "-pix_fmt", "yuv444p10le")),
    "10 bit 4:2:0": ("mkv", ("-c:v", "ffv1", "-pix_fmt", "yuv420p10le")),
    "full range": ("mp4", ("-vf", "scale=out_range=full", "-color_range", "pc", *X264)),
    "full range jpeg": ("avi", ("-vf", "scale=out_range=full", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "2")),
    "rgb": ("mkv", ("-c:v", "ffv1", "-pix_fmt", "bgra")),
    "rgb bottom up": ("avi", ("-c:v", "rawvideo", "-pix_fmt", "bgr24")),
    "gray": ("mkv", ("-c:v", "ffv1", "-pix_fmt", "gray")),
    "16 bit gray": ("mkv", ("-c:v", "ffv1", "-pix_fmt", "gray16le")),
    "palette": ("gif", ()),
}


@pytest.mark.parametrize("case", FORMATS)
def test_every_pixel_format_is_masked_in_its_right_range(people: Path, tmp_path: Path, case: str) -> None:
    suffix, words = FORMATS[case]
    source = tmp_path / f"in.{suffix}"
    ffmpeg("-i", people, *words, source)
    facts, pictures, rasters = run(source, tmp_path)
    assert facts["frames"] == count_of(source) == FRAMES
    assert facts["boxes"]["person"] > 0
    agree(pictures, rasters, shown(source, WIDTH, HEIGHT))


@pytest.mark.parametrize("still", ["png", "jpg", "gif"])
def test_a_single_picture_is_a_video_of_one_frame(people: Path, tmp_path: Path, still: str) -> None:
    source = tmp_path / f"in.{still}"
    ffmpeg("-i", people, "-frames:v", "1", source)
    facts, pictures, rasters = run(source, tmp_path)
    assert facts["frames"] == 1
    agree(pictures, rasters, shown(source, WIDTH, HEIGHT))


@pytest.mark.parametrize(("width", "height"), [(383, 287), (384, 287), (383, 288)])
@pytest.mark.parametrize("form", ["yuv420p", "yuv444p"])
def test_an_odd_size_loses_no_row_and_no_column(people: Path, tmp_path: Path, width: int, height: int, form: str) -> None:
    """The last one is repeated, and that is said."""
    source = tmp_path / "in.mkv"
    ffmpeg("-i", people, "-vf", f"scale={width}:{height}", "-pix_fmt", form, "-c:v", "ffv1", source)
    facts, pictures, rasters = run(source, tmp_path)
    assert (facts["width"], facts["height"]) == (384, 288)
    assert any("repeated" in line for line in facts["notes"])
    agree(pictures, rasters, shown(source, width, height))


def matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write a display matrix into an MP4's track header (ISO/IEC 14496-12, 8.3.2); in tenths."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    scaled = [65536 * n // 10 for n in (a, b, 0, c, d, 0, 0, 0)]
    data[at : at + 36] = struct.pack(">9i", *scaled, 1 << 30)
    path.write_bytes(data)


TURNS = {
    "90": (0, 10, -10, 0),
    "180": (-10, 0, 0, -10),
    "270": (0, -10, 10, 0),
    "mirrored": (-10, 0, 0, 10),
    "flipped": (10, 0, 0, -10),
    "transposed": (0, 10, 10, 0),
    "transversed": (0, -10, -10, 0),
}


@pytest.mark.parametrize("case", TURNS)
def test_people_and_output_stand_upright(people: Path, tmp_path: Path, case: str) -> None:
    """Phones store what they film lying; the detector knows people who stand. OUT says nothing of turning any more."""
    source = tmp_path / "in.mp4"
    source.write_bytes(people.read_bytes())
    matrix(source, *TURNS[case])
    facts, pictures, rasters = run(source, tmp_path)
    width, height = (HEIGHT, WIDTH) if TURNS[case][0] == 0 else (WIDTH, HEIGHT)
    assert (facts["width"], facts["height"]) == (width, height)
    assert any("upright" in line for line in facts["notes"])
    # Those who stood when the file was made may lie now, and nobody is found.
    agree(pictures, rasters, shown(source, width, height), people=False)
    assert probe(tmp_path / "out.mp4", "-show_entries", "stream_side_data=rotation") == []


def test_people_filmed_lying_are_found_standing(people: Path, tmp_path: Path) -> None:
    """The same film, stored lying with a matrix that rights it, gets the same people."""
    lying = tmp_path / "lying.mp4"
    ffmpeg("-i", people, "-vf", "transpose=cclock", *X264, lying)
    matrix(lying, *TURNS["90"])
    straight, turned = run(people, tmp_path)[0], run(lying, tmp_path)[0]
    assert turned["input"]["turned"] == "90° clockwise"
    assert turned["boxes"]["person"] == pytest.approx(straight["boxes"]["person"], rel=0.25)


def test_a_picture_askew_is_refused(people: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(people.read_bytes())
    matrix(source, 7, 7, -7, 7)
    refused(source, tmp_path, "askew")


def test_interlaced_video_is_deinterlaced_and_keeps_its_frames(tmp_path: Path) -> None:
    source = tmp_path / "in.mpg"
    fields = f"scale={WIDTH}:{HEIGHT},tinterlace=interleave_top,setfield=tff"
    ffmpeg("-i", VIDEO, "-frames:v", str(FRAMES), "-vf", fields, "-flags", "+ildct+ilme", "-c:v", "mpeg2video", "-q:v", "2", source)
    facts, pictures, rasters = run(source, tmp_path)
    assert facts["input"]["interlaced"] == facts["frames"] == count_of(source)
    assert any("deinterlaced" in line for line in facts["notes"])
    agree(pictures, rasters, shown(source, WIDTH, HEIGHT, "bwdif=send_frame"))


@pytest.mark.parametrize(("turn", "wanted"), [(False, "64:45"), (True, "45:64")])
def test_pixels_keep_their_shape(people: Path, tmp_path: Path, turn: bool, wanted: str) -> None:
    source = tmp_path / "in.mp4"
    ffmpeg("-i", people, "-vf", "setsar=64/45", *X264, source)
    if turn:
        matrix(source, *TURNS["90"])
    run(source, tmp_path, "--profile", "full")
    assert probe(tmp_path / "out.mp4", "-show_entries", "stream=sample_aspect_ratio") == [wanted]


def test_time_stamps_of_a_varying_rate_are_kept(people: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    ffmpeg("-i", people, "-vf", "setpts='(N+mod(N,3)*0.4)/10/TB'", "-fps_mode", "vfr", *X264, source)
    run(source, tmp_path, "--profile", "full")
    assert stamps_of(tmp_path / "out.mp4") == pytest.approx(stamps_of(source), abs=0.002)


def test_a_clock_that_was_set_back_goes_on(people: Path, tmp_path: Path) -> None:
    """Two recordings in one file, the second with an earlier time: no frame is lost, no time runs backwards."""
    part, source = tmp_path / "part.ts", tmp_path / "in.ts"
    ffmpeg("-i", people, "-c", "copy", part)
    source.write_bytes(part.read_bytes() * 2)
    facts, _, _ = run(source, tmp_path)
    assert facts["frames"] == 2 * FRAMES
    stamps = stamps_of(tmp_path / "out.mp4")
    assert all(later > earlier for earlier, later in pairwise(stamps))
    assert stamps[-1] == pytest.approx(1.5, abs=0.2)


def test_equal_time_stamps_are_set_apart(people: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    ffmpeg("-i", people, "-c:v", "mjpeg", "-bsf:v", "setts=pts='floor(N/2)*2':dts='floor(N/2)*2'", source)
    facts, _, _ = run(source, tmp_path, "--profile", "full")
    assert facts["frames"] == count_of(source) == FRAMES
    assert facts["input"]["restamped"] > 0
    stamps = stamps_of(tmp_path / "out.mp4")
    assert all(later > earlier for earlier, later in pairwise(stamps))


def test_stills_far_apart_are_masked_whole_and_the_way_out_is_said(people: Path, tmp_path: Path) -> None:
    """R18: a second between two looks is more than the engine answers for."""
    source = tmp_path / "in.mkv"
    ffmpeg("-i", people, "-vf", "setpts=N/TB", "-fps_mode", "vfr", *X264, source)
    facts, _, rasters = run(source, tmp_path)
    assert all(raster.all() for raster in rasters[1:])
    assert any("--fps" in line for line in facts["notes"])
    facts, _, rasters = run(source, tmp_path, "--fps", "10")
    assert not any(raster.all() for raster in rasters)


def test_a_size_that_changes_is_fitted_and_said(people: Path, tmp_path: Path) -> None:
    parts = [tmp_path / "a.ts", tmp_path / "b.ts"]
    ffmpeg("-i", people, "-c", "copy", parts[0])
    ffmpeg("-i", people, "-vf", "crop=384:144", *X264, "-bsf:v", "setts=ts=TS+80000", parts[1])
    source = tmp_path / "in.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    facts, pictures, rasters = run(source, tmp_path)
    assert facts["frames"] == 2 * FRAMES
    assert facts["input"]["rescaled"] == FRAMES
    assert {picture.shape for picture in pictures} == {(HEIGHT, WIDTH)}
    clear = inner(~rasters[-1])
    assert (pictures[-1][150:][clear[150:]] < 30).all()


def test_one_pixel_fills_the_smallest_frame(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    cv2.imwrite(str(source), np.full((1, 1, 3), 255, np.uint8))
    done = mask(source, tmp_path / "out.mp4", "--json")
    assert done.returncode == 0, done.stderr
    assert [picture.shape for picture in luma_of(tmp_path / "out.mp4")] == [(16, 16)]


def test_an_8k_picture(people: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    ffmpeg("-i", people, "-vf", "scale=7680:4320:flags=neighbor", "-frames:v", "2", *X264, source)
    facts, pictures, rasters = run(source, tmp_path)
    assert facts["frames"] == 2
    assert facts["boxes"]["person"] > 0
    assert all(raster.any() and not raster.all() for raster in rasters)
    assert pictures[0].shape == (4320, 7680)


def test_what_no_h264_holds_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    ffmpeg("-f", "lavfi", "-i", "color=white:s=16400x16", "-frames:v", "1", source)
    refused(source, tmp_path, "16400x16")


def test_no_frame(people: Path, tmp_path: Path) -> None:
    """A header and nothing after it; and an MP4 with an index of pictures that are not there."""
    source = tmp_path / "in.y4m"
    source.write_bytes(b"YUV4MPEG2 W64 H48 F25:1 C420\n")
    refused(source, tmp_path, "no frame")
    fast = tmp_path / "fast.mp4"
    ffmpeg("-i", people, "-c", "copy", "-movflags", "+faststart", fast)
    data = fast.read_bytes()
    fast.write_bytes(data[: data.index(b"mdat") + 8])
    refused(fast, tmp_path, "no frame")


def test_the_first_of_several_video_tracks_is_masked_and_the_rest_is_said(people: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    other = ("-f", "lavfi", "-i", "color=red:s=64x48:d=0.8:r=10")
    ffmpeg("-i", people, *other, "-map", "0:v", "-map", "1:v", *X264, source)
    facts, pictures, rasters = run(source, tmp_path)
    assert facts["dropped"] == {"video": 1}
    assert any("video (1)" in line for line in facts["notes"])
    agree(pictures, rasters, shown(source, WIDTH, HEIGHT))


def test_a_cover_picture_is_no_video(people: Path, tmp_path: Path) -> None:
    cover, song, film = tmp_path / "cover.png", tmp_path / "song.mp3", tmp_path / "film.mp4"
    ffmpeg("-i", people, "-frames:v", "1", cover)
    sound = ("-f", "lavfi", "-i", "sine=d=1")
    ffmpeg(*sound, "-i", cover, "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v:0", "attached_pic", song)
    refused(song, tmp_path, "only a cover picture")
    ffmpeg("-i", cover, "-i", people, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic", film)
    facts, _, _ = run(film, tmp_path, "--profile", "full")
    assert facts["frames"] == FRAMES


def test_nothing_but_the_picture_is_carried_over(people: Path, tmp_path: Path) -> None:
    """R13: no sound, place, title, words or chapters; the report names them and repeats none."""
    words, chapters, source = tmp_path / "w.srt", tmp_path / "c.txt", tmp_path / "in.mp4"
    words.write_text("1\n00:00:00,000 --> 00:00:00,500\nAnna Svensson\n")
    chapters.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/10\nSTART=0\nEND=5\ntitle=Anna Svensson\n")
    said = ("-metadata", "title=Anna Svensson", "-metadata", "location=+58.4108+015.6214/")
    inputs = ("-i", people, "-f", "lavfi", "-i", "sine=d=1", "-i", words, "-i", chapters)
    maps = ("-map", "0:v", "-map", "1:a", "-map", "2:s", "-map_chapters", "3")
    ffmpeg(*inputs, *maps, "-c:v", "copy", "-c:s", "mov_text", *said, source)
    facts, _, _ = run(source, tmp_path, "--profile", "full", "--report", tmp_path / "r.json")
    assert facts["audio"] == "dropped"
    assert {"audio", "subtitle", "chapter"} <= set(facts["dropped"])
    assert {"title", "location"} <= set(facts["dropped_tags"])
    for path in (tmp_path / "out.mp4", tmp_path / "r.json"):
        assert b"Svensson" not in path.read_bytes()
        assert b"58.4108" not in path.read_bytes()
    words_of = ["ffprobe", "-v", "quiet", "-show_chapters", "-show_streams", "-of", "json", tmp_path / "out.mp4"]
    left = json.loads(subprocess.run(words_of, capture_output=True, check=True).stdout)
    assert (len(left["streams"]), left["chapters"]) == (1, [])


def test_a_file_that_ends_early_is_masked_as_far_as_it_goes_and_said(tmp_path: Path) -> None:
    whole, source = tmp_path / "whole.mp4", tmp_path / "in.mp4"
    ffmpeg("-i", VIDEO, "-vf", "scale=384:288", "-frames:v", "40", *X264, "-movflags", "+faststart", whole)
    data = whole.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    facts, pictures, rasters = run(source, tmp_path)
    assert 0 < facts["frames"] < 40
    # The picture that is torn in two was read, but not decoded or not trusted.
    assert facts["input"]["missing"] == pytest.approx(40 - facts["frames"], abs=1)
    assert any("ends early" in line for line in facts["notes"])
    for picture, raster, want in zip(pictures, rasters, shown(whole, WIDTH, HEIGHT), strict=False):
        clear = inner(~raster)
        assert not clear.any() or np.abs(picture - want)[clear].mean() < 4


def test_an_mp4_without_its_index_is_refused(people: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(people.read_bytes()[:-2000])
    refused(source, tmp_path, "cannot be read")


DAMAGED: dict[str, tuple[str, Words]] = {
    "h264": ("mp4", (*X264, "-g", "12")),
    "h264 with b-frames": ("mkv", ("-c:v", "libx264", "-crf", "10", "-g", "12", "-bf", "3")),
    "h264 in ts": ("ts", (*X264, "-g", "12")),
    "mpeg4": ("avi", ("-c:v", "mpeg4", "-q:v", "2", "-g", "12")),
    "mpeg2": ("ts", ("-c:v", "mpeg2video", "-q:v", "2", "-g", "12")),
    "ffv1": ("mkv", ("-c:v", "ffv1", "-level", "3", "-slicecrc", "1", "-g", "1")),
    "mjpeg": ("avi", ("-c:v", "mjpeg", "-q:v", "2")),
}


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("case", DAMAGED)
def test_no_damaged_picture_is_ever_shown(tmp_path: Path, case: str, threads: str) -> None:
    """A decoder fills holes with what it has and says nothing: whatever is shown must be what was filmed."""
    suffix, words = DAMAGED[case]
    whole, source = tmp_path / f"whole.{suffix}", tmp_path / f"in.{suffix}"
    ffmpeg("-i", VIDEO, "-vf", "scale=384:288", "-frames:v", "36", *words, whole)
    data = bytearray(whole.read_bytes())
    for share in (0.42, 0.5):
        at = int(len(data) * share)
        data[at : at + 600] = bytes(range(1, 201)) * 3
    source.write_bytes(data)
    facts, pictures, rasters = run(source, tmp_path, "--threads", threads)
    wanted = dict(zip(np.round(stamps_of(whole), 2), shown(whole, WIDTH, HEIGHT), strict=True))
    assert sum(facts["input"][fault] for fault in ("damaged", "undecodable", "missing")) > 0
    assert any("damaged" in line or "ends early" in line for line in facts["notes"])
    for stamp, picture, raster in zip(np.round(stamps_of(tmp_path / "out.mp4"), 2), pictures, rasters, strict=True):
        clear = inner(~raster)
        off = cv2.blur(np.where(clear, np.abs(picture - wanted[stamp]), 0).astype(np.float32), (16, 16))
        assert off.max() < 30


def test_a_playlist_does_not_make_us_call_anybody(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        source = tmp_path / "in.m3u8"
        source.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n")
        refused(source, tmp_path, "a list of other files or addresses")
        refused(Path(address), tmp_path, "cannot be read")
        with pytest.raises(TimeoutError):
            server.accept()

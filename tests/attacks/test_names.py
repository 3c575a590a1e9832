"""14.A1, 14.A2, 14.A3: names of files, and what errors quote, come from others too: they end nothing, and fill nothing."""

from __future__ import annotations

import json
import os
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from agent.inbox.inbox import MOST_FILES, MOST_NOTES, folder_of
from privacy.ids import uuid7
from tests.attacks.inputs import token
from tests.support.asking import ask
from tests.support.clip_node import ClipNode
from tests.support.clips import central
from tests.support.nodes import Node, stop, until

ODD = b"\xff\x1b[2J"
"""No UTF-8, and an escape that clears a terminal."""


def odd(folder: Path, rest: bytes) -> Path:
    return Path(os.fsdecode(os.fsencode(folder) + b"/" + ODD + rest))


def damaged(clip_node: ClipNode) -> str:
    """A clip of now whose manifest is torn; its id."""
    clip = uuid7(round(clip_node.clock.wall.timestamp() * 1000), bytes(10))
    (clip_node.layout.spool / clip_node.clip()).rename(clip_node.layout.spool / clip)
    (clip_node.layout.spool / clip / "manifest.jws").write_bytes(b"torn")
    (clip_node.layout.spool / "index").unlink()
    return clip


def test_names_in_the_inbox_that_are_no_utf8_keep_no_deadline_waiting(clip_node: ClipNode) -> None:
    """The note of a refused file named it: neither camera nor retention could write that, at this start and at all later ones."""
    clip = clip_node.clip()
    folder = folder_of(clip_node.layout, "order")
    folder.mkdir(parents=True)
    for rest in (b".jws", b".jws.first", b".jws.again"):
        odd(folder, rest).write_bytes(b"rubbish")
        Path(os.fsdecode(os.fsencode(folder) + b"/." + ODD + rest)).write_bytes(b"rubbish")
    (folder / f"{'0' * 248}.jws").write_bytes(b"the name with which it is set aside would be too long")
    (folder / "00000007.jws").write_bytes(clip_node.order("hold", clip))
    clip_node.custody("retention").attend()
    assert clip_node.answer((clip_node.layout.camera / "orders/00000001.jws").read_bytes()).result == "done"
    assert list(folder.iterdir()) == []


def test_what_is_no_order_does_not_take_the_room_of_orders(clip_node: ClipNode) -> None:
    """Ten thousand names that sort first hid every order, and counted as waiting for ever."""
    clip = clip_node.clip()
    folder = folder_of(clip_node.layout, "order")
    folder.mkdir(parents=True)
    for number in range(MOST_FILES):
        (folder / f"!{number}").touch()
        (folder / f".{number:08}.jws.again").touch()
        (folder / f".{number:08}.jws.part").touch()
    (folder / "00000007.jws").write_bytes(clip_node.order("hold", clip))
    custody = clip_node.custody("retention")
    while len(list(folder.iterdir())) > MOST_FILES // 4:
        custody.attend()
    assert clip_node.answer((clip_node.layout.camera / "orders/00000001.jws").read_bytes()).result == "done"


def test_refused_files_are_noted_some_in_an_hour(clip_node: ClipNode) -> None:
    """14.A3: each note is signed and synced; the others are counted."""
    folder = folder_of(clip_node.layout, "receipt")
    folder.mkdir(parents=True)
    custody = clip_node.custody("retention")
    for number in range(2 * MOST_NOTES):
        (folder / f"{number:08}.jws").write_bytes(b"rubbish")
    while list(folder.iterdir()):
        custody.attend()
    assert clip_node.kinds("retention").count("receipt_refused") == MOST_NOTES


def test_a_folder_of_no_utf8_in_the_spool_keeps_no_deadline_waiting(clip_node: ClipNode) -> None:
    junk = odd(clip_node.layout.spool, b"")
    junk.mkdir()
    (junk / "manifest.jws").write_bytes(b"torn")
    clip_node.clip()
    custody = clip_node.custody("retention")
    custody.attend()
    clip_node.clock.runs(timedelta(hours=73))
    custody.attend()
    assert clip_node.there() == []
    assert "clip_expired" in clip_node.kinds("retention")


def test_a_clip_of_an_earlier_boot_whose_manifest_is_damaged_keeps_its_deadline(clip_node: ClipNode) -> None:
    """R27: it counted as one of the present boot, at each boot anew, and so for ever where a node starts again each day."""
    damaged(clip_node)
    for day in range(4):
        clip_node.clock.boots(f"boot-{day}")
        clip_node.clock.runs(timedelta(hours=20))
        clip_node.custody("retention").attend()
    assert clip_node.there() == []


def test_a_fresh_clip_whose_manifest_is_damaged_stays_until_its_deadline(clip_node: ClipNode) -> None:
    """Also on a node that has run for long."""
    custody = clip_node.custody("retention")
    custody.attend()
    clip_node.clock.runs(timedelta(hours=500))
    custody.attend()
    clip = damaged(clip_node)
    clip_node.clock.runs(timedelta(hours=71))
    clip_node.custody("retention").attend()
    assert clip_node.there() == [clip]
    clip_node.clock.boots("next")
    clip_node.custody("retention").attend()
    assert clip_node.there() == [clip]
    clip_node.clock.runs(timedelta(hours=2))
    clip_node.custody("retention").attend()
    assert clip_node.there() == []


def test_an_error_moves_no_cursor_and_forges_no_line(node: Node) -> None:
    """What an unsigned header says is quoted; it reached the terminal and the log as it was."""
    order = node.root / "order.jws"
    order.write_text(token(b'{"typ":"lykta-order","alg":"\\u001b[2J\\nhint: forged"}'))
    done = node.run("order", "apply", str(order))
    assert done.returncode == 5
    assert "\x1b" not in done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith("hint: forged")]


@pytest.mark.parametrize("text", ["[/b]", "[red]x", "\x1b[2J\nforged"], ids=repr)
def test_a_table_shows_what_was_said_as_text(node: Node, text: str) -> None:
    """`[/b]` ended the command in a traceback: brackets were markup."""
    note = {
        "kind": "basis",
        "desired": "",
        "result": "refused",
        "reason": text,
        "against": "",
        "past": [],
        "at": "2026-01-01T00:00:00Z",
    }
    path = node.layout.run / "last/camera.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"result": text, "status": "", "final": False, "t_ms": 1, "times": 1} | note | {"result": text}))
    done = node.run("status")
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout
    assert not [line for line in done.stdout.splitlines() if line.startswith("forged")]
    assert text.startswith("\x1b") or text in done.stdout


def test_what_a_stick_says_is_shown_as_text(node: Node, tmp_path: Path) -> None:
    """A folder's name, and what is quoted of its record, made lines of their own."""
    folder = tmp_path / "stick/\x1b[2J\nhint: forged"
    folder.mkdir(parents=True)
    (folder / "manifest.jws").write_text("{}")
    done = central("ingest", tmp_path / "stick", "--keys", node.centre, "--store", tmp_path / "store")
    assert done.returncode == 1
    assert "refused: " in done.stderr
    assert "\x1b" not in done.stderr + done.stdout
    assert not [line for line in done.stderr.splitlines() if line.startswith("hint: forged")]


def test_what_a_wish_for_a_certificate_says_is_shown_as_text(node: Node, tmp_path: Path) -> None:
    """The name of a file on a node's stick made a line of its own, as if a certificate had been given."""
    wish = tmp_path / "\x1b[2J\nrenewed camera.jws"
    wish.write_text(token(b'{"typ":"lykta-renewal"}'))
    done = central("renew", node.centre, wish, "-o", tmp_path / "out")
    assert "refused" in done.stdout
    assert "\x1b" not in done.stdout
    assert not [line for line in done.stdout.splitlines() if line.startswith("renewed")]


@pytest.mark.parametrize("mono_s", ["1e308", "-1e308", "9e15"])
def test_an_absurd_first_time_keeps_nothing_down(node: Node, mono_s: str) -> None:
    """Its sum with a date overflowed: io, camera and uplink ended at each start."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    path = node.layout.run / "io/first-time.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"boot_id":"{boot}","mono_s":{mono_s},"wall":"2026-01-01T00:00:00Z","synced":true}}')
    process = node.start("io")
    until(lambda: process.poll() is not None or node.state("io") == ("ready", "listening"), "io is ready")
    assert process.poll() is None, node.log()
    ask(node.layout.socket("io", "ctl"), {"verb": "press", "name": "help"})
    assert stop(process) == 0


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "digits"])
def test_what_is_no_segment_in_a_journal_holds_nobody_up(node: Node, kind: str) -> None:
    """14.B5: root and the other units read where a service's journal stands; a pipe there made them wait for ever."""
    assert node.run("retention").returncode == 0
    folder = node.layout.journal("uplink")
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / (f"{'9' * 200}.jws" if kind == "digits" else "9999999999.jws")
    match kind:
        case "pipe":
            os.mkfifo(place)
        case "link":
            place.symlink_to("/dev/zero")
        case "folder":
            place.mkdir()
        case _:
            place.write_bytes(b"x\n")
    for words in (("journal", "show"), ("journal", "verify"), ("renew",), ("link", "--dry-run")):
        done = node.run(*words, limit=30)
        assert done.returncode in (0, 1), (words, done.stderr)
        assert "Traceback" not in done.stderr


def test_a_flood_of_wishes_for_a_visit_fills_no_journal(node: Node) -> None:
    """14.A3: each datagram of io that was refused was an entry of the camera's journal, signed and synced."""
    node.sign("basis", hours=[])
    process = node.start("camera")
    until(lambda: node.state("camera")[0] == "off", "its hours have not come", 60)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
        for _ in range(300):
            mouth.sendto(b'{"kind":"visit","id":"","t_ms":1}', str(node.layout.trigger))
            mouth.sendto(b"rubbish", str(node.layout.trigger))
    until(lambda: "visit: refused" in node.log(), "it was heard")
    assert stop(process) == 0
    said = json.loads(node.run("journal", "show", "camera", "--last", "999", "--json").stdout)["entries"]
    assert 1 <= [entry["kind"] for entry in said].count("visit_refused") < 20
    assert node.log().count("not understood") < 20

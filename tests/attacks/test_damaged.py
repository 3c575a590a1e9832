"""14.A1: what a power cut or bad flash leaves of a file of ours keeps no service down; help and deletion go on.

Darker where the file decides what may be filmed, begun anew where it only remembers, and said by name in either case.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from central.keys.keygen import authority
from privacy.errors import RecordError
from privacy.records.chains import verify_chain
from privacy.records.journal import DAMAGED, Journal, head_of, segments
from provisioning.identity import load_signer
from tests.attacks.inputs import token
from tests.support.asking import ask
from tests.support.clip_node import ClipNode
from tests.support.nodes import Node, stop, until
from tests.support.stop import Stop

DAMAGE = {
    "empty": b"",
    "no text": b"\xff\xfe" * 50,
    "zeros": bytes(4096),
    "deep": b"[" * 9000 + b"]" * 9000,
    "digits": b"9" * 5000,
    "another": b'{"boots":7,"ran_ms":-1}',
    "null": b"null",
    "a letter": b'{"\xff":1}\n',
    "a letter of an entry": token(b'{"alg":"ES256","typ":"lykta-journal"}', b'{"unit":"\xff"}').encode() + b"\n",
}
"""Some damage is seen before anything is parsed: a line without an end is cut off, and what is no object is not read as one."""


def remembered(node: Node, clip: str = "01890000-0000-7000-8000-000000000001") -> list[Path]:
    """Every file in which a service or helper only remembers something."""
    var, run = node.layout.var, node.layout.run
    return [
        *(
            var / "camera/odometer.json",
            var / "spool/head",
            var / "spool/index",
            var / "link/course.json",
            var / "uplink/spent.json",
        ),
        *(var / "applied/basis.json", var / "applied/view.json", var / "applied/config.json", var / "applied/io.renewal.jws"),
        *(
            var / "uplink/journal/io/0000000000.parcel.jws",
            var / f"spool/{clip}/manifest.jws",
            var / "camera/orders/00000007.begun",
        ),
        *(run / "last/camera.json", run / "last/io.json", run / "last/data.json"),
        *(var / f"journal/{unit}/0000000000.jws" for unit in ("camera", "io", "uplink", "retention")),
    ]


def damage(node: Node, data: bytes) -> None:
    for path in remembered(node):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.mark.parametrize("kind", DAMAGE)
def test_help_deletion_and_rescue_go_on(node: Node, kind: str) -> None:
    damage(node, DAMAGE[kind])
    service = node.start("io")
    until(lambda: node.state("io") == ("ready", "listening"), "io is ready")
    ask(node.layout.socket("io", "ctl"), {"verb": "press", "name": "help"})
    until(lambda: node.status("io")["detail"]["lamp"] == "blinking", "the lamp blinks")
    for words in (("retention",), ("link", "--dry-run"), ("status",), ("clips", "list"), ("check",), ("renew",), ("apply",)):
        done = node.run(*words)
        assert "Traceback" not in done.stderr, (words, done.stderr)
        assert words[0] not in ("retention", "link") or done.returncode == 0, (words, done.stderr)
    assert stop(service) == 0
    assert "Traceback" not in node.log()


@pytest.mark.parametrize("kind", ["no text", "deep", "digits", "a letter", "a letter of an entry"])
def test_the_camera_goes_on(node: Node, kind: str) -> None:
    damage(node, DAMAGE[kind])
    service = node.start("camera")
    until(lambda: node.state("camera")[0] == "ready", "it films", 120)
    assert stop(service) == 0
    assert "Traceback" not in node.log()


@pytest.mark.parametrize("kind", DAMAGE)
def test_the_uplink_goes_on(stop: Stop, kind: str) -> None:
    damage(Node(stop.root, stop.broker.centre.folder), DAMAGE[kind])
    stop.start()
    until(lambda: stop.detail("connected"), "it is connected")
    until(lambda: stop.detail("upload_waiting") is not None, "it has looked for what to upload")
    assert stop.end() == 0
    assert "Traceback" not in stop.log.read_text()


@pytest.mark.parametrize(
    "text", ["a=" + "[" * 9000, "a" + ".a" * 9000 + "=1", "a=" + "9" * 5000, "a='" + "a" * 70_000 + "'", "\udcff"]
)
def test_settings_that_cannot_be_read_are_said_in_a_sentence(node: Node, text: str) -> None:
    """Exit 5 with field or file, in every command and service; never a RecursionError."""
    node.layout.config.write_bytes(text.encode("utf-8", "surrogateescape"))
    for words in (("config", "validate", str(node.layout.config)), ("io",), ("camera",), ("uplink",), ("retention",)):
        done = node.run(*words)
        assert done.returncode == 5, (words, done.stderr)
        assert done.stderr.startswith("error: "), done.stderr
        assert "Traceback" not in done.stderr


# -- a journal damaged at its end ------------------------------------------------------------------------------------------------


def ways(line: bytes) -> dict[str, bytes]:
    """What a bad spot may make of the last line, which was acknowledged: its bytes and its end."""
    middle = len(line) // 2
    return {
        "a byte that is no text": line[:middle] + b"\xff" + line[middle + 1 :],
        "another letter": line[:middle] + (b"A" if line[middle : middle + 1] != b"A" else b"B") + line[middle + 1 :],
        "a carriage return": line[:middle] + b"\r" + line[middle + 1 :],
        "a line end inside": line[:middle] + b"\n" + line[middle + 1 :],
        "zeros": bytes(len(line) - 1) + b"\n",
        "no line end": line[:-1] + b"\x0b",
        "a letter for its line end": line[:-1] + b"J",
        "all of it": b"\xff" * len(line),
    }


@pytest.mark.parametrize("way", ways(b"a" * 9))
def test_damage_at_the_end_of_a_journal_is_found_and_the_journal_goes_on(clip_node: ClipNode, way: str) -> None:
    """The next entry says what was found, `verify` finds the damage, and no byte of it is taken away."""
    folder = clip_node.layout.journal("io")
    journal = Journal(folder, "io", load_signer(clip_node.layout, "io"), clip_node.clock.now)
    for number in range(3):
        journal.append("tick", number=number)
    [path] = segments(folder)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + ways(lines[-1])[way])
    found = path.read_bytes()

    later = Journal(folder, "io", load_signer(clip_node.layout, "io"), clip_node.clock.now)
    later.append("tick", number=3)
    assert path.read_bytes().startswith(found[:-1])
    assert head_of(folder) == later.head
    with pytest.raises(RecordError):
        verify_chain(folder, "io", authority(clip_node.keys))
    if way != "another letter":  # which only the signature tells: `verify` has the key, who writes does not look for it
        said = json.loads(_payload(segments(folder)[1].read_bytes().splitlines()[0]))
        assert said["kind"] == DAMAGED
        assert said["facts"]["segment"] == path.name
    Journal(folder, "io", load_signer(clip_node.layout, "io"), clip_node.clock.now).append("tick", number=4)
    assert len(segments(folder)) <= 2


def test_an_entry_whose_line_end_alone_is_missing_is_kept(clip_node: ClipNode) -> None:
    """A signature makes it whole: cutting it off would lose what was acknowledged in silence."""
    folder = clip_node.layout.journal("io")
    for number in range(2):
        Journal(folder, "io", load_signer(clip_node.layout, "io"), clip_node.clock.now).append("tick", number=number)
    [path] = segments(folder)
    path.write_bytes(path.read_bytes()[:-1])
    Journal(folder, "io", load_signer(clip_node.layout, "io"), clip_node.clock.now).append("tick", number=2)
    assert [entry.facts["number"] for entry in verify_chain(folder, "io", authority(clip_node.keys)).entries] == [0, 1, 2]


def _payload(line: bytes) -> bytes:
    return base64.urlsafe_b64decode(line.split(b".")[1] + b"==")


def test_a_giant_in_a_journals_place_keeps_no_help_and_no_deletion_down(node: Node) -> None:
    """It raised another error than a disk that refuses, so that the entry stayed first in line, and io ended."""
    for unit in ("io", "retention"):
        folder = node.layout.journal(unit)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "0000000009.jws").open("wb") as file:
            file.truncate(1 << 40)
    service = node.start("io")
    until(lambda: node.state("io") == ("degraded", "disk_refuses_events"), "io says what is wrong")
    ask(node.layout.socket("io", "ctl"), {"verb": "press", "name": "help"})
    until(lambda: node.status("io")["detail"]["lamp"] == "blinking", "the lamp blinks")
    with closing(sqlite3.connect(node.layout.io_outbox)) as outbox:
        # The lamp waits for no disk.
        until(lambda: outbox.execute("SELECT 1 FROM messages WHERE tail = 'alarm/help'").fetchone(), "io wrote the alarm")
    assert stop(service) == 0
    assert node.run("retention").returncode == 0, "there was nothing to delete"


@pytest.mark.parametrize("runs", [False, True], ids=["starting", "running"])
def test_deletion_goes_on_while_the_journal_cannot_be_read(clip_node: ClipNode, runs: bool) -> None:
    """The entries wait, the clips go (R27)."""
    clip_node.clip()
    ran = clip_node.custody("retention") if runs else None
    clip_node.layout.journal("retention").mkdir(parents=True, exist_ok=True)
    with (clip_node.layout.journal("retention") / "0000000009.jws").open("wb") as file:
        file.truncate(1 << 40)
    custody = ran or clip_node.custody("retention")
    clip_node.clock.runs(timedelta(hours=100))
    custody.attend()
    assert clip_node.there() == []
    assert "0000000009.jws" in str(custody.keeper.telling.trouble)
    (clip_node.layout.journal("retention") / "0000000009.jws").unlink()
    custody.attend()
    assert "clip_expired" in clip_node.kinds("retention")

"""To whom clips are sealed: the centre says it, signed; a stranger's key on the node seals nothing and is seen (14.C10)."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.demo.run import Demo
from privacy.errors import RecordError
from privacy.ids import new_clip_id
from privacy.records.chains import verify_chain
from privacy.records.seal import Recipient
from provisioning.identity import load_authority, recipients
from tests.support.asking import ask
from tests.support.clips import HEADER, Node, bundle, central, film, made, mask
from tests.support.manifests import manifest
from tests.support.nodes import Node as Running
from tests.support.nodes import stop, until
from tests.support.receiving import Centre


@pytest.fixture
def node(keys: Path, tmp_path: Path) -> Node:
    return Node(keys, "city/stop-1", tmp_path / "node")


@pytest.fixture
def stranger(tmp_path: Path) -> str:
    """The public key of somebody who is not of this centre."""
    return new_recipient(tmp_path / "stranger.txt")


def new_recipient(identity: Path) -> str:
    subprocess.run(["age-keygen", "-o", identity], check=True, capture_output=True)
    return subprocess.run(["age-keygen", "-y", identity], check=True, capture_output=True, text=True).stdout.strip()


def sealed(node: Node, to: tuple[str, ...], says: tuple[str, ...]) -> Path:
    """The folder of a clip sealed to some, whose manifest, signed by the camera's key, names others."""
    opened = manifest(new_clip_id(time.time_ns()), node.name, says)
    sinks = node.spool.begin(opened, [Recipient.parse(one) for one in to])
    sinks[0].feed(film())
    sinks[1].feed(b"".join(msgspec.json.encode(one) + b"\n" for one in (HEADER, *(mask(number) for number in range(30)))))
    node.spool.finish(msgspec.structs.replace(opened, state="complete", files=tuple(sink.close() for sink in sinks)))
    return node.spool.folder / opened.clip


# -- on the node -------------------------------------------------------------------------------------------------------


def test_the_list_is_for_people_and_for_age(keys: Path, node: Node, tmp_path: Path) -> None:
    """The readable file stays readable: its lines are the centre's, and stock age seals to it."""
    path = node.layout.trust / "recipients.txt"
    assert recipients(node.layout) == tuple((keys / "recipients.txt").read_text().split())
    assert [line for line in path.read_text().splitlines() if line[:1] != "#"] == (keys / "recipients.txt").read_text().split()
    sealed_by_age = tmp_path / "x.age"
    subprocess.run(["age", "-R", path, "-o", sealed_by_age], input=b"seen", check=True)
    opened = subprocess.run(["age", "-d", "-i", keys / "identity.txt", sealed_by_age], capture_output=True, check=True)
    assert opened.stdout == b"seen"


def test_no_line_can_be_added_taken_or_changed(keys: Path, node: Node, stranger: str, tmp_path: Path) -> None:
    path = node.layout.trust / "recipients.txt"
    good = path.read_text()
    mine = recipients(node.layout)[0]
    other = tmp_path / "other"
    made("keygen", other)
    foreign = (bundle(other, "city/stop-1", tmp_path / "foreign").trust / "recipients.txt").read_text()
    signature = next(line for line in good.splitlines() if line.startswith("# signature: "))
    spoilt = {
        "unsigned": f"{mine}\n",
        "added": f"{good}{stranger}\n",
        "added before": f"{stranger}\n{good}",
        "in its place": good.replace(mine, stranger),
        "twice": good.replace(mine, f"{mine}\n{mine}"),
        "taken out": good.replace(f"{mine}\n", ""),
        "of another centre": foreign,
        "two signatures": f"{good}{signature}\n",
        "cut": good[:-20],
        "no text": good + "\udcff",
        "empty": "",
    }
    for what, text in spoilt.items():
        path.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(RecordError, match="recipients"):
            pytest.fail(f"{what}: {recipients(node.layout)}")
    path.write_text(good)
    assert recipients(node.layout) == (mine,)


def test_a_strangers_line_closes_the_camera_and_not_the_help(request: pytest.FixtureRequest, stranger: str, tmp_path: Path) -> None:
    """Fail closed: the camera says why, `check` finds it, and the hint says how an old bundle is made anew; help goes on."""
    demo: Demo = request.getfixturevalue("made")  # its name is that of the command here
    running = Running.copy(demo, tmp_path)
    path = running.layout.trust / "recipients.txt"
    with path.open("a") as file:
        file.write(f"{stranger}\n")
    camera = running.run("camera")
    assert (camera.returncode, "recipients.txt has other lines" in camera.stderr) == (5, True)
    assert "bundle KEYS --trust-only" in camera.stderr
    assert not list(running.layout.spool.glob("*/clip.age"))
    checked = running.run("check", "keys")
    assert (checked.returncode, "recipients.txt has other lines" in checked.stdout) == (1, True)
    shutil.copy(demo.centre / "recipients.txt", path)
    assert "not signed by the centre" in running.run("camera").stderr
    service = running.start("io")
    until(lambda: running.state("io")[0] == "ready", "io is ready")
    ask(running.layout.socket("io", "ctl"), {"verb": "press", "name": "help"})
    until(lambda: running.status("io")["detail"]["lamp"] == "blinking", "the lamp answers")
    assert stop(service) == 0
    made("bundle", demo.centre, "--trust-only", running.root)
    assert running.run("check", "keys").returncode == 0


# -- at the centre -----------------------------------------------------------------------------------------------------


@pytest.fixture
def ingest(keys: Path, tmp_path: Path) -> Iterator[Centre]:
    centre = Centre(keys, tmp_path / "store")
    centre.start()
    yield centre
    assert centre.end() in (0, -signal.SIGTERM)
    assert "Traceback" not in centre.log.read_text()


def test_the_ingest_refuses_what_a_stranger_can_open(keys: Path, node: Node, ingest: Centre, stranger: str) -> None:
    """403 with the reason, an entry in the centre's journal, nothing in the store; the node's other clips are taken."""
    mine = recipients(node.layout)
    for to in ((*mine, stranger), (stranger,), ()):
        answer = ingest.announce(node, sealed(node, to or mine, to))
        assert answer.status == 403
        assert ("does not know" if to else "names nobody") in answer.body["error"]
        if to:
            assert stranger in answer.body["error"]
    assert ingest.upload(node, node.clip()).status == 200
    assert len(list(ingest.store.rglob("clip.age"))) == 1
    entries = verify_chain(keys / "journal", "receipt", load_authority(node.layout)).entries
    noted = [entry for entry in entries if entry.facts.get("what") == "recipients"]
    assert [(entry.kind, entry.facts["node"]) for entry in noted] == [("refused", "city/stop-1")]
    assert stranger in str(noted[0].facts["reason"])


def test_the_ingest_counts_who_can_open_what_arrived(keys: Path, node: Node, ingest: Centre, stranger: str) -> None:
    """A manifest that hides a stranger passed unseen. Told once, nothing of it stays, and it is refused before a byte is sent."""
    mine = recipients(node.layout)
    folder = sealed(node, (*mine, stranger), mine)
    refused = ingest.upload(node, folder)
    assert refused.status == 403
    assert "is sealed to 2, the manifest names 1" in refused.body["error"]
    assert "recipients.txt" in refused.body["hint"]
    assert not list(ingest.store.rglob("*.age"))
    assert not list((ingest.store / "_incoming").iterdir())
    assert not list(ingest.store.glob(f"_index/open/{node.name}/*")), "it counts no longer"
    assert ingest.announce(node, folder).status == 403
    assert ingest.call(node.tls, "PUT", f"/v1/objects/{folder.name}/parts/clip.age/1", "--data-binary", "x").status == 403
    assert ingest.upload(node, node.clip()).status == 200
    entries = verify_chain(keys / "journal", "receipt", load_authority(node.layout)).entries
    assert [entry.kind for entry in entries if entry.facts.get("object") == folder.name] == ["refused"]


def test_a_stick_is_no_way_round(keys: Path, node: Node, stranger: str, tmp_path: Path) -> None:
    mine = recipients(node.layout)
    for named in ((*mine, stranger), mine):
        folder = sealed(node, (*mine, stranger), named)
        shutil.copytree(folder, tmp_path / folder.name / "stick" / folder.name)
        done = central("ingest", tmp_path / folder.name / "stick", "--keys", keys, "--store", tmp_path / "store", "--json")
        said = json.loads(done.stdout)
        assert (done.returncode, said["taken"], [one["id"] for one in said["refused"]]) == (1, [], [folder.name])


def test_verify_names_a_stranger_and_one_that_the_manifest_hides(keys: Path, node: Node, stranger: str) -> None:
    """Without a key: the header of a sealed file has one stanza for each who can open it."""
    mine = recipients(node.layout)
    both = (*mine, stranger)
    good = central("verify", sealed(node, mine, mine), "--keys", keys)
    assert (good.returncode, "sealed to 1 recipient(s), all of this centre" in good.stdout) == (0, True)
    shown = central("verify", sealed(node, both, both), "--keys", keys)
    assert (shown.returncode, stranger in shown.stderr) == (5, True)
    hidden = central("verify", sealed(node, both, mine), "--keys", keys)
    assert (hidden.returncode, "is sealed to 2, the manifest names 1" in hidden.stderr) == (1, True)


def test_who_was_a_recipient_before_is_no_stranger(keys: Path, node: Node, tmp_path: Path) -> None:
    """A clip may be older than a rotation; the ingest needs neither the old identity nor the new one for that."""
    copy = shutil.copytree(keys, tmp_path / "keys")
    folder = sealed(node, recipients(node.layout), recipients(node.layout))
    custodian = new_recipient(tmp_path / "custodian.txt")
    made("keygen", copy, "--custodian", custodian)
    made("keygen", copy, "--rotate", "identity")
    made("bundle", copy, "--trust-only", node.layout.root)
    new = recipients(node.layout)
    assert (len(new), new[1]) == (2, custodian)
    (copy / "recipients.txt").write_text(f"{new[0]}\n")  # the custodian goes, as the drill says
    away = shutil.copytree(copy, tmp_path / "away")
    for identity in away.glob("identity*.txt"):
        identity.unlink()
    centre = Centre(away, tmp_path / "store")
    centre.start()
    try:
        for clip in (folder, sealed(node, new, new)):
            assert centre.upload(node, clip).status == 200
    finally:
        centre.end()

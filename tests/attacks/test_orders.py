"""Who may answer an order, what an order is known by, and that numbers decide, not the way they came (14.C9)."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.clips.custody import Custody
from central.keys.keygen import issue, signer
from privacy.records.journal import Journal, segments
from privacy.records.jws import Signer, load_chain, load_private_key, sha256_hex, sign, token_id
from privacy.records.order import ANSWER, ORDER, Act, Answer, Order
from provisioning.identity import load_signer
from tests.support.clip_node import ClipNode
from tests.support.clips import Node
from tests.support.nodes import BIN
from tests.support.receiving import Centre, parcel

NUMBERS = itertools.count(1)


@pytest.fixture
def node(keys: Path, tmp_path: Path) -> Node:
    return Node(keys, f"city/stop-{next(NUMBERS)}", tmp_path / "node")


@pytest.fixture
def clip_node(tmp_path: Path) -> Iterator[ClipNode]:
    made_ = ClipNode(tmp_path)
    yield made_
    made_.close()


def given(centre: Centre, node: Node, number: int, text: bytes = b"") -> bytes:
    """A signed order as it stands in the centre's store, with `text` after it."""
    site, stop = node.name.split("/")
    now = datetime.now(UTC)
    span: dict[str, Any] = {"since": now - timedelta(hours=1), "to": now}
    record = Order(number, "hold", site, stop, "accident", "K-1", "Ada", "Bo", now, now + timedelta(days=9), **span)
    token = sign(record, signer(centre.keys, "command"), ORDER)
    path = centre.store / node.name / f"orders/{number:08}.jws"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(token + text)
    return token


def said(node: Node, number: int, unit: str, digest: str) -> Answer:
    site, stop = node.name.split("/")
    whole = Answer(number, "hold", site, stop, "camera", digest, "done", "", (), datetime.now(UTC))
    return msgspec.structs.replace(whole, unit=unit)


def say(centre: Centre, node: Node, number: int, token: bytes) -> int:
    words = ["--data-binary", json.dumps({"answer": token.decode()})]
    return centre.call(node.tls, "POST", f"/v1/orders/{number}/answer", *words).status


def key_of(keys: Path, node: Node, role: str, folder: Path) -> Signer:
    """Any key that the CA certified for this node, whatever it is for."""
    if not (folder / f"{role}.key").exists():
        issue(keys, folder / role, node.name, role)
    return Signer(load_private_key((folder / f"{role}.key").read_bytes()), load_chain((folder / f"{role}.pem").read_bytes()))


@pytest.mark.parametrize("role", ["uplink", "io", "tls", "ops", "server"])
def test_only_who_has_the_clips_answers_an_order(running: Centre, node: Node, keys: Path, tmp_path: Path, role: str) -> None:
    """Signed by the very unit that it names, and still not believed; the camera's true answer then is."""
    order = given(running, node, 1)
    for number in (token_id(order), sha256_hex(order)):
        assert say(running, node, 1, sign(said(node, 1, role, number), key_of(keys, node, role, tmp_path), ANSWER)) == 403
        lie = sign(said(node, 1, "camera", number), key_of(keys, node, role, tmp_path), ANSWER)
        assert say(running, node, 1, lie) == 403
    assert say(running, node, 1, sign(said(node, 1, "camera", token_id(order)), load_signer(node.layout, "camera"), ANSWER)) == 204


@pytest.mark.parametrize("unit", ["camera", "retention"])
def test_an_order_is_known_by_what_was_signed(running: Centre, node: Node, unit: Any) -> None:
    """Space after it in the store, or on its way to the node, makes no other order; nor does another signature of the answer."""
    order = given(running, node, 1, b" \n")
    key = load_signer(node.layout, unit)
    record = said(node, 1, unit, token_id(order))
    assert [say(running, node, 1, token) for token in (sign(record, key, ANSWER), sign(record, key, ANSWER) + b" ")] == [204, 204]
    other = sign(msgspec.structs.replace(record, result="refused"), key, ANSWER)
    assert say(running, node, 1, other) == 409


def test_a_journal_signed_by_another_node_gets_no_receipt(running: Centre, node: Node, keys: Path, tmp_path: Path) -> None:
    """The neighbour's io key is of the same CA and has the same role: the chain is refused and kept aside."""
    neighbour = Node(keys, f"city/stop-{next(NUMBERS)}", tmp_path / "neighbour")
    for writer, status in ((neighbour, 409), (node, 200)):
        folder = tmp_path / f"diary-{status}"
        Journal(folder, "io", load_signer(writer.layout, "io"), lambda: datetime.now(UTC)).append("tick")
        [path] = segments(folder)
        data = path.read_bytes()
        facts = {"unit": "io", "first": 0, "last": 0, "head": sha256_hex(data.splitlines()[-1]), "previous": ""}
        answer = running.upload(node, parcel(node, "journal", {path.name: data}, "uplink", facts), "journal")
        assert answer.status == status, answer


def test_an_empty_journal_segment_is_refused(running: Centre, node: Node) -> None:
    facts = {"unit": "io", "first": 0, "last": -1, "head": "", "previous": ""}
    for wrong in ({"last": 0}, {}):
        folder = parcel(node, "journal", {"0000000000.jws": b""}, "uplink", facts | wrong)
        announced = running.announce(node, folder, kind="journal")
        assert (announced if announced.status != 200 else running.upload(node, folder, "journal")).status in (400, 403, 422)


# -- on the node -----------------------------------------------------------------------------------------------------------


def test_the_node_knows_an_order_by_what_was_signed(clip_node: ClipNode, tmp_path: Path) -> None:
    """With a space after it, by socket or as a file: the same order, the same answer, and its hold stands in the clip's folder."""
    clip = clip_node.clip()
    orders = clip_node.custody().orders
    token = clip_node.order("export", clip)
    first = orders.obey(token + b" ")
    assert orders.obey(token) == first == orders.obey(b"\n" + token + b"\n\n")
    assert clip_node.answer(first).order_sha256 == token_id(token)
    hold = clip_node.order("hold", clip)
    orders.obey(hold + b"\n")
    assert clip_node.node.spool.marked(clip, "hold") == hold
    with clip_node.layout.config.open("a") as file:
        file.write('[clock]\ntrust = "host"\n')
    (tmp_path / "order.jws").write_bytes(token + b"\r\n")
    words = [BIN / "lykta", "--root", clip_node.layout.root, "order", "apply", tmp_path / "order.jws", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"]["number"] == 1


def test_an_answer_from_before_still_answers_its_order(clip_node: ClipNode) -> None:
    """A node that obeyed when orders were known by the hash of all bytes does not obey again."""
    clip = clip_node.clip()
    orders = clip_node.custody().orders
    token = clip_node.order("hold", clip)
    record = msgspec.structs.replace(clip_node.answer(orders.obey(token)), order_sha256=sha256_hex(token))
    old = sign(record, load_signer(clip_node.layout, "camera"), ANSWER)
    (clip_node.layout.camera / "orders/00000001.jws").write_bytes(old)
    assert orders.obey(token + b" ") == old


Told = list[tuple[Act, int, int]]
"""Act, number, days that a hold stands."""
STORIES: list[tuple[Told, int | None]] = [
    ([("hold", 7, 30), ("release", 8, 0)], None),
    ([("hold", 9, 30), ("release", 8, 0)], 30),
    ([("hold", 7, 30), ("release", 8, 0), ("hold", 9, 20)], 20),
    ([("hold", 7, 30), ("hold", 9, 5)], 30),
    ([("hold", 7, 30), ("hold", 9, 5), ("release", 8, 0)], 5),
    ([("hold", 7, 30), ("hold", 9, 5), ("hold", 10, 40), ("release", 8, 0)], 40),
    ([("hold", 7, 30), ("hold", 9, 5), ("release", 12, 0)], None),
]


@pytest.mark.parametrize(
    ("told", "days"), STORIES, ids=[" ".join(f"{act}{number}" for act, number, _ in one) for one, _ in STORIES]
)
def test_numbers_decide_in_whatever_order_they_come(clip_node: ClipNode, told: Told, days: int | None) -> None:
    """Each order of arrival ends with the same hold on the same clip, also in the other process and after a restart."""
    begin = clip_node.clock.wall
    spans = {number: begin + timedelta(days=days) for _, number, days in told}
    arrivals = list(itertools.permutations(told)) if len(told) < 4 else [tuple(told), tuple(reversed(told))]
    for arrival in arrivals:
        clip = clip_node.clip()
        custody = clip_node.custody()
        for act, number, _ in arrival:
            until = spans[number] if act == "hold" else begin + timedelta(days=7)
            (clip_node.layout.camera / f"orders/{number:08}.jws").unlink(missing_ok=True)
            custody.orders.obey(clip_node.order(act, clip, number=number, until=until))
        assert held_until(custody, clip) == (None if days is None else begin + timedelta(days=days)), arrival
        assert held_until(clip_node.custody("retention"), clip) == held_until(custody, clip)
        assert (clip_node.layout.spool / clip / "hold.jws").exists() == (days is not None)


def held_until(custody: Custody, clip: str) -> datetime | None:
    [one] = custody.keeper.matching(lambda one, _end: one.clip == clip)
    return one.held


def test_a_late_hold_says_that_it_holds_nothing(clip_node: ClipNode) -> None:
    clip = clip_node.clip()
    orders = clip_node.custody().orders
    assert clip_node.answer(orders.obey(clip_node.order("release", clip, number=8))).result == "done"
    answer = clip_node.answer(orders.obey(clip_node.order("hold", clip, number=7)))
    assert (answer.result, answer.reason) == ("refused", "released by a later order")
    clip_node.clock.runs(timedelta(hours=73))
    clip_node.custody().keeper.sweep()
    assert clip_node.there() == []


def test_a_release_that_somebody_wrote_by_hand_frees_nothing(clip_node: ClipNode) -> None:
    clip = clip_node.clip()
    clip_node.custody().orders.obey(clip_node.order("hold", clip, until=clip_node.clock.wall + timedelta(days=30)))
    clip_node.node.spool.mark(clip, "release", clip_node.order("release", clip, key="receipt"))
    clip_node.clock.runs(timedelta(hours=73))
    clip_node.custody().keeper.sweep()
    assert clip_node.there() == [clip]
    assert "hold_damaged" in clip_node.kinds()

"""What the ingest takes besides clips, what it gives and takes of orders, and what it notes about who asks."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from central.keys.keygen import authority, issue, signer
from privacy.records.chains import Chain, verify_chain
from privacy.records.journal import Entry, Journal, segments
from privacy.records.jws import Signer, load_chain, load_private_key, sha256_hex, sign
from privacy.records.manifest import MANIFEST
from privacy.records.order import ANSWER, ORDER, Answer, Order
from provisioning.identity import load_signer
from tests.support.clips import Node, central, made, noise
from tests.support.receiving import Centre, parcel, receipt_of

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
NUMBERS = itertools.count(1)


@pytest.fixture
def node(keys: Path, tmp_path: Path) -> Node:
    """A node of the test's own: each has a chain and orders of its own."""
    return Node(keys, f"city/stop-{next(NUMBERS)}", tmp_path / "node")


def noted(centre: Centre, kind: str, node: Node) -> list[dict[str, Any]]:
    """Facts of the entries of that kind about a node in the centre's journal, which holds as a chain."""
    chain: Chain = verify_chain(centre.keys / "journal", "receipt", authority(centre.keys))
    return [entry.facts for entry in chain.entries if entry.kind == kind and entry.facts["node"] == node.name]


# -- reports and diagnoses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "unit"), [("report", "uplink"), ("diag", "uplink")])
def test_a_report_and_a_diagnosis_arrive(running: Centre, node: Node, kind: Any, unit: Any) -> None:
    """As clips do; they stand below their kind, with their own receipt."""
    folder = parcel(node, kind, {"notes.json": b"{}", "more.txt": noise(70_000)}, unit)
    receipt = receipt_of(running, running.upload(node, folder, kind))
    assert (receipt.kind, receipt.id, receipt.record_sha256) == (
        kind,
        folder.name,
        sha256_hex((folder / "parcel.jws").read_bytes()),
    )
    home = running.store / node.name / kind / folder.name
    assert sorted(path.name for path in home.iterdir()) == ["more.txt", "notes.json", "parcel.jws", "receipt.jws"]
    assert (home / "more.txt").read_bytes() == (folder / "more.txt").read_bytes()
    assert running.look(node, folder).body["receipt"] == (home / "receipt.jws").read_text()


@pytest.mark.parametrize(
    ("files", "status"), [({"receipt.jws": b"x"}, 400), ({"parcel.jws": b"x"}, 400)], ids=["a receipt", "a parcel"]
)
def test_no_file_of_a_node_takes_a_name_of_the_centres(running: Centre, node: Node, files: Any, status: int) -> None:
    """A file called like a receipt would free what never came."""
    folder = parcel(node, "report", {"notes.json": b"{}"} | files, "uplink")
    assert running.announce(node, folder, kind="report").status == status
    assert not (running.store / node.name / "report").exists()


def test_a_parcel_is_announced_as_what_it_is(running: Centre, node: Node) -> None:
    folder = parcel(node, "report", {"notes.json": b"{}"}, "uplink")
    for kind in ("diag", "journal", "clip", "film"):
        assert running.announce(node, folder, kind=kind).status in (400, 403)


# -- journals ------------------------------------------------------------------------------------------------------------------


class Diary:
    """The journal of one unit of a node, a segment a day."""

    def __init__(self, node: Node, folder: Path, unit: Any = "io") -> None:
        self.node, self.folder, self.unit, self.day = node, folder, unit, 0

    def write(self, *numbers: int) -> Path:
        """A day with these entries; its segment."""
        self.day += 1
        journal = Journal(self.folder, self.unit, load_signer(self.node.layout, self.unit), lambda: NOON + timedelta(days=self.day))
        for number in numbers:
            journal.append("tick", number=number)
        return segments(self.folder)[-1]

    def pack(self, path: Path, data: bytes | None = None, **changes: Any) -> Path:
        """The parcel of a segment; `data` and `changes` where a test says something else."""
        data = path.read_bytes() if data is None else data
        lines = data.splitlines()
        facts = {"unit": self.unit, "first": int(path.stem), "last": int(path.stem) + len(lines) - 1, "head": sha256_hex(lines[-1])}
        return parcel(self.node, "journal", {path.name: data}, self.unit, facts | {"previous": ""} | changes)


@pytest.fixture
def diary(node: Node, tmp_path: Path) -> Diary:
    return Diary(node, tmp_path / "diary")


def test_the_centre_holds_the_same_chain_as_the_node(running: Centre, node: Node, diary: Diary) -> None:
    """R32: segment after segment, each with its receipt, and what the centre has verifies as a whole."""
    days = [diary.write(1, 2, 3), diary.write(4), diary.write(5, 6)]
    place = running.store / node.name / "journal/io"
    for path in days:
        folder = diary.pack(path)
        answer = running.upload(node, folder, "journal")
        assert receipt_of(running, answer).kind == "journal"
        assert (place / path.name).read_bytes() == path.read_bytes()
        assert (place / f"{path.stem}.receipt.jws").read_text() == answer.body["receipt"]
        assert running.complete(node, folder).body["receipt"] == answer.body["receipt"]
    assert not (place / "arriving").exists()
    copy = diary.folder.with_name("copy")
    copy.mkdir()
    for path in days:
        (copy / path.name).write_bytes((place / path.name).read_bytes())
    chain = verify_chain(copy, "io", authority(running.keys))
    assert [entry.facts["number"] for entry in chain.entries] == [1, 2, 3, 4, 5, 6]


def rewritten(diary: Diary, path: Path) -> bytes:
    """The same segment with another last entry, signed by who has the key."""
    lines = path.read_bytes().splitlines()
    entry = Entry(int(path.stem) + len(lines) - 1, diary.unit, NOON, "tick", {"number": 99}, sha256_hex(lines[-2]))
    return b"\n".join([*lines[:-1], sign(entry, load_signer(diary.node.layout, diary.unit), "lykta-journal"), b""])


def test_a_chain_that_was_touched_is_refused_and_kept_aside(running: Centre, node: Node, diary: Diary) -> None:
    """R32: a cut, a rewrite, a swap, a torn end, another's chain: no receipt, evidence kept, and an entry in our journal."""
    first, second = diary.write(1, 2), diary.write(3, 4)
    other = Diary(node, diary.folder.with_name("other"))
    swapped = [other.write(7, 8), other.write(9, 10)][1]
    assert running.upload(node, diary.pack(first), "journal").status == 200
    tampered = {
        "does not": diary.pack(second, swapped.read_bytes()),
        "anew": diary.pack(first, rewritten(diary, first)),
        "end": diary.pack(second, head="0" * 64),
        "lines": diary.pack(second, second.read_bytes().splitlines(keepends=True)[1]),
    }
    for folder in tampered.values():
        answer = running.upload(node, folder, "journal")
        assert (answer.status, answer.body["hint"]) == (409, "it is kept aside; the centre looks into it"), answer
        again = running.announce(node, folder, kind="journal")
        assert again.status == 409, "it need not be sent twice"
        aside = running.store / node.name / f"journal/io/refused/{folder.name}"
        [data] = [path for path in folder.iterdir() if path.name != "parcel.jws"]
        assert aside.with_suffix(".jws").read_bytes() == data.read_bytes()
        assert aside.with_suffix(".parcel.jws").read_bytes() == (folder / "parcel.jws").read_bytes()
    entries = noted(running, "refused", node)
    assert [entry["object"] for entry in entries] == [folder.name for folder in tampered.values()]
    place = running.store / node.name / "journal/io"
    assert (place / first.name).read_bytes() == first.read_bytes()
    assert running.upload(node, diary.pack(second), "journal").status == 200, "the true one can still come"


def damaged(data: bytes, at: int) -> bytes:
    """The same with one byte changed."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def verified(centre: Centre, node: Node) -> subprocess.CompletedProcess[str]:
    return central("verify", centre.store / node.name / "journal", "--keys", centre.keys)


@pytest.mark.parametrize("how", ["byte", "line end", "torn", "empty"])
def test_a_damaged_segment_is_told_apart_and_the_next_one_is_taken_with_a_note(
    running: Centre, node: Node, diary: Diary, how: str
) -> None:
    """A1: a byte that flash changed is no reason to refuse for ever what follows; what is missing is named by its numbers."""
    days = [diary.write(1, 2), diary.write(3, 4, 5), diary.write(6), diary.write(7)]
    data = days[1].read_bytes()
    spoilt = {
        "byte": damaged(data, len(data) // 2),
        "line end": damaged(data, data.index(b"\n")),
        "torn": data[:-5],
        "empty": b"\n",
    }[how]
    assert running.upload(node, diary.pack(days[0]), "journal").status == 200
    broken = diary.pack(days[1], spoilt, last=4, head="0" * 64)
    answer = running.upload(node, broken, "journal")
    assert (answer.status, answer.body["hint"]) == (422, "it is kept aside; go on with the next one"), answer
    again = running.announce(node, broken, kind="journal")
    assert again.status == 422, "the node may have lost what it was told"
    assert (running.store / node.name / f"journal/io/refused/{broken.name}.jws").read_bytes() == spoilt
    assert not noted(running, "journal_gap", node), "nothing is missing yet"
    assert verified(running, node).returncode == 0
    for path in days[2:]:
        assert receipt_of(running, running.upload(node, diary.pack(path), "journal"))
    [gap] = noted(running, "journal_gap", node)
    assert gap == {"node": node.name, "unit": "io", "from": 2, "to": 4}, "once: the fourth follows the third"
    done = verified(running, node)
    assert (done.returncode, done.stdout) == (5, "")
    assert "io: entries 2 to 4 are missing" in done.stderr
    assert running.upload(node, diary.pack(days[1]), "journal").status == 200, "the true one can still come"
    assert verified(running, node).returncode == 0


def test_a_gap_is_filled_by_the_true_segment_alone(running: Centre, node: Node, diary: Diary) -> None:
    """R32: a gap opens no door: another story of the same entries, one too long, and a place twice are refused as before."""
    first, second, third = diary.write(1, 2), diary.write(3, 4), diary.write(5, 6)
    for path in (first, third):
        assert running.upload(node, diary.pack(path), "journal").status == 200
    lines = b"".join(path.read_bytes() for path in (second, third)).splitlines(keepends=True)
    for changed in (
        diary.pack(second, rewritten(diary, second)),
        diary.pack(second, b"".join(lines[:3])),
        diary.pack(second, b"".join(lines)),
        diary.pack(third, rewritten(diary, third)),
        diary.pack(third, lines[3], first=5, last=5),
        diary.pack(third, lines[3], first=9, last=9),
        diary.pack(third, lines[1], first=1, last=1),
    ):
        answer = running.upload(node, changed, "journal")
        assert (answer.status, answer.body["hint"]) == (409, "it is kept aside; the centre looks into it"), answer
        assert running.announce(node, changed, kind="journal").status == 409
    assert running.upload(node, diary.pack(second), "journal").status == 200
    assert verified(running, node).returncode == 0
    assert len(noted(running, "journal_gap", node)) == 1


@pytest.mark.parametrize("which", ["parcel before", "segment after"])
def test_what_broke_in_the_store_is_not_the_nodes_fault(running: Centre, node: Node, diary: Diary, which: str) -> None:
    """It was refused for ever and kept aside as evidence against the node; now the node keeps it, and sends it again."""
    first, second, third = diary.write(1, 2), diary.write(3, 4), diary.write(5, 6)
    for path in (first, third):
        assert running.upload(node, diary.pack(path), "journal").status == 200
    number, suffix = (0, ".parcel.jws") if which == "parcel before" else (4, ".jws")
    stored = running.store / node.name / f"journal/io/{number:010}{suffix}"
    whole = stored.read_bytes()
    stored.write_bytes(b"\0" * len(whole))
    parcel = diary.pack(second)
    answer = running.upload(node, parcel, "journal")
    assert (answer.status, answer.body["hint"]) == (500, "the centre must repair its store; send it again later"), answer
    assert not list(running.store.glob(f"{node.name}/journal/io/refused/*"))
    stored.write_bytes(whole)
    assert running.upload(node, parcel, "journal").status == 200
    assert verified(running, node).returncode == 0


def test_a_chain_that_begins_late_is_taken_with_its_gap(running: Centre, node: Node, diary: Diary) -> None:
    first, second = diary.write(1, 2), diary.write(3)
    assert running.upload(node, diary.pack(second), "journal").status == 200
    assert noted(running, "journal_gap", node) == [{"node": node.name, "unit": "io", "from": 0, "to": 1}]
    assert "io: entries 0 to 1 are missing" in verified(running, node).stderr
    assert running.upload(node, diary.pack(first), "journal").status == 200
    assert verified(running, node).returncode == 0


def test_the_same_segment_in_another_parcel_gets_its_own_receipt(running: Centre, node: Node, diary: Diary) -> None:
    """A node that lost its own notes packs it again; nothing breaks and nothing is there twice."""
    path = diary.write(1, 2)
    for folder in (diary.pack(path), diary.pack(path)):
        receipt = receipt_of(running, running.upload(node, folder, "journal"))
        assert receipt.record_sha256 == sha256_hex((folder / "parcel.jws").read_bytes())
    assert running.upload(node, diary.pack(diary.write(3)), "journal").status == 200


def test_a_segment_that_grew_replaces_its_beginning_and_never_the_other_way(running: Centre, node: Node, diary: Diary) -> None:
    """Sent before its day was over (a wipe that did not come), it comes again with more lines."""
    path = diary.write(1, 2)
    short = path.read_bytes()
    early = diary.pack(path)
    assert running.upload(node, early, "journal").status == 200
    diary.day -= 1
    assert diary.write(3) == path
    assert running.upload(node, diary.pack(path), "journal").status == 200
    assert running.upload(node, diary.pack(path, short), "journal").status == 409
    stored = running.store / node.name / "journal/io" / path.name
    assert stored.read_bytes() == path.read_bytes() != short
    assert running.upload(node, diary.pack(diary.write(4)), "journal").status == 200


def test_one_unit_does_not_speak_for_another(running: Centre, node: Node, diary: Diary) -> None:
    """The uplink packs the segment of io, whose own lines it cannot sign: the parcel is its, the chain is not."""
    camera = Diary(node, diary.folder, "camera")
    folder = camera.pack(diary.write(1, 2))
    assert running.upload(node, folder, "journal").status == 409
    facts = {"unit": "io", "first": 0, "last": 0, "head": "0" * 64, "previous": ""}
    wrong = parcel(node, "journal", {"0000000000.jws": b"x\n"}, "uplink", facts)
    assert running.upload(node, wrong, "journal").status == 422
    facts["unit"] = "../camera"
    wrong = parcel(node, "journal", {"0000000000.jws": b"x\n"}, "uplink", facts)
    assert running.announce(node, wrong, kind="journal").status == 403


# -- orders ------------------------------------------------------------------------------------------------------------------


def order(keys: Path, node: Node, number: int, **changes: Any) -> bytes:
    site, stop = node.name.split("/")
    now = datetime.now(UTC)
    facts: dict[str, Any] = {"clips": (), "since": now - timedelta(hours=1), "to": now} | changes
    record = Order(number, "hold", site, stop, "crime", "K-1", "Ada", "Bo", now, now + timedelta(days=9), offence="rån", **facts)
    return sign(record, signer(keys, "command"), ORDER)


def given(centre: Centre, node: Node, number: int, **changes: Any) -> bytes:
    token = order(centre.keys, node, number, **changes)
    path = centre.store / node.name / f"orders/{number:08}.jws"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(token)
    return token


def answered(node: Node, number: int, token: bytes, unit: Any = "camera", **changes: Any) -> bytes:
    site, stop = node.name.split("/")
    said = Answer(number, "hold", site, stop, unit, sha256_hex(token), "done", "", (), datetime.now(UTC))
    return sign(msgspec.structs.replace(said, **changes), load_signer(node.layout, unit), ANSWER)


def say(centre: Centre, node: Node, number: int, token: bytes) -> int:
    words = ["--data-binary", json.dumps({"answer": token.decode()})]
    return centre.call(node.tls, "POST", f"/v1/orders/{number}/answer", *words).status


def test_orders_reach_their_node_until_they_are_answered(running: Centre, node: Node, keys: Path, tmp_path: Path) -> None:
    """R29: by asking, and in the answer to any upload; only its own; oldest first; an answer ends it."""
    tokens = [given(running, node, number) for number in (1, 2, 10)]
    stranger = Node(keys, "city/no-orders", tmp_path / "stranger")
    waiting = [token.decode() for token in tokens]
    assert running.call(node.tls, "GET", "/v1/orders").body == {"schema": "lykta.orders/1", "orders": waiting}
    assert running.call(stranger.tls, "GET", "/v1/orders").body["orders"] == []
    folder = node.clip()
    assert running.announce(node, folder).body["orders"] == waiting
    said = answered(node, 2, tokens[1])
    assert [say(running, node, 2, said) for _ in range(2)] == [204, 204]
    assert (running.store / node.name / "orders/00000002.answer.jws").read_bytes() == said
    assert running.upload(node, folder).body["orders"] == [waiting[0], waiting[2]]
    assert running.look(node, folder).body["orders"] == [waiting[0], waiting[2]]
    (running.store / node.name / "orders/00000003.jws").write_bytes(b"\xff\x00")
    assert running.look(node, folder).status == 200, "rubbish is no order, and stops no upload"


def test_an_answer_is_the_nodes_own_and_the_first_one_stands(running: Centre, node: Node, keys: Path, tmp_path: Path) -> None:
    token = given(running, node, 1)
    stranger = Node(keys, "city/stranger", tmp_path / "stranger")
    foreign = answered(stranger, 1, token)
    # The neighbour's camera speaks for this node.
    lie = msgspec.json.decode(payload(foreign)) | {"node": node.name.removeprefix("city/")}
    lied = sign(lie, load_signer(stranger.layout, "camera"), ANSWER)
    for wrong in (answered(node, 1, b"another order"), answered(node, 3, token), foreign, lied, token):
        assert say(running, node, 1, wrong) == 403
    assert say(running, node, 7, token) == 404
    assert say(running, stranger, 1, foreign) == 404, "it has no such order"
    first = answered(node, 1, token)
    assert say(running, node, 1, first) == 204
    assert say(running, node, 1, answered(node, 1, token, result="refused")) == 409
    assert (running.store / node.name / "orders/00000001.answer.jws").read_bytes() == first


def payload(token: bytes) -> bytes:
    return base64.urlsafe_b64decode(token.split(b".")[1] + b"==")


# -- who asks ------------------------------------------------------------------------------------------------------------------


def crl(keys: Path, *serials: int, by: Path | None = None) -> None:
    """KEYS/crl.pem as `lykta-central revoke` writes it."""
    ca = signer(by or keys, "ca")
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.chain[0].subject).last_update(now)
    builder = builder.next_update(now + timedelta(days=30))
    for serial in serials:
        one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        builder = builder.add_revoked_certificate(one)
    part = keys / "crl.part"
    part.write_bytes(builder.sign(ca.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    part.replace(keys / "crl.pem")


def test_a_revoked_node_gets_no_further_and_a_stolen_key_is_told(running: Centre, node: Node, keys: Path, tmp_path: Path) -> None:
    """R30, R43: from the next call on, without a restart; its neighbour is not touched; a list nobody signed lets nobody in."""
    neighbour = Node(keys, "city/not-revoked", tmp_path / "neighbour")
    serial = load_chain(node.tls.with_suffix(".pem").read_bytes())[0].serial_number
    assert running.announce(node, node.clip()).status == 200
    try:
        crl(keys, serial)
        answer = running.announce(node, node.clip())
        assert (answer.status, answer.body["hint"]) == (403, "enrol the node again")
        assert running.call(node.tls, "GET", "/v1/orders").status == 403
        assert running.announce(neighbour, neighbour.clip()).status == 200
        [entry] = noted(running, "refused", node)
        assert (entry["what"], entry["reason"]) == ("access", f"certificate: of {node.name} is revoked")
        made("keygen", tmp_path / "other")
        for spoil in (lambda: crl(keys, by=tmp_path / "other"), lambda: (keys / "crl.pem").write_text("torn")):
            spoil()
            assert running.announce(neighbour, neighbour.clip()).status == 503
        crl(keys)
        assert running.announce(node, node.clip()).status == 200
    finally:
        (keys / "crl.pem").unlink(missing_ok=True)
    assert running.announce(node, node.clip()).status == 200


def test_who_speaks_for_another_is_noted_once_an_hour(running: Centre, node: Node, keys: Path, tmp_path: Path) -> None:
    """R43: attempts at access are reported, and a node that tries each second fills no disk."""
    other = Node(keys, "city/impostor", tmp_path / "other")
    for _ in range(3):
        assert running.announce(node, node.clip(), tls=other.tls).status == 403
    assert [entry["what"] for entry in noted(running, "refused", other)] == ["access"]


# -- two nodes with one identity -------------------------------------------------------------------------------------------------


def uploaded(centre: Centre, node: Node, previous: Path | None, boot: str = "b1") -> Path:
    """A clip that continues another one, taken in: evidence is never refused."""
    folder = signed(node, previous, boot)
    assert receipt_of(centre, centre.upload(node, folder)).id == folder.name
    return folder


def signed(node: Node, previous: Path | None, boot: str = "b1") -> Path:
    """A clip whose manifest names the one that the test says, whatever its spool would say."""
    folder = node.clip(noise(100), boot_id=boot)
    before = sha256_hex((previous / "manifest.jws").read_bytes()) if previous else ""
    manifest = msgspec.structs.replace(node.spool.manifest(folder.name), previous=before)
    (folder / "manifest.jws").write_bytes(sign(manifest, load_signer(node.layout, "camera"), MANIFEST))
    return folder


def alarms(centre: Centre, node: Node) -> list[tuple[str, str, str]]:
    kinds = ("chain_forked", "identity_twice", "chain_restarted")
    return [(kind, str(facts["clip"]), str(facts["other"])) for kind in kinds for facts in noted(centre, kind, node)]


def test_clips_in_any_order_raise_no_alarm(running: Centre, node: Node) -> None:
    """Help first, the rest later or never: one chain, however it comes."""
    chain = [signed(node, None)]
    for _ in range(4):
        chain.append(signed(node, chain[-1]))
    for folder in (chain[3], chain[1], chain[4], chain[0]):
        assert running.upload(node, folder).status == 200
    assert alarms(running, node) == []


def test_a_power_cut_between_two_notes_is_no_second_node(running: Centre, node: Node) -> None:
    """The node named one previous twice and went on from the second: noted, and not called two nodes."""
    first = uploaded(running, node, None)
    lost = uploaded(running, node, first)
    after = uploaded(running, node, first, boot="b2")
    uploaded(running, node, uploaded(running, node, after, "b2"), "b2")
    assert alarms(running, node) == [("chain_forked", after.name, lost.name)]


@pytest.mark.parametrize("late", [False, True], ids=["as they happen", "children first"])
def test_two_nodes_with_one_identity_are_noticed(running: Centre, node: Node, late: bool) -> None:
    """R30: a copied card. Both go on from the same clip, and both arms are continued; the evidence of both is kept."""
    root = uploaded(running, node, None)
    arms = [signed(node, root, boot) for boot in ("b1", "b2")]
    children = [signed(node, arm, boot) for arm, boot in zip(arms, ("b1", "b2"), strict=True)]
    for folder in [*children, *arms] if late else [*arms, *children]:
        assert receipt_of(running, running.upload(node, folder)).id == folder.name
    twice = noted(running, "identity_twice", node)
    assert len(twice) == 1
    assert twice[0]["clip"] in {folder.name for folder in [*arms, *children]}


def test_a_chain_that_begins_again_is_noted_and_no_alarm(running: Centre, node: Node) -> None:
    """A new card: its clips are taken like any."""
    old = uploaded(running, node, None)
    uploaded(running, node, old)
    new = uploaded(running, node, None, "b9")
    uploaded(running, node, new, "b9")
    assert alarms(running, node) == [("chain_restarted", new.name, old.name)]


def test_a_second_manifest_of_one_clip_is_refused_noted_and_kept(running: Centre, node: Node) -> None:
    folder = node.clip()
    assert running.upload(node, folder).status == 200
    again = signed_again(node, folder)
    assert running.announce(node, folder).status == 409
    [entry] = noted(running, "refused", node)
    assert (entry["what"], entry["object"]) == ("manifest", folder.name)
    assert (running.home(node, folder) / f"other/{sha256_hex(again)}.jws").read_bytes() == again


def signed_again(node: Node, folder: Path) -> bytes:
    manifest = msgspec.structs.replace(node.spool.manifest(folder.name), trigger="help")
    token = sign(manifest, load_signer(node.layout, "camera"), MANIFEST)
    (folder / "manifest.jws").write_bytes(token)
    return token


def test_a_key_of_this_ca_with_another_role_is_no_node(running: Centre, node: Node, tmp_path: Path) -> None:
    """A certificate for signing orders, named like the node: mutual TLS takes it, the ingest does not."""
    issue(running.keys, tmp_path / "odd", node.name, "ops")
    assert load_private_key((tmp_path / "odd.key").read_bytes())
    assert isinstance(signer(running.keys, "ops"), Signer)
    assert running.announce(node, node.clip(), tls=tmp_path / "odd").status == 403

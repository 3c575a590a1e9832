"""Officers and their access log, journals at the centre, orders, revoking, as officers use them (R29, R30, R32, R33b)."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from central.access import DEED, Deed
from central.folder import evidence, signer
from central.orders import sign_order
from privacy.journal import Chain, Entry, Journal, segments, verify_chain
from privacy.order import verify_order
from privacy.records import sha256_hex, sign
from provisioning.identity import Unit, command_keys, load_signer
from tests.broker import Broker, Centre, until
from tests.clips import Node, central, made
from tests.test_central import refused


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Centre:
    return Centre(tmp_path_factory.mktemp("centre") / "keys")


@pytest.fixture(scope="module")
def template(centre: Centre) -> Path:
    """Two officers: officer-1 may do all, eva-ek may open."""
    made("officer", centre.folder, "eva-ek", "--may", "open")
    return centre.folder


@pytest.fixture(scope="module")
def node(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Node:
    return Node(template, "city/stop-1", tmp_path_factory.mktemp("node"))


@pytest.fixture
def keys(template: Path, tmp_path: Path, node: Node) -> Path:
    """A folder of keys for a test to spoil."""
    return Path(shutil.copytree(template, tmp_path / "keys"))


def log(keys: Path) -> Chain:
    return verify_chain(keys / "access", "access", evidence(keys))


def last(keys: Path) -> Entry:
    return log(keys).entries[-1]


# -- roles ------------------------------------------------------------------------------------------------------------


def test_roles_say_who_may_what(keys: Path) -> None:
    """And each change is signed by the CA, numbered, and in the access log."""
    said = json.loads(made("officer", keys, "--json"))
    assert (said["number"], said["officers"]) == (2, {"officer-1": ["open", "export", "order"], "eva-ek": ["open"]})
    made("officer", keys, "eva-ek", "--may", "order", "--may", "export")
    assert last(keys).facts["rights"] == "export order"
    assert json.loads(made("officer", keys, "--json"))["officers"]["eva-ek"] == ["export", "order"]
    made("officer", keys, "eva-ek", "--remove")
    assert json.loads(made("officer", keys, "--json"))["officers"] == {"officer-1": ["open", "export", "order"]}
    assert "officer-1            open export order" in made("officer", keys)
    refused(2, "may: must be open, export, order", "officer", keys, "eva-ek", "--may", "everything")
    refused(2, "--may or --remove", "officer", keys, "eva-ek")
    refused(2, "must be lower case", "officer", keys, "../eva", "--may", "open")


def test_roles_that_the_ca_did_not_sign_give_no_right(keys: Path, node: Node, tmp_path: Path) -> None:
    made("keygen", tmp_path / "other", "--officer", "mallory")
    shutil.copy(tmp_path / "other/roles.jws", keys / "roles.jws")
    refused(5, "lykta-roles: signed by a key that is not trusted", "open", node.clip(), "--keys", keys, "-o", tmp_path / "x.mp4")


def test_an_older_list_put_back_is_found(keys: Path) -> None:
    """R32: the CA signed it once, and one who was dismissed may have kept it; the access log remembers."""
    old = (keys / "roles.jws").read_bytes()
    made("officer", keys, "eva-ek", "--remove")
    made("verify", keys / "access", "--keys", keys)
    (keys / "roles.jws").write_bytes(old)
    refused(5, "roles: the list in force is number 2, the access log tells of 3", "verify", keys / "access", "--keys", keys)


def test_who_has_the_right_opens_and_is_noted(keys: Path, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R32: by name, by LYKTA_OFFICER, and with the officer's own signature over clip and manifest."""
    folder = node.clip()
    made("open", folder, "--keys", keys, "--as", "eva-ek", "-o", tmp_path / "a.mp4")
    monkeypatch.setenv("LYKTA_OFFICER", "officer-1")
    made("open", folder, "--keys", keys, "-o", tmp_path / "b.mp4")
    one, two = log(keys).entries[-2:]
    assert (one.kind, one.facts["officer"], one.facts["clip"]) == ("open", "eva-ek", folder.name)
    assert one.facts["manifest_sha256"] == sha256_hex((folder / "manifest.jws").read_bytes())
    assert two.facts["officer"] == "officer-1"
    assert "entries, head" in made("verify", keys / "access", "--keys", keys)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("eva-ek", "officer: 'eva-ek' may not export"),
        ("mallory", "officer: 'mallory' may not export"),
        ("../officer-1", "officer: '../officer-1' may not export"),
    ],
)
def test_who_has_no_right_is_refused_and_noted(keys: Path, node: Node, tmp_path: Path, name: str, said: str) -> None:
    """R32, R43: exit 6, and the attempt stands in the access log though no officer signs it."""
    folder = node.clip()
    why = ["--ground", "accident", "--case", "K 1", "--decided", "Åke Öst", "--to", "Polisen"]
    refused(6, said, "export", folder, "--keys", keys, "--as", name, *why, "-o", tmp_path / "out")
    assert (last(keys).kind, last(keys).facts["claimed"], last(keys).facts["clips"]) == ("refused", name, folder.name)
    assert not (tmp_path / "out").exists()
    made("verify", keys / "access", "--keys", keys)


def test_a_right_without_the_key_is_none(keys: Path, node: Node, tmp_path: Path) -> None:
    """Whoever names an officer must have that officer's key: none, another's, or one that another CA certified is refused."""
    folder, officers = node.clip(), keys / "officers"
    words = ["open", folder, "--keys", keys, "-o", tmp_path / "x.mp4", "--as"]
    refused(2, "as: must name the officer: 2 have keys here", *words[:-1])
    for name in ("key", "pem"):
        shutil.copy(officers / f"eva-ek.{name}", officers / f"officer-1.{name}")
    refused(6, "the key is eva-ek's", *words, "officer-1")
    made("keygen", tmp_path / "other", "--officer", "eva-ek")
    for name in ("key", "pem"):
        shutil.copy(tmp_path / f"other/officers/eva-ek.{name}", officers / f"eva-ek.{name}")
    refused(6, "not of this centre", *words, "eva-ek")
    (officers / "officer-1.key").unlink()
    refused(6, "No such file", *words, "officer-1")
    assert [entry.kind for entry in log(keys).entries[-3:]] == ["refused"] * 3
    assert not (tmp_path / "x.mp4").exists()


def test_a_nodes_key_makes_no_officer(keys: Path, node: Node, tmp_path: Path) -> None:
    for name in ("key", "pem"):
        shutil.copy(node.layout.credentials / f"camera.{name}", keys / f"officers/officer-1.{name}")
    refused(6, "role 'camera', not 'officer'", "open", node.clip(), "--keys", keys, "--as", "officer-1", "-o", tmp_path / "x.mp4")


# -- the access log ---------------------------------------------------------------------------------------------------


def rewrite(keys: Path, change: Callable[[Entry], Entry | None]) -> None:
    """The access log as somebody with the centre's own log key could write it anew, every link and signature right."""
    entries = [after for entry in log(keys).entries if (after := change(entry))]
    shutil.rmtree(keys / "access")
    times = [entry.t for entry in entries]
    journal = Journal(keys / "access", "access", signer(keys, "access"), lambda: times.pop(0))
    for entry in entries:
        journal.append(entry.kind, **entry.facts)


def test_nobody_can_write_an_officers_deed(keys: Path, node: Node, tmp_path: Path) -> None:
    """R32: the log's own key makes a chain whose links hold, but not an officer's signature."""
    folder, access = node.clip(), keys / "access"
    for name in ("eva-ek", "officer-1"):
        made("open", folder, "--keys", keys, "--as", name, "-o", tmp_path / "x.mp4")
    before, backup = log(keys), shutil.copytree(access, tmp_path / "backup")
    number = len(before.entries) - 2

    def changed(**facts: Any) -> Callable[[Entry], Entry]:
        return lambda one: msgspec.structs.replace(one, facts=one.facts | facts) if one.number == number else one

    other = before.entries[number + 1].facts
    forged = sign(Deed("eva-ek", "open", datetime.now(UTC), {}), signer(keys, "access"), DEED).decode()
    spoils: list[Callable[[Entry], Entry | None]] = [
        changed(clip="another"),
        changed(officer="officer-1"),
        changed(deed=None),
        changed(deed=forged),
        changed(deed=other["deed"]),
        changed(**other),
    ]
    for spoil in spoils:
        rewrite(keys, spoil)
        done = central("verify", access, "--keys", keys)
        assert done.returncode == 5
        assert f"entry {number}" in done.stderr or f"entry {number + 1}: deed: stands in an earlier entry" in done.stderr
        shutil.rmtree(access)
        shutil.copytree(backup, access)
    made("verify", access, "--keys", keys)


def test_a_deed_taken_out_of_the_log_is_found_by_its_head(keys: Path, node: Node, tmp_path: Path) -> None:
    """R32: whoever has the log's key can leave an entry out; a head that an export's protocol names, or an officer noted, tells."""
    made("open", node.clip(), "--keys", keys, "--as", "eva-ek", "-o", tmp_path / "x.mp4")
    head = f"access={log(keys).head}"
    made("verify", keys / "access", "--keys", keys, "--head", head)
    rewrite(keys, lambda entry: None if entry.kind == "open" else entry)
    made("verify", keys / "access", "--keys", keys)
    refused(5, "saw", "verify", keys / "access", "--keys", keys, "--head", head)


def test_several_at_once_share_one_log(keys: Path, node: Node, tmp_path: Path) -> None:
    """No entry is lost or torn where officers open at the same time."""
    folders = [node.clip() for _ in range(4)]
    before = len(log(keys).entries)

    def opened(number: int) -> None:
        made("open", folders[number], "--keys", keys, "--as", "eva-ek", "-o", tmp_path / f"{number}.mp4")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(opened, range(4)))
    entries = log(keys).entries[before:]
    assert sorted(str(entry.facts["clip"]) for entry in entries) == sorted(folder.name for folder in folders)


# -- journals ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def journals(node: Node, tmp_path: Path) -> Path:
    """A node's journals as they lie in the centre's store: camera and io, which noted the camera's head."""
    root, now = tmp_path / "store/city/stop-1/journal", datetime.now(UTC)
    made_by: dict[Unit, Journal] = {}
    for unit in ("camera", "io"):
        made_by[unit] = Journal(root / unit, unit, load_signer(node.layout, unit), lambda: now)
    for number in range(4):
        made_by["camera"].append("capture", number=number)
    made_by["io"].append("heads", camera=str(made_by["camera"].head))
    (root / "camera/0000000000.receipt.jws").write_text("beside it")
    return root


def spoil(folder: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    [path] = segments(folder)
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))


def test_whole_journals_are_whole(keys: Path, journals: Path) -> None:
    said = json.loads(made("verify", journals, "--keys", keys, "--node", "city/stop-1", "--json"))
    assert (said["signers"], said["crossed"], said["heard"]) == (["city/stop-1"], 1, 0)
    assert {unit: facts["entries"] for unit, facts in said["units"].items()} == {"camera": 4, "io": 1}
    words = [f"--head={unit}={facts['head']}" for unit, facts in said["units"].items()]
    assert json.loads(made("verify", journals, "--keys", keys, *words, "--json"))["heard"] == 2
    assert "camera: 4 entries" in made("verify", journals / "camera", "--keys", keys)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[:1] + lines[2:], "camera: entry 1"),
        (lambda lines: lines[1:], "camera: entry 0"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "camera: entry 0"),
        (lambda lines: [*lines, lines[3]], "camera: entry 4"),
        (lambda lines: lines[:3], "ends after 3 entries, io entry 0 saw 4"),
        (lambda lines: [*lines[:2], lines[2][:-4] + b"AAAA", lines[3]], "camera: entry 2: lykta-journal: bad signature"),
        (lambda lines: [*lines[:2], b"", *lines[2:]], "camera: entry 2"),
    ],
)
def test_a_cut_is_found(keys: Path, journals: Path, change: Callable[[list[bytes]], list[bytes]], said: str) -> None:
    """R32: with the number of the first entry that does not hold."""
    spoil(journals / "camera", change)
    refused(5, said, "verify", journals, "--keys", keys)


def test_a_journal_written_anew_by_the_node_itself_is_found(keys: Path, journals: Path, node: Node) -> None:
    """R32: with the node's own key; by io's note, and by a head that the centre heard."""
    head = json.loads(made("verify", journals, "--keys", keys, "--json"))["units"]["camera"]["head"]
    shutil.rmtree(journals / "camera")
    again = Journal(journals / "camera", "camera", load_signer(node.layout, "camera"), lambda: datetime.now(UTC))
    for number in range(5):
        again.append("capture", number=number)
    refused(5, "camera: entry 3 is not the one that io entry 0 saw", "verify", journals, "--keys", keys)
    shutil.rmtree(journals / "io")
    made("verify", journals, "--keys", keys)
    refused(5, "camera: entry 3 is not the one that the centre saw", "verify", journals, "--keys", keys, "--head", f"camera={head}")
    shutil.rmtree(journals / "camera")
    refused(5, "there is none, but its head was heard", "verify", journals, "--keys", keys, "--head", f"camera={head}")


def test_swapped_journals_are_found(keys: Path, journals: Path, tmp_path: Path) -> None:
    """R32: another node's chain in this one's place, or one unit's in another's."""
    other = Node(keys, "city/stop-2", tmp_path / "stop-2")
    shutil.rmtree(journals / "camera")
    for number in range(4):
        again = Journal(journals / "camera", "camera", load_signer(other.layout, "camera"), lambda: datetime.now(UTC))
        again.append("capture", number=number)
    refused(5, "signed by city/stop-1, city/stop-2, not all by one node", "verify", journals, "--keys", keys)
    refused(5, "not all by city/stop-1", "verify", journals / "camera", "--keys", keys, "--node", "city/stop-1")
    (journals / "camera").rename(journals / "x")
    (journals / "io").rename(journals / "camera")
    refused(5, "camera: entry 0", "verify", journals, "--keys", keys)


@pytest.mark.parametrize("head", ["camera", "camera=x", "camera=3:12"])
def test_a_head_that_is_none_is_refused(keys: Path, journals: Path, head: str) -> None:
    done = central("verify", journals, "--keys", keys, "--head", head)
    assert done.returncode in (2, 5)
    assert "head: must be" in done.stderr


# -- orders -----------------------------------------------------------------------------------------------------------


@cache
def example() -> str:
    return made("sign", "order", "--example", "city/stop-1")


def order(tmp_path: Path, **changes: Any) -> Path:
    draft = json.loads(example()) | changes
    path = tmp_path / "order.json"
    path.write_text(json.dumps(draft))
    return path


def signed(keys: Path, source: Path, *words: str) -> bytes:
    made("sign", "order", source, "--keys", keys, "--as", "officer-1", *words, "-o", source.with_suffix(".jws"))
    return source.with_suffix(".jws").read_bytes()


def test_an_order_is_numbered_signed_and_noted(keys: Path, node: Node, tmp_path: Path) -> None:
    """R29, R33b: the node's own check takes it; the ledger and the access log have it."""
    orders = [verify_order(signed(keys, order(tmp_path)), command_keys(node.layout), "city", "stop-1") for _ in range(3)]
    assert [one.number for one in orders] == [1, 2, 3]
    assert (orders[0].act, orders[0].performed, orders[0].offence[:3]) == ("hold", "officer-1", "rån")
    token = signed(keys, order(tmp_path, number=7))
    assert (keys / "orders/city/stop-1/00000007.jws").read_bytes() == token
    assert (last(keys).facts["number"], last(keys).facts["sha256"]) == (7, sha256_hex(token))
    assert verify_order(signed(keys, order(tmp_path)), command_keys(node.layout), "city", "stop-1").number == 8


def test_a_number_is_never_used_twice(keys: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.jws"
    signed(keys, order(tmp_path, number=2))
    for number in (1, 2, 0, -1, "3"):
        words = [order(tmp_path, number=number), "--keys", keys, "--as", "officer-1", "-o", target]
        refused(5, "order: number", "sign", "order", *words)
    assert not target.exists()
    assert [path.name for path in (keys / "orders").rglob("*.jws")] == ["00000002.jws"]


def sign_some(source: Path, keys: Path, start: Any, numbers: Any) -> None:
    """A process that signs three orders as soon as all are ready."""
    start.wait(20)
    for _ in range(3):
        numbers.put(sign_order(source, keys, "officer-1")[0].number)


def test_several_who_sign_at_once_get_their_own_numbers(keys: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, numbers, source = context.Barrier(4), context.Queue(), order(tmp_path)
    signing = [context.Process(target=sign_some, args=(source, keys, start, numbers)) for _ in range(4)]
    for process in signing:
        process.start()
    assert sorted(numbers.get(timeout=30) for _ in range(12)) == list(range(1, 13))
    for process in signing:
        process.join(20)
        assert process.exitcode == 0


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"decided": "Officer 1"}, 2, "decided: must be another person"),
        ({"performed": "who decided"}, 5, "must be two people"),
        ({"performed": "eva-ek"}, 5, "performed: must be who signs, officer-1 (got 'eva-ek')"),
        ({"offence": ""}, 5, "offence: a crime is named"),
        ({"act": "burn"}, 5, "order: act: invalid enum value 'burn'"),
        ({"site": "../city"}, 5, "order: site"),
        ({"until": "2020-01-01T00:00:00Z"}, 5, "until: must be after issued"),
        ({"reason": "x"}, 5, "unknown field `reason`"),
    ],
)
def test_what_is_no_order_is_not_signed(keys: Path, tmp_path: Path, changes: dict[str, Any], code: int, said: str) -> None:
    """R33, R33b: refused at the desk, and no number is used up."""
    target = tmp_path / "x.jws"
    refused(code, said, "sign", "order", order(tmp_path, **changes), "--keys", keys, "--as", "officer-1", "-o", target)
    assert not target.exists()
    assert not list((keys / "orders").rglob("*.jws"))


def test_who_may_not_order_neither_signs_nor_sends(keys: Path, tmp_path: Path) -> None:
    source, store = order(tmp_path), tmp_path / "store"
    store.mkdir()
    refused(6, "may not order", "sign", "order", source, "--keys", keys, "--as", "eva-ek", "-o", tmp_path / "x.jws")
    signed(keys, source)
    words = ["send", keys, "city/stop-1", "order", "--file", source.with_suffix(".jws"), "--store", store]
    refused(6, "may not order", *words, "--as", "eva-ek")
    assert last(keys).kind == "refused"
    assert not list(store.iterdir())


def test_an_order_goes_to_broker_and_store(keys: Path, centre: Centre, node: Node, tmp_path: Path) -> None:
    """Retained, so that a node that is away finds it; and as a file from where the ingest answers uploads with it."""
    token, store = signed(keys, order(tmp_path)), tmp_path / "store"
    store.mkdir()
    broker = Broker(tmp_path / "broker", centre)
    broker.start()
    words = ["send", keys, "city/stop-1", "order", "--file", tmp_path / "order.jws", "--as", "officer-1", "--store", store]
    try:
        said = json.loads(made(*words, "--broker", f"127.0.0.1:{broker.port}", "--json"))
        tls = node.layout.credentials / "tls.pem"
        with broker.ear("lykta/v1/city/stop-1/order/#", as_certificate=tls) as heard:
            until(heard, "the node hears it though it came later")
            [message] = heard()
    finally:
        broker.stop()
    assert (message.topic, message.retain, message.payload) == ("lykta/v1/city/stop-1/order/1", True, token.decode())
    place = store / "city/stop-1/orders/00000001.jws"
    assert said == {
        "schema": "lykta-central.send/1", "number": 1, "topic": "lykta/v1/city/stop-1/order/1", "file": str(place)
    }  # fmt: skip
    assert place.read_bytes() == token
    assert (last(keys).kind, last(keys).facts["to"]) == ("send", f"broker 127.0.0.1:{broker.port}, store {store}")
    made(*words)
    place.write_bytes(b"another")
    refused(5, "another order has this number", *words)


def test_an_order_is_not_sent_astray(keys: Path, tmp_path: Path) -> None:
    signed(keys, order(tmp_path))
    made("keygen", tmp_path / "other")
    file = tmp_path / "order.jws"
    words = ["--as", "officer-1", "--file", file, "--store"]
    refused(5, "is for city/stop-1", "send", keys, "city/stop-2", "order", *words, tmp_path)
    refused(5, "not trusted here", "send", tmp_path / "other", "city/stop-1", "order", "--file", file, "--store", tmp_path)
    refused(2, "no such folder", "send", keys, "city/stop-1", "order", *words, tmp_path / "none")
    refused(2, "must be a folder", "send", keys, "city/stop-1", "order", *words, "s3://bucket")
    refused(2, "--broker or --store are needed", "send", keys, "city/stop-1", "order", *words[:-1])
    refused(2, "--broker is needed", "send", keys, "city/stop-1", "ack")
    assert not (tmp_path / "city").exists()


# -- revoking ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "broker", Centre(tmp_path / "centre"))
    with (broker.folder / "broker.conf").open("a") as file:
        file.write(f"crlfile {broker.centre.folder}/crl.pem\n")
    yield broker
    broker.stop()


def test_a_revoked_node_cannot_connect(broker: Broker, tmp_path: Path) -> None:
    """R30: real mosquitto with the CRL that keygen already made; the other node and a new bundle of the same one go on."""
    keys, message = broker.centre.folder, "lykta/v1/city/{}/event/help"
    tls = {name: Node(keys, f"city/{name}", tmp_path / name).layout.credentials / "tls.pem" for name in ("stop-1", "stop-2")}
    broker.start()
    for name, certificate in tls.items():
        assert "PUBACK" in broker.publish(message.format(name), "1", as_certificate=certificate)
    said = json.loads(made("revoke", keys, "city/stop-1", "--json"))
    assert said == {"schema": "lykta-central.revoke/1", "node": "city/stop-1", "revoked": 5, "crl": str(keys / "crl.pem")}
    broker.stop()
    broker.start()
    assert "PUBACK" not in broker.publish(message.format("stop-1"), "2", as_certificate=tls["stop-1"])
    assert "PUBACK" in broker.publish(message.format("stop-2"), "2", as_certificate=tls["stop-2"])
    again = Node(keys, "city/stop-1", tmp_path / "again").layout.credentials / "tls.pem"
    assert "PUBACK" in broker.publish(message.format("stop-1"), "3", as_certificate=again)
    assert json.loads(made("revoke", keys, "city/stop-2", "--json"))["revoked"] == 5
    text = subprocess.run(
        ["openssl", "crl", "-in", keys / "crl.pem", "-noout", "-text"], capture_output=True, text=True, check=True
    )
    assert text.stdout.count("Serial Number:") == 10
    assert json.loads(made("revoke", keys, "city/stop-2", "--json"))["revoked"] == 0
    refused(2, "no certificate was issued to city/stop-3", "revoke", keys, "city/stop-3")


def test_a_server_of_ours_reads_the_same_list(keys: Path, node: Node) -> None:
    """Python's ssl, as the ingest uses it, refuses the revoked node's certificate and no other."""
    made("bundle", keys, "city/stop-9", "--root", keys / "stop-9", "--area", "City", "--broker", "b:1", "--ingest", "i:1")
    made("revoke", keys, "city/stop-1")
    assert shaken(keys, keys / "stop-9/etc/lykta/credentials/tls") == ""
    assert "revoked" in shaken(keys, node.layout.credentials / "tls")


def shaken(keys: Path, tls: Path) -> str:
    """Why a server with that CRL refuses a client, "" if it does not."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(keys / "ingest.pem", keys / "ingest.key")
    server.load_verify_locations(keys / "ca.pem")
    server.load_verify_locations(keys / "crl.pem")
    server.verify_mode, server.verify_flags = ssl.CERT_REQUIRED, server.verify_flags | ssl.VERIFY_CRL_CHECK_LEAF
    client = ssl.create_default_context(cafile=str(keys / "ca.pem"))
    client.load_cert_chain(f"{tls}.pem", f"{tls}.key")
    here, there = socket.socketpair()

    def connect() -> None:
        with client.wrap_socket(there, server_hostname="localhost") as line:
            try:
                line.recv(1)
            except OSError:
                return

    with ThreadPoolExecutor(1) as pool:
        pool.submit(connect)
        try:
            with server.wrap_socket(here, server_side=True):
                return ""
        except ssl.SSLError as problem:
            here.close()
            return str(problem)


def test_every_certificate_is_in_the_ledger(keys: Path, node: Node) -> None:
    """Before it is handed over: what nobody knows of could not be revoked."""
    lines = [json.loads(line) for line in (keys / "issued.jsonl").read_text().splitlines()]
    assert sorted(line["role"] for line in lines if line["name"] == "city/stop-1") == ["camera", "io", "retention", "tls", "uplink"]
    for path in [*node.layout.credentials.glob("*.pem"), *keys.glob("officers/*.pem"), keys / "receipt.pem", keys / "ops.pem"]:
        done = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-serial"], capture_output=True, text=True, check=True)
        assert str(int(done.stdout.strip().removeprefix("serial="), 16)) in {line["serial"] for line in lines}, path

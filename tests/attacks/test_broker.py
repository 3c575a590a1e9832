"""The broker as `lykta-central broker` sets it up: a neighbour reads, writes and ends nothing of another's (14.F23).

And each role at the centre does what it is for (17.2).
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from agent.uplink.downlink import SUBSCRIBED
from central.keys.broker import NODE_READS
from tests.support.broker import PATIENCE, Broker, Published, until
from tests.support.clips import bundle, central, made
from tests.support.nodes import PROJECT

MINE, OTHERS = "lykta/v1/city/stop-1", "lykta/v1/city/stop-2"


@pytest.fixture
def tls(broker: Broker, tmp_path: Path) -> dict[str, Path]:
    """The certificates of two nodes."""
    keys = broker.centre.folder
    return {name: bundle(keys, f"city/{name}", tmp_path / name).credentials / "tls.pem" for name in ("stop-1", "stop-2")}


def bodies(heard: list[Published]) -> list[tuple[str, str]]:
    return [(one.topic, one.payload) for one in heard]


@contextmanager
def waiting(broker: Broker, certificate: Path, client_id: str, folder: Path) -> Iterator[Path]:
    """A stock client that waits for its node's commands; what it hears, and what became of it."""
    log = folder / f"waiting-{certificate.parent.parent.parent.parent.name}.log"
    words = [
        "stdbuf",
        "-oL",
        "mosquitto_sub",
        *broker.options(certificate),
        "-q",
        "1",
        "-d",
        "-i",
        client_id,
        "-t",
        f"{OTHERS}/cmd/#",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT)
        try:
            until(lambda: "Subscribed" in log.read_text(), "the node has subscribed")
            yield log
            assert process.poll() is None, log.read_text()
        finally:
            process.terminate()
            process.wait(PATIENCE * 10)


def test_a_neighbour_writes_and_reads_nothing_of_another(broker: Broker, tls: dict[str, Path]) -> None:
    """By deliveries: what it may not publish nobody hears; of what is another's it hears nothing, only its own."""
    with broker.ear() as ops:
        for tail in ("state", "event/help", "cmd/ack", "basis/desired"):
            assert "ot authori" in broker.publish(f"{OTHERS}/{tail}", "forged", as_certificate=tls["stop-1"])
        broker.publish(f"{OTHERS}/event/help", "true", as_certificate=tls["stop-2"])
        until(lambda: (f"{OTHERS}/event/help", "true") in bodies(ops()), "the other's message is heard by ops")
        assert "forged" not in [one.payload for one in ops()]
    with broker.ear("#", as_certificate=tls["stop-1"]) as spy:
        for tail in ("state", "event/help", "cmd/ack", "basis/desired"):
            assert "PUBACK" in broker.publish(f"{OTHERS}/{tail}", "by ops")
        broker.publish(f"{MINE}/cmd/ack", "mine")
        until(lambda: (f"{MINE}/cmd/ack", "mine") in bodies(spy()), "its own command is heard")
        assert bodies(spy()) == [(f"{MINE}/cmd/ack", "mine")]


@pytest.mark.parametrize("role", ["collector", "console", "desk"])
def test_each_role_does_what_it_is_for_and_nothing_else(broker: Broker, tls: dict[str, Path], role: str) -> None:
    """17.2, by deliveries: all read what a node says, none what is meant for a node; the desk alone writes, and only commands."""
    certificate = broker.centre.folder / f"{role}.pem"
    said = (
        "state",
        "event/help",
        "alarm/help",
        "health/link",
        "clip/c",
        "rsp/order-1",
        "basis/reported",
        "cert/tls/wanted",
        "journal",
    )
    wanted = ("cmd/ack", "order/1", "basis/desired", "cert/tls/desired")
    with broker.ear("lykta/v1/#", as_certificate=certificate) as heard:
        for tail in wanted:
            broker.publish(f"{MINE}/{tail}", "for the node")
        for tail in said:
            broker.publish(f"{MINE}/{tail}", "said", as_certificate=tls["stop-1"])
        until(lambda: {one.topic for one in heard()} >= {f"{MINE}/{tail}" for tail in said}, "all that the node says is heard")
        assert {one.payload for one in heard()} == {"said"}
    with broker.ear(f"{MINE}/#") as ops:
        for tail in (*said, *wanted):
            broker.publish(f"{MINE}/{tail}", "forged", as_certificate=certificate)
        broker.publish(f"{MINE}/event/last", "true", as_certificate=tls["stop-1"])
        until(lambda: (f"{MINE}/event/last", "true") in bodies(ops()), "what came after them is heard")
        forged = [one.topic for one in ops() if one.payload == "forged"]
    assert forged == ([f"{MINE}/cmd/ack"] if role == "desk" else [])


def test_a_node_takes_back_no_order_and_no_record(broker: Broker, tls: dict[str, Path]) -> None:
    """What the centre keeps for it at the broker it may read alone: a compromised uplink clears no order that waits there."""
    for tail in ("order/7", "basis/desired", "cmd/ack", "cert/tls/desired"):
        broker.publish(f"{MINE}/{tail}", "signed", retain=True)
        broker.publish(f"{MINE}/{tail}", "", retain=True, as_certificate=tls["stop-1"])
    with broker.ear(f"{MINE}/#") as later:
        until(lambda: len(later()) >= 4, "all are still there")
        assert {one.payload for one in later()} == {"signed"}


def test_members_of_a_group_share_what_nodes_say(broker: Broker, tls: dict[str, Path], tmp_path: Path) -> None:
    """17.2: the collector's replicas: each message reaches one of two, as `collector` may."""
    certificate = broker.centre.folder / "collector.pem"
    with ExitStack() as stack:
        ears = [stack.enter_context(broker.ear(f"$share/all/{MINE}/event/#", as_certificate=certificate)) for _ in range(2)]
        for number in range(20):
            broker.publish(f"{MINE}/event/x", f"{number}", as_certificate=tls["stop-1"])
        until(lambda: sum(len(one()) for one in ears) >= 20, "all are heard")
        heard = [[one.payload for one in ear()] for ear in ears]
    assert sorted(heard[0] + heard[1], key=int) == [f"{number}" for number in range(20)]
    assert all(heard)


def test_a_neighbour_ends_no_other_session(broker: Broker, tls: dict[str, Path], tmp_path: Path) -> None:
    """Under the other's client id it is still itself: the other stays connected and hears what comes afterwards."""
    with waiting(broker, tls["stop-2"], "city/stop-2", tmp_path) as log:
        words = [
            "mosquitto_pub",
            *broker.options(tls["stop-1"]),
            "-q",
            "1",
            "-i",
            "city/stop-2",
            "-t",
            f"{MINE}/event/x",
            "-m",
            "x",
        ]
        assert subprocess.run(words, capture_output=True, timeout=PATIENCE * 20, check=False).returncode == 0
        broker.publish(f"{OTHERS}/cmd/ack", "after")
        until(lambda: "after" in log.read_text(), "the command comes to the same session")
    assert "city/stop-2 already connected" not in broker.log.read_text()
    assert "as city/stop-1" in broker.log.read_text()


def test_a_revoked_certificate_is_refused_after_a_signal(broker: Broker, tls: dict[str, Path]) -> None:
    """Without a restart: `revoke` writes the list that the configuration names."""
    assert "PUBACK" in broker.publish(f"{MINE}/event/x", "before", as_certificate=tls["stop-1"])
    made("revoke", broker.centre.folder, "city/stop-1")
    broker.signal(signal.SIGHUP)
    until(lambda: "PUBACK" not in broker.publish(f"{MINE}/event/x", "after", as_certificate=tls["stop-1"]), "it is refused")
    with broker.ear() as ops:
        assert "PUBACK" in broker.publish(f"{OTHERS}/event/x", "good", as_certificate=tls["stop-2"])
        broker.publish(f"{MINE}/event/x", "revoked", as_certificate=tls["stop-1"])
        until(lambda: (f"{OTHERS}/event/x", "good") in bodies(ops()), "the other node is heard")
        assert "revoked" not in [one.payload for one in ops()]


def test_what_is_too_large_is_not_taken(broker: Broker, tls: dict[str, Path], tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"x" * 70_000)
    words = ["mosquitto_pub", *broker.options(tls["stop-1"]), "-q", "1", "-d", "-t", f"{MINE}/event/x", "-f", large]
    with broker.ear() as ops:
        subprocess.run(words, capture_output=True, timeout=PATIENCE * 20, check=False)
        assert "PUBACK" in broker.publish(f"{MINE}/event/x", "small", as_certificate=tls["stop-1"])
        until(lambda: bodies(ops()) == [(f"{MINE}/event/x", "small")], "only the small one is heard")


def test_the_access_list_names_what_a_node_subscribes() -> None:
    assert set(NODE_READS) == set(SUBSCRIBED)


def test_a_folder_without_the_brokers_files_makes_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    done = central("broker", tmp_path / "keys", "-o", tmp_path / "broker")
    assert (done.returncode, "ca.pem" in done.stderr) == (7, True)
    assert not (tmp_path / "broker").exists()


# -- certificates of servers, and options that would be ignored ---------------------------------------------------------


def names_of(keys: Path, server: str) -> str:
    words = ["openssl", "x509", "-in", keys / f"{server}.pem", "-noout", "-ext", "subjectAltName"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_the_readmes_centre_has_the_names_of_its_servers(tmp_path: Path) -> None:
    """14.F23: made as it was written there, both servers were `localhost` alone, and no node came in from elsewhere."""
    lines = (line.partition("#")[0].split() for line in (PROJECT / "README.md").read_text().splitlines())
    [words] = [line for line in lines if line[:3] == ["lykta-central", "keygen", "KEYS"]]
    names = [name for option, name in pairwise(words) if option == "--host"]
    made("keygen", tmp_path / "keys", *words[3:])
    assert names
    for server in ("ingest", "broker"):
        assert all(name in names_of(tmp_path / "keys", server) for name in names)


@pytest.mark.parametrize("server", ["ingest", "broker"])
def test_a_servers_certificate_is_issued_for_another_name(keys: Path, server: str) -> None:
    made("keygen", keys, "--rotate", server, "--host", "new.example.org", "--host", "192.0.2.9")
    assert all(name in names_of(keys, server) for name in ("new.example.org", "192.0.2.9", "localhost"))
    before = (keys / f"{server}.pem").read_bytes()
    made("keygen", keys, "--rotate", server)
    assert (keys / f"{server}.pem").read_bytes() != before
    assert "new.example.org" in names_of(keys, server)
    subprocess.run(["openssl", "verify", "-CAfile", keys / "ca.pem", keys / f"{server}.pem"], check=True, capture_output=True)


@pytest.mark.parametrize(
    "words",
    [
        ("keygen", "KEYS", "--rotate", "ca", "--host", "a.example.org"),
        ("keygen", "KEYS", "--retire", "ca", "--host", "a.example.org"),
        ("keygen", "KEYS", "--rotate", "ingest", "--officer", "eva-ek"),
        ("keygen", "KEYS", "--rotate", "ingest", "--host", "not a name"),
        ("bundle", "KEYS", "city/stop-1", "--trust-only", "ROOT"),
        ("bundle", "KEYS", "--trust-only", "ROOT", "--area", "City"),
        ("renew", "KEYS", "x.renewal.jws", "--broker", "127.0.0.1:1"),
        ("officer", "KEYS", "--may", "open"),
        ("officer", "KEYS", "--remove"),
        ("sign", "basis", "--example", "city/stop-1", "-o", "x.jws"),
        ("send", "KEYS", "city/stop-1", "ack", "--broker", "127.0.0.1:1", "--file", "x.jws"),
        ("send", "KEYS", "city/stop-1", "order", "--file", "x", "--store", "s", "--arg", "a=b"),
        ("sign", "basis", "--example", "city/stop-1", "--yes"),
        ("ingest", "ROOT", "--keys", "KEYS", "--store", "ROOT/store", "--host", "127.0.0.1"),
        ("ingest", "ROOT", "--keys", "KEYS", "--store", "ROOT/store", "--port", "8443"),
        ("ingest", "ROOT", "--keys", "KEYS", "--store", "ROOT/store", "--sweep-once"),
        ("ingest", "--keys", "KEYS", "--store", "ROOT/store", "--sweep-once", "--port", "8443"),
        ("ingest", "--keys", "KEYS", "--store", "ROOT/store", "--port", "1", "--json"),
        ("verify", "ROOT/clip", "--keys", "KEYS", "--node", "city/stop-1"),
        ("verify", "ROOT/clip/clip.age", "--keys", "KEYS", "--head", f"camera=1:{'ab' * 32}"),
    ],
)
def test_an_option_that_would_be_ignored_is_an_error(keys: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    before = {path.name: path.read_bytes() for path in keys.iterdir() if path.is_file()}
    (tmp_path / "root/clip").mkdir(parents=True)
    (tmp_path / "root/clip/manifest.jws").touch()
    named = [word.replace("KEYS", str(keys)).replace("ROOT", str(tmp_path / "root")) for word in words]
    done = central(*named)
    assert (done.returncode, done.stderr[:7]) == (2, "error: "), done.stderr
    assert {path.name: path.read_bytes() for path in keys.iterdir() if path.is_file()} == before


def test_an_officer_in_the_environment_is_no_such_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands for every command of a shell, also for those that need no officer."""
    words = ["sign", "basis", "--example", "city/stop-1"]
    monkeypatch.setenv("LYKTA_OFFICER", "eva-ek")
    assert central(*words).returncode == 0
    assert central(*words, "--as", "officer-1").returncode == 2

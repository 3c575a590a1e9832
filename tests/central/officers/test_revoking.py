"""A revoked node is on the CRL, and whoever reads that refuses it (R30)."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.broker import Broker, Centre
from tests.support.clips import Node, made, refused


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "broker", Centre(tmp_path / "centre"))
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

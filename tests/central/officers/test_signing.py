"""Basis, view, configuration and commands: an officer with that right signs and sends them, and the access log has it (17.6)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.envelope import Envelope
from agent.messages import Message, State, encode
from privacy.records.command import COMMAND, Command
from privacy.records.jws import peek, sha256_hex
from tests.support.access_log import last, log
from tests.support.broker import Broker, Centre, until
from tests.support.clips import Node, central, example, made, refused


@pytest.fixture
def broker(centre: Centre, node: Node, tmp_path: Path) -> Iterator[Broker]:
    """A broker at which the node was heard an hour ago."""
    broker = Broker(tmp_path / "broker", centre)
    broker.start()
    state = Message(
        Envelope(1, "m1", "e1", 7, datetime.now(UTC), 5_000, "boot-1", "synced", False),
        State("ready", "listening", None, None, "nobody", {}),
    )
    broker.publish(f"lykta/v1/{node.name}/state", encode(state).decode(), retain=True)
    yield broker
    broker.stop()


@pytest.mark.parametrize("record", ["basis", "view", "config"])
def test_a_record_is_signed_and_sent_by_an_officer(keys: Path, node: Node, broker: Broker, tmp_path: Path, record: str) -> None:
    source, target = tmp_path / f"{record}.json", tmp_path / f"{record}.jws"
    source.write_text(example(record, node.name))
    words = ["sign", record, source, "--keys", keys, "-o", target]
    refused(6, "may not sign", *words, "--as", "eva-ek")
    assert not target.exists()
    assert (last(keys).kind, last(keys).facts["claimed"], last(keys).facts["record"]) == ("refused", "eva-ek", record)
    refused(2, "must name the officer", *words)
    made(*words, "--as", "officer-1")
    entry, which = last(keys), json.loads(source.read_text())
    assert (entry.kind, entry.facts["officer"], entry.facts["node"]) == ("sign", "officer-1", node.name)
    assert entry.facts["id"] == which.get("id", which.get("version"))
    assert entry.facts["sha256"] == sha256_hex(target.read_bytes())
    send = ["send", keys, node.name, record, "--file", target, "--broker", f"127.0.0.1:{broker.port}"]
    refused(6, "may not sign", *send, "--as", "eva-ek")
    with broker.ear() as heard:
        made(*send, "--as", "officer-1")
        until(lambda: [one for one in heard() if one.topic.endswith(f"{record}/desired")], "it stands at the broker")
    assert (last(keys).kind, last(keys).facts["to"]) == ("send", f"broker 127.0.0.1:{broker.port}")
    made("verify", keys / "access", "--keys", keys)


def test_a_command_is_sent_by_an_officer_and_noted_before_it_leaves(keys: Path, node: Node, broker: Broker) -> None:
    words = ["send", keys, node.name, "pause", "--arg", "minutes=5", "--broker", f"127.0.0.1:{broker.port}", "--wait", "0"]
    with broker.ear() as heard:
        refused(6, "may not command", *words, "--as", "eva-ek")
        assert (last(keys).kind, last(keys).facts["command"]) == ("refused", "pause")
        assert central(*words, "--as", "officer-1").returncode == 4, "nobody answers here"
        [sent] = until(lambda: [one for one in heard() if "/cmd/" in one.topic], "the command is heard")
    command, entry = peek(sent.payload.encode(), COMMAND, Command), last(keys)
    assert (entry.kind, entry.facts["officer"], entry.facts["id"]) == ("command", "officer-1", command.id)
    assert (entry.facts["args"], entry.facts["sha256"]) == ("minutes=5", sha256_hex(sent.payload.encode()))
    made("verify", keys / "access", "--keys", keys)
    # Nothing leaves that cannot be noted.
    before = len(log(keys).entries)
    (keys / "access.key").rename(keys / "access.away")
    with broker.ear() as later:
        assert central(*words, "--as", "officer-1").returncode == 7
        until(lambda: broker.publish(f"lykta/v1/{node.name}/cmd/last", "x") and later(), "the ear hears")
        assert [one.topic for one in later() if "/cmd/" in one.topic] == [f"lykta/v1/{node.name}/cmd/last"]
    assert len(log(keys).entries) == before

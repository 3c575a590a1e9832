"""What the broker sends is foreign: it becomes a message, the end of an alarm, or a refusal, and never an exception."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.messages import LONGEST, Alarm, Presence
from central.fleet.collect.intake import Cleared, Refusal, Taken, take
from tests.support.collecting import Talker

TOPIC, PAYLOAD = Talker(epoch="e" * 32).presence()


def cause(topic: str, payload: bytes, qos: int = 1) -> str:
    found = take(topic, payload, qos, 0)
    assert isinstance(found, Refusal)
    assert found.text.isprintable()
    return found.cause


def changed(**envelope: Any) -> bytes:
    message = json.loads(PAYLOAD)
    message["envelope"] |= envelope
    return json.dumps(message).encode()


def test_a_message_of_a_node_is_taken() -> None:
    found = take(TOPIC, PAYLOAD, 1, 7)
    assert isinstance(found, Taken)
    assert (found.key, found.tail, found.received) == (("city/stop-1", "e" * 32, 1), "event/presence", 7)
    assert isinstance(found.message.body, Presence)


def test_an_empty_message_ends_an_alarm_and_nothing_else() -> None:
    assert take("lykta/v1/city/stop-1/alarm/help", b"", 1, 7) == Cleared("city/stop-1", "help", 7)
    assert cause("lykta/v1/city/stop-1/state", b"") == "empty"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "lykta/v1",
        "lykta/v2/city/stop-1/state",
        "lykta/v1/City/stop-1/state",
        "lykta/v1/city/stop_1/state",
        "lykta/v1/city//state",
        "lykta/v1/city/stop-1/",
        "lykta/v1/city/stop-1/a\x00b",
        "lykta/v1/city/stop-1\n/state",
        f"lykta/v1/city/{'s' * 65}/state",
        f"lykta/v1/city/stop-1/{'s' * 600}",
        "$SYS/broker/uptime",
        "$share/x/lykta/v1/city/stop-1/state",
    ],
)
def test_a_topic_of_another_form_is_refused(topic: str) -> None:
    assert cause(topic, PAYLOAD) == "topic"


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"{", "not_a_message"),
        (b"\xff\xfe", "not_a_message"),
        (b"null", "not_a_message"),
        (b"[" * 100_000, "not_a_message"),
        (b'{"envelope":' + b"[" * 50 + b"]" * 50 + b"}", "not_a_message"),
        (b" " * 1_000_000, "too_long"),
        (b" " * (LONGEST + 1), "too_long"),
        (changed(v=2), "not_a_message"),
        (changed(more=1), "not_a_message"),
        (changed(t="2026-11-30T00:00:00"), "not_a_message"),
        (changed(t="0001-01-01T00:00:00Z"), "not_a_message"),
        (changed(seq=0), "number"),
        (changed(seq=-1), "number"),
        (changed(seq=1 << 60), "number"),
        (changed(seq=1 << 80), "not_a_message"),
        (changed(epoch=""), "number"),
        (changed(epoch="e\x00"), "number"),
        (changed(epoch="e" * 65), "number"),
        (Talker().say(Alarm("disk", "full", ""))[1], "wrong_topic"),
    ],
)
def test_anything_but_a_message_of_this_topic_is_refused(payload: bytes, why: str) -> None:
    assert cause(TOPIC, payload) == why


def test_qos_0_is_refused_because_nobody_keeps_it() -> None:
    assert cause(TOPIC, PAYLOAD, 0) == "qos"


PIECES = st.sampled_from([PAYLOAD, b"", b"{", b"}", b'"', b"\\ud800", b"\x00", b"1e999", b"-0", PAYLOAD[:100], PAYLOAD[100:]])


@given(st.text(max_size=80), st.lists(PIECES | st.binary(max_size=40), max_size=6), st.integers(0, 2))
def test_no_bytes_make_an_exception(tail: str, pieces: list[bytes], qos: int) -> None:
    for topic in (tail, f"lykta/v1/city/stop-1/{tail}", TOPIC):
        assert isinstance(take(topic, b"".join(pieces), qos, 0), Taken | Cleared | Refusal)

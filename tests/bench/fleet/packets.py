"""The packets of MQTT 5 that a node sends and reads (OASIS MQTT 5.0, section 3). What a broker sends is not checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

CONNACK, PUBLISH, PUBACK = 2, 3, 4
PINGREQ = b"\xc0\x00"
_LEAST_FAILURE = 0x80


class Will(NamedTuple):
    """What the broker publishes, retained, `delay_s` after the connection was lost."""

    topic: str
    payload: bytes
    delay_s: int


class Packet(NamedTuple):
    """kind: its type; flags: the lower four bits of its first byte; body: all after its length."""

    kind: int
    flags: int
    body: bytes


def connect(client_id: str, keepalive_s: int, session_s: int, window: int, will: Will) -> bytes:
    """A connection that goes on with its session. window: messages that the broker may send before one is acknowledged."""
    properties = b"\x11" + session_s.to_bytes(4, "big") + b"\x21" + window.to_bytes(2, "big")
    # Will with QoS 1, retained.
    head = _text("MQTT") + bytes((5, 0b0010_1100)) + keepalive_s.to_bytes(2, "big")
    delay = b"\x18" + will.delay_s.to_bytes(4, "big")
    last = _sized(delay) + _text(will.topic) + len(will.payload).to_bytes(2, "big") + will.payload
    return _packet(0x10, head + _sized(properties) + _text(client_id) + last)


def publish(topic: str, payload: bytes, token: int, *, retain: bool) -> bytes:
    """With QoS 1."""
    return _packet(0x32 | retain, _text(topic) + token.to_bytes(2, "big") + b"\x00" + payload)


def subscribe(topics: tuple[str, ...], token: int) -> bytes:
    """With QoS 1."""
    return _packet(0x82, token.to_bytes(2, "big") + b"\x00" + b"".join(_text(topic) + b"\x01" for topic in topics))


def puback(publication: bytes) -> bytes:
    """The answer to the body of a PUBLISH with QoS 1."""
    at = 2 + int.from_bytes(publication[:2], "big")
    return b"\x40\x02" + publication[at : at + 2]


def answer(body: bytes) -> tuple[int, bool]:
    """Token of a PUBACK, and whether the broker refused the message."""
    return int.from_bytes(body[:2], "big"), len(body) > 2 and body[2] >= _LEAST_FAILURE


def accepted(body: bytes) -> bool:
    """Whether a CONNACK accepts the connection."""
    return body[1] < _LEAST_FAILURE


def packets(data: bytearray) -> Iterator[Packet]:
    """The whole packets at the beginning of the buffer, which are taken from it."""
    while (found := _length(data)) is not None:
        begin, length = found
        if len(data) < begin + length:
            return
        packet = Packet(data[0] >> 4, data[0] & 15, bytes(data[begin : begin + length]))
        del data[: begin + length]
        yield packet


def _length(data: bytearray) -> tuple[int, int] | None:
    """Where the body begins, and its length; None if the length is not whole."""
    value = 0
    for at, byte in enumerate(data[1:5]):
        value |= (byte & 0x7F) << 7 * at
        if not byte & 0x80:
            return at + 2, value
    return None


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + _sized(body)


def _sized(body: bytes) -> bytes:
    """The body after its length, a variable byte integer (section 1.5.5)."""
    length, left = bytearray(), len(body)
    while True:
        left, byte = left >> 7, left & 0x7F
        length.append(byte | 0x80 if left else byte)
        if not left:
            return bytes(length) + body


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data

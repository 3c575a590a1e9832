"""A broker that says what a test wants, in raw MQTT v5 over mutual TLS: only for what mosquitto cannot be brought to say."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.broker import Centre, free_port

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 1, 2, 3, 4, 8, 9, 12, 13, 14


@dataclass(frozen=True)
class Packet:
    """One packet from the client. topic, payload, mid, retain: of a publish with QoS 1."""

    kind: int
    flags: int
    body: bytes

    @property
    def topic(self) -> str:
        return self.body[2 : 2 + struct.unpack("!H", self.body[:2])[0]].decode()

    @property
    def mid(self) -> bytes:
        at = 2 + len(self.topic.encode())
        return self.body[at : at + 2]

    @property
    def retain(self) -> bool:
        return bool(self.flags & 1)


class Talk:
    """One connection, as the broker has it. number: 1 for the first; heard: what all connections sent, as far as scripts say it."""

    def __init__(self, line: ssl.SSLSocket, number: int, heard: list[Packet]) -> None:
        self._line, self.number, self.heard = line, number, heard

    def serve(self, properties: bytes = b"") -> None:
        """Let the client in and do all it asks, for ever."""
        self.let_in(properties)
        self.attend()

    def attend(self) -> None:
        """Do all it asks, for ever."""
        while True:
            got = self.packet()
            self.heard.append(got)
            self.answer(got)

    def let_in(self, properties: bytes = b"") -> None:
        self.heard.append(self.packet())
        self.connack(0, properties)

    def send(self, data: bytes) -> None:
        self._line.sendall(data)

    def packet(self) -> Packet:
        """The next packet; `EOFError` at the end of the line."""
        first = self._read(1)[0]
        length = shift = 0
        while True:
            byte = self._read(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                break
        return Packet(first >> 4, first & 15, self._read(length))

    def connack(self, code: int = 0, properties: bytes = b"") -> None:
        self.send(packet(CONNACK, 0, bytes([0, code]) + length_of(properties) + properties))

    def answer(self, got: Packet) -> None:
        """As a broker does that is well."""
        if got.kind == PUBLISH:
            self.send(packet(PUBACK, 0, got.mid))
        elif got.kind == SUBSCRIBE:
            self.send(packet(SUBACK, 0, got.body[:2] + b"\0\1"))
        elif got.kind == PINGREQ:
            self.send(packet(PINGRESP, 0, b""))

    def refuse(self, got: Packet, code: int) -> None:
        """Answer a request to subscribe to one topic with a reason code."""
        self.send(packet(SUBACK, 0, got.body[:2] + bytes([0, code])))

    def disconnect(self, code: int) -> None:
        self.send(packet(DISCONNECT, 0, bytes([code, 0])))

    def publish(self, topic: bytes, payload: bytes, properties: bytes = b"") -> None:
        """With QoS 0."""
        self.send(packet(PUBLISH, 0, struct.pack("!H", len(topic)) + topic + length_of(properties) + properties + payload))

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._line.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data


@dataclass
class FakeBroker:
    """script: what it does with each connection, from the first byte after TLS; the line is closed when it returns."""

    centre: Centre
    script: Callable[[Talk], None]
    port: int = field(default_factory=free_port)
    begun_s: list[float] = field(default_factory=list)
    heard: list[Packet] = field(default_factory=list)

    def __enter__(self) -> FakeBroker:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.centre.ca))
        self._context.load_cert_chain(str(self.centre.folder / "broker.pem"), str(self.centre.folder / "broker.key"))
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                raw, _ = self._server.accept()
                threading.Thread(target=self._talk, args=(raw,), daemon=True).start()

    def _talk(self, raw: socket.socket) -> None:
        with suppress(OSError, EOFError), self._context.wrap_socket(raw, server_side=True) as line:
            self.begun_s.append(time.monotonic())
            self.script(Talk(line, len(self.begun_s), self.heard))

    def topics(self) -> list[str]:
        """Where the client published, without site and node."""
        return [one.topic.split("/", 4)[4] for one in list(self.heard) if one.kind == PUBLISH]


def packet(kind: int, flags: int, body: bytes) -> bytes:
    return bytes([kind << 4 | flags]) + length_of(body) + body


def length_of(body: bytes) -> bytes:
    return encoded(len(body))


def encoded(number: int) -> bytes:
    """A variable byte integer."""
    data = b""
    while True:
        number, rest = divmod(number, 128)
        data += bytes([rest | (128 if number else 0)])
        if not number:
            return data


def text_property(identifier: int, text: str) -> bytes:
    return bytes([identifier]) + struct.pack("!H", len(text)) + text.encode()

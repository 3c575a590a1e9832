"""Limits the packets from a broker before paho parses them: paho itself accepts a packet of any length.

A broker may ignore the Maximum Packet Size that the client announces, and the server at that port may not be a broker.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from drivers.mqtt.disconnect_causes import cause_of_disconnect, cause_of_failure, cause_of_refusal
from privacy.foreign import LONGEST

MOST_PACKET = LONGEST + 8 * 1024
"""Bytes of a packet to the node, at most: a signed record or order with its topic and properties."""
_HANDSHAKE_S = 8.0
_CONNACK, _PUBLISH, _DISCONNECT = 2, 3, 14
_ABOVE_QOS_1 = 0b100
"""The bit in the first byte of a PUBLISH that is set for QoS 2 (and for 3, which is not valid)."""
_REASON_AT = {_CONNACK: 1, _DISCONNECT: 0}
_MOST_SHIFT = 21


@dataclass(frozen=True)
class Credentials:
    """Files for mutual TLS."""

    ca: Path
    certificate: Path
    key: Path


class LineError(OSError):
    """The connection cannot continue. cause: a stable code."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Packets:
    """Checks the packets of one connection: the first must be a CONNACK, and none may be longer than `MOST_PACKET`."""

    def __init__(self) -> None:
        self._length = self._shift = self._left = self._kind = 0
        self._in_length, self._begun = False, False
        self.reason: tuple[int, int] | None = None
        """Type and reason code of the last CONNACK or DISCONNECT. Read here because paho fails on codes that it does not know."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the connection; `LineError` at the first one that is not allowed."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._note_reason(data[at : at + step])
                self._left, at = self._left - step, at + step
                continue
            if self._in_length:
                self._read_length(data[at])
            else:
                self._read_type(data[at])
            at += 1

    def _note_reason(self, part: bytes) -> None:
        """Note the reason code: the second byte of a CONNACK, the first of a DISCONNECT (`_REASON_AT`)."""
        at = _REASON_AT.get(self._kind, -1) - (self._length - self._left)
        if 0 <= at < len(part):
            self.reason = (self._kind, part[at])

    def _read_type(self, byte: int) -> None:
        if not self._begun and byte >> 4 != _CONNACK:
            raise LineError("not_mqtt")
        if byte >> 4 == _PUBLISH and byte & _ABOVE_QOS_1:
            # The client subscribes with QoS 1 at most, and paho would hold each QoS 2 message until the broker releases it.
            raise LineError("broker_garbled")
        self._begun, self._in_length, self._length, self._shift, self._kind = True, True, 0, 0, byte >> 4

    def _read_length(self, byte: int) -> None:
        self._length |= (byte & 0x7F) << self._shift
        if byte & 0x80:
            self._shift += 7
            if self._shift > _MOST_SHIFT:
                raise LineError("not_mqtt")
            return
        if 1 + self._shift // 7 + 1 + self._length > MOST_PACKET:
            raise LineError("packet_too_large")
        self._in_length, self._left = False, self._length


class Line(ssl.SSLSocket):
    """paho's socket, with the limits. broken: stable code of why the connection cannot continue; "" as long as it can."""

    broken = ""
    _packets: Packets | None = None

    @property
    def reported_cause(self) -> str:
        """The stable code of the broker's last refusal or DISCONNECT; "" if there was none."""
        kind, code = (self._packets and self._packets.reason) or (0, 0)
        if not code:
            return ""
        return cause_of_refusal(code) if kind == _CONNACK else cause_of_disconnect(code)

    def do_handshake(self, block: bool = False) -> None:
        """With a time limit of its own: paho uses the keep-alive as the limit, which a broker may set to 0."""
        self.settimeout(_HANDSHAKE_S)
        super().do_handshake(block)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        self._packets = self._packets or Packets()
        try:
            data = super().recv(buflen, flags)
            self._packets.feed(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except LineError as problem:
            self.broken = problem.cause
            raise
        except ssl.SSLError as problem:
            self.broken = cause_of_failure(problem)
            raise
        return data


def context_of(credentials: Credentials, line: type[ssl.SSLSocket] = ssl.SSLSocket) -> ssl.SSLContext:
    """TLS with the client's certificate. line: the class of the sockets."""
    context = ssl.create_default_context(cafile=str(credentials.ca))
    context.load_cert_chain(str(credentials.certificate), str(credentials.key))
    context.sslsocket_class = line
    return context


def diagnose(host: str, port: int, credentials: Credentials, wait_s: float = 5.0) -> str:
    """Why a connection fails, as a stable code: broker_unreachable, broker_not_trusted, certificate_refused …; "" if TLS works.

    For a connection that ended without a reason. Makes a TLS connection and only reads: data sent by the client could keep the
    broker's alert from arriving. wait_s: seconds to connect.
    """
    try:
        raw = socket.create_connection((host, port), wait_s)
        with raw, context_of(credentials).wrap_socket(raw, server_hostname=host) as line:
            return _refusal(line)
    except OSError as problem:
        return cause_of_failure(problem)


def _refusal(line: ssl.SSLSocket) -> str:
    """With TLS 1.3 a refused client certificate shows only at the first read; a broker that accepts it sends nothing."""
    line.settimeout(0.5)
    try:
        line.recv(1)
    except ssl.SSLError:
        raise
    except OSError:
        return ""
    return ""

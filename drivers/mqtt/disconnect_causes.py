"""A broker's limits, and the causes of a missing connection as stable codes (MQTT v5, sections 2.4 and 3.2.2.3; TLS)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limits:
    """The broker's limits, from its CONNACK.

    window   messages in flight
    packet   bytes of a packet; None: no limit
    retain   whether it supports retained messages
    """

    window: int = 65_535
    packet: int | None = None
    retain: bool = True


_CODES = {
    0x81: "broker_finds_packet_malformed",
    0x82: "broker_finds_protocol_error",
    0x84: "broker_version",
    0x85: "client_id_refused",
    0x86: "not_authorized",
    0x87: "not_authorized",
    0x88: "broker_unavailable",
    0x89: "broker_busy",
    0x8A: "banned",
    0x8B: "broker_shuts_down",
    0x8C: "not_authorized",
    0x8D: "broker_silent",
    0x8E: "session_taken_over",
    0x8F: "topic_refused",
    0x90: "topic_refused",
    0x93: "receive_maximum_exceeded",
    0x94: "topic_refused",
    0x95: "message_too_large",
    0x96: "message_rate",
    0x97: "quota_exceeded",
    0x98: "broker_ends_session",
    0x99: "payload_refused",
    0x9A: "retain_unavailable",
    0x9B: "qos_unavailable",
    0x9C: "use_another_server",
    0x9D: "use_another_server",
    0x9E: "subscription_refused",
    0x9F: "connection_rate",
    0xA0: "connection_time",
    0xA1: "subscription_refused",
    0xA2: "subscription_refused",
}
NOT_OF_A_MESSAGE = frozenset(
    {
        *("broker_unavailable", "broker_busy", "broker_shuts_down", "broker_silent", "session_taken_over", "broker_ends_session"),
        *("use_another_server", "connection_rate", "connection_time", "broker_unreachable", "certificate_refused", "banned"),
    }
)
"""Causes that are not the fault of a message in flight."""
_CERTIFICATE = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "DECRYPT_ERROR")


def cause_of_refusal(code: int) -> str:
    """The stable code for the reason code of a CONNACK that refuses the connection."""
    return _CODES.get(code, "broker_refuses")


def cause_of_disconnect(code: int) -> str:
    """The stable code for the reason code of the broker's DISCONNECT."""
    return _CODES.get(code, "broker_disconnects")


def cause_of_failure(problem: OSError) -> str:
    """The stable code for a connection that could not be made, or whose TLS failed. `certificate_refused` only for a TLS alert
    about the client's certificate."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return "broker_not_trusted"
    if isinstance(problem, ssl.SSLError) and not isinstance(problem, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        reason = problem.reason or ""
        return "certificate_refused" if "ALERT" in reason and any(word in reason for word in _CERTIFICATE) else "broker_not_tls"
    return "broker_unreachable"


def limits_of(properties: Any) -> Limits:
    """The limits in a CONNACK that accepts the connection."""
    return Limits(
        getattr(properties, "ReceiveMaximum", 65_535),
        getattr(properties, "MaximumPacketSize", None),
        bool(getattr(properties, "RetainAvailable", 1)),
    )


def text_of(reason: object, properties: Any) -> str:
    """The broker's reason, its reason string, and the other server that it refers to; the client only reports that server."""
    parts = [str(reason), getattr(properties, "ReasonString", ""), getattr(properties, "ServerReference", "")]
    return ": ".join(part for part in parts if part)

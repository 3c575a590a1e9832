"""The link to the broker: MQTT v5 over mutual TLS, through paho-mqtt.

paho keeps no queue of ours: it is handed only what may be in flight, and the outbox lets go when the broker acknowledged.
The session outlives a short loss of the link and the will waits, so that a quick reconnect never shows as `lost`.
"""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from privacy.errors import UnreachableError

WILL_DELAY_S = 30
SESSION_S = 3600
_KEEPALIVE_S = 20


@dataclass(frozen=True)
class Credentials:
    """Files for mutual TLS."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Will:
    topic: str
    payload: bytes


class Link:
    """One client. Callbacks come from the link's own thread, under paho's locks: they must wait for nothing.

    What was handed over and not acknowledged is sent again, with its token, on the next connection of this process.

    acknowledged  called with the token of each publish that the broker has answered, and why it refused it ("" if it did not)
    changed       called with (connected, reason) whenever the link comes or goes
    received      called with (topic, payload) of subscribed messages
    """

    def __init__(
        self,
        client_id: str,
        credentials: Credentials,
        *,
        acknowledged: Callable[[int, str], None],
        changed: Callable[[bool, str], None],
        received: Callable[[str, bytes], None],
        subscribe: tuple[str, ...] = (),
        will: Will | None = None,
    ) -> None:
        self._acknowledged, self._changed, self._received, self._subscribe = acknowledged, changed, received, subscribe
        self._client = client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5)
        client.tls_set_context(_context(credentials))
        # Pauses double from one to the other; each node has its own, so that a fleet does not come back in step.
        client.reconnect_delay_set(random.uniform(0.5, 1.5), random.uniform(40, 60))  # type: ignore[arg-type]
        client.max_inflight_messages_set(0)
        client.on_connect, client.on_disconnect, client.on_connect_fail = self._on_connect, self._on_disconnect, self._on_fail
        client.on_publish, client.on_message = self._on_publish, self._on_message
        if will:
            waits = _properties(PacketTypes.WILLMESSAGE, WillDelayInterval=WILL_DELAY_S)
            client.will_set(will.topic, will.payload, qos=1, retain=True, properties=waits)

    def open(self, host: str, port: int) -> None:
        """Connect, and go on trying for ever with growing pauses."""
        properties = _properties(PacketTypes.CONNECT, SessionExpiryInterval=SESSION_S)
        self._client.connect_async(host, port, _KEEPALIVE_S, clean_start=False, properties=properties)
        self._client.loop_start()

    def reopen(self, host: str, port: int) -> None:
        """Drop the connection and begin anew, name and pauses too. Waits for an attempt under way."""
        self.close()
        self.open(host, port)

    def publish(self, topic: str, payload: bytes, *, retain: bool, expiry_s: int | None = None) -> int:
        """Hand over one message with QoS 1; its token."""
        expiry = {} if expiry_s is None else {"MessageExpiryInterval": expiry_s}
        properties = _properties(PacketTypes.PUBLISH, **expiry)
        return int(self._client.publish(topic, payload, qos=1, retain=retain, properties=properties).mid)

    def close(self, *, with_will: bool = False) -> None:
        """Leave in order: the broker then does not send the will, unless asked to."""
        leave = "Disconnect with will message" if with_will else "Normal disconnection"
        self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, leave))
        self._client.loop_stop()

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._changed(False, f"refused: {reason}")
            return
        for topic in self._subscribe:
            client.subscribe(topic, qos=1)
        self._changed(True, "connected")

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._changed(False, f"disconnected: {reason}")

    def _on_fail(self, _client: Client, _data: Any) -> None:
        self._changed(False, "unreachable")

    def _on_publish(self, _client: Client, _data: Any, token: int, reason: Any, _properties: Any) -> None:
        self._acknowledged(token, str(reason) if reason.is_failure else "")

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._received(message.topic, bytes(message.payload))


def diagnose(host: str, port: int, credentials: Credentials, wait_s: float = 5.0) -> str:
    """Why there is no link, as a stable code: broker_unreachable, broker_not_trusted, certificate_refused, or "" if TLS works.

    paho does not pass on why a connection failed.
    """
    try:
        raw = socket.create_connection((host, port), wait_s)
        with raw, _context(credentials).wrap_socket(raw, server_hostname=host) as line:
            return _refusal(line)
    except ssl.SSLCertVerificationError:
        return "broker_not_trusted"
    except ssl.SSLError:
        return "certificate_refused"
    except OSError:
        return "broker_unreachable"


def _refusal(line: ssl.SSLSocket) -> str:
    """With TLS 1.3 a refused client certificate shows only at the first read; a broker that is content waits for us."""
    line.settimeout(0.5)
    try:
        line.recv(1)
    except TimeoutError:
        return ""
    return "certificate_refused"


def send_once(
    client_id: str,
    credentials: Credentials,
    address: tuple[str, int],
    topic: str,
    payload: bytes,
    wait_s: float,
    *,
    retain: bool = False,
) -> str:
    """Publish one message and wait for the broker's word; "" if it took it, else what went wrong."""
    up = Event()
    answers: SimpleQueue[str] = SimpleQueue()
    trouble = "no answer"

    def changed(connected: bool, reason: str) -> None:
        nonlocal trouble
        trouble = reason
        if connected:
            up.set()

    link = Link(
        client_id,
        credentials,
        acknowledged=lambda _token, refusal: answers.put(refusal),
        changed=changed,
        received=lambda _topic, _payload: None,
    )
    link.open(*address)
    try:
        if not up.wait(wait_s):
            return trouble
        link.publish(topic, payload, retain=retain)
        return answers.get(timeout=wait_s)
    except Empty:
        return "no answer"
    finally:
        link.close()


def gather(
    client_id: str, credentials: Credentials, address: tuple[str, int], topics: str, wait_s: float, most: int
) -> list[tuple[str, bytes]]:
    """What stands retained at these topics, until nothing more came for `wait_s`; `UnreachableError` if there is no link."""
    up, trouble = Event(), "no answer"

    def changed(connected: bool, reason: str) -> None:
        nonlocal trouble
        trouble = reason
        if connected:
            up.set()

    heard: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
    link = Link(
        client_id,
        credentials,
        acknowledged=lambda _token, _refusal: None,
        changed=changed,
        received=lambda topic, payload: heard.put((topic, payload)),
        subscribe=(topics,),
    )
    link.open(*address)
    found: list[tuple[str, bytes]] = []
    try:
        if not up.wait(wait_s):
            raise UnreachableError(f"broker {address[0]}:{address[1]}: {trouble}", "is it up, and does it trust our certificate?")
        while len(found) < most:
            found.append(heard.get(timeout=wait_s))
    except Empty:
        return found
    finally:
        link.close()
    return found


def _context(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(credentials.ca))
    context.load_cert_chain(str(credentials.certificate), str(credentials.key))
    return context


def _properties(kind: int, **values: int) -> Properties:
    properties = Properties(kind)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties

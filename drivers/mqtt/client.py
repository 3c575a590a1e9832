"""MQTT v5 client over mutual TLS, on paho-mqtt.

paho holds no queue of messages: it is given only as many as may be in flight, and the outbox deletes a message after the broker's
acknowledgement. The session outlasts a short loss of the connection and the will is delayed, so that a quick reconnect is never
published as `lost`.

paho's loop runs in the thread that calls `run`, which records why each connection ended, increases the pause before a reconnect
until a connection was stable, and continues after any packet, however malformed.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from threading import Event, Lock
from typing import Any

from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from drivers.mqtt.client_options import Delivery, Keeping, Will
from drivers.mqtt.disconnect_causes import Limits, cause_of_disconnect, cause_of_failure, cause_of_refusal, limits_of, text_of
from drivers.mqtt.packet_limits import MOST_PACKET, Credentials, Line, context_of, diagnose
from drivers.mqtt.subscriptions import Subscriptions

__all__ = ["Client", "Credentials", "Delivery", "Keeping", "Limits", "Will", "diagnose"]
WILL_DELAY_S = 30
"""The broker publishes the will so many seconds after the connection is lost."""
SESSION_S = 3600
"""The broker keeps the session so many seconds after the connection ended."""
HELD_S = 30.0
"""A connection that lasted so many seconds was stable: the next pause is short again."""
_KEEPALIVE_S = 20
_CONNACK_S = 20.0
_TURN_S = 1.0
_LEAVE_S = 1.0
_RECEIVE_MOST = 32
_LONGEST_DETAIL = 500
_ENDS = {"Keep alive timeout": "broker_silent", "Protocol error": "broker_garbled", "Malformed packet": "broker_garbled"}
"""Stable codes for the errors that paho itself detects, by paho's text."""


class Client:
    """A client that connects and reconnects by itself. The callbacks run in the thread that calls `run`, and must not block; an
    exception in one of them ends it.

    acknowledged  called with the token of each message that the broker has answered, and the reason if it refused it, else ""
    changed       called with (connected, cause) at each connect and disconnect; cause: "connected", or a stable code
    subscribed    called on each connection when the broker has answered all that the client subscribes to, with the topics that it
                  refused, and again when that changes; refused topics are asked for again from time to time
    received      called with (topic, payload) of each message of a subscribed topic
    returned      called at each new connection with the tokens of the messages that were sent before and not acknowledged, and why
                  that connection ended; they are not sent again. None: the client sends them again itself, with the same tokens
    turned        called at least every few seconds while it runs
    keeping       given by a client that confirms messages itself; retained messages are then sent at the first subscription only
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
        returned: Callable[[tuple[int, ...], str], None] | None = None,
        turned: Callable[[], None] = lambda: None,
        subscribed: Callable[[tuple[str, ...]], None] = lambda _refused: None,
        keeping: Keeping | None = None,
    ) -> None:
        self._acknowledged, self._changed, self._received, self._subscribe = acknowledged, changed, received, subscribe
        self._subscribed, self._subscriptions = subscribed, Subscriptions()
        self._returned, self._turned, self._will = returned, turned, will
        self._credentials, self._keeping = credentials, keeping
        self._client = self._paho(client_id, manual_ack=keeping is not None)
        self._set_will(retain=True)
        self._events: deque[Callable[[], None]] = deque()
        self._closing = Event()
        self._ended = Event()
        self._ended.set()
        self._up_since: float | None = None
        self._cause = self._last_cause = self._disconnect_cause = self._line_cause = ""
        self.limits = Limits()
        self.detail = ""
        """The broker's own text about the last refusal or end of a connection; or the topics that it refused, or did not answer."""
        self.trouble = ""
        """A function that this broker refuses to the client, as a stable code; "" if none."""
        self._session_until = 0.0
        self.sessions_lost = 0
        """How often the broker no longer had the session: it lost its store, or another client used the same id."""
        self.session_kept = False
        """Whether the broker had the session of this client when the present connection began."""
        self._connection_number, self._confirming = 0, Lock()
        self.unreadable = 0
        """Number of messages that were dropped because their topic is not valid UTF-8."""

    def _paho(self, client_id: str, *, manual_ack: bool) -> PahoClient:
        client = PahoClient(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5, manual_ack=manual_ack)
        client.tls_set_context(context_of(self._credentials, Line))
        client.max_inflight_messages_set(0)
        client.on_connect, client.on_disconnect, client.on_publish = self._on_connect, self._on_disconnect, self._on_publish
        client.on_message, client.on_subscribe, client.on_socket_close = self._on_message, self._on_subscribe, self._on_close
        # With this callback set, paho writes only in the thread that runs its loop.
        client.on_socket_register_write = lambda *_: None
        return client

    @property
    def held(self) -> bool:
        """Whether the client is connected, and has been for `HELD_S` or longer."""
        since = self._up_since
        return since is not None and time.monotonic() - since >= HELD_S

    def publish(self, topic: str, payload: bytes, *, retain: bool, expiry_s: int | None = None) -> int:
        """Send one message with QoS 1 and return its token. expiry_s: message expiry interval, seconds."""
        expiry = {} if expiry_s is None else {"MessageExpiryInterval": expiry_s}
        properties = _properties(PacketTypes.PUBLISH, **expiry)
        return int(self._client.publish(topic, payload, qos=1, retain=retain and self.limits.retain, properties=properties).mid)

    def disconnect(self, cause: str) -> None:
        """End this connection; the client then makes a new one. cause: stable code that `changed` reports. From any thread."""
        self._disconnect_cause = cause

    def confirm(self, delivery: Delivery) -> None:
        """Acknowledge a message to the broker. Of an earlier connection nothing is sent: the broker sends that message again, and
        its number may now mean another one. From any thread."""
        with self._confirming:
            if delivery.connection == self._connection_number and delivery.qos:
                self._client.ack(delivery.number, delivery.qos)

    def close(self, *, with_will: bool = False) -> None:
        """Disconnect and end `run`. The broker then does not publish the will, unless `with_will`."""
        leave = "Disconnect with will message" if with_will else "Normal disconnection"
        self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, leave))
        self._closing.set()
        self._ended.wait(2 * _LEAVE_S)

    # -- the client's thread -----------------------------------------------------------------------------------------

    def run(self, host: str, port: int) -> None:
        """The body of the client's thread: connect again and again, until `close`. The pause doubles from the shortest to the
        longest; both are random, so that the nodes of a fleet do not reconnect at the same time."""
        shortest, longest = random.uniform(0.5, 1.5), random.uniform(40, 60)
        pause = shortest
        self._ended.clear()
        try:
            while not self._closing.is_set():
                held = self._connection(host, port)
                pause = shortest if held else pause
                self._wait(pause)
                pause = min(2 * pause, longest)
        finally:
            self._ended.set()

    def _connection(self, host: str, port: int) -> bool:
        """One connection from begin to end; whether it lasted for `HELD_S` or longer."""
        self._cause = self._disconnect_cause = self._line_cause = self.detail = self.trouble = ""
        self._subscriptions = Subscriptions()
        self._set_will(retain=self._last_cause != "retain_unavailable")
        kept_s, most = (self._keeping.session_s, self._keeping.most) if self._keeping else (SESSION_S, _RECEIVE_MOST)
        properties = _properties(
            PacketTypes.CONNECT, SessionExpiryInterval=kept_s, MaximumPacketSize=MOST_PACKET, ReceiveMaximum=most
        )
        with self._confirming:
            self._connection_number += 1
        try:
            self._client.connect(host, port, _KEEPALIVE_S, clean_start=False, properties=properties)
        except OSError as problem:
            self._set_cause(cause_of_failure(problem), str(problem))
        else:
            self._serve()
        return self._end(host, port)

    def _serve(self) -> None:
        connack_by = time.monotonic() + _CONNACK_S
        leave_at: float | None = None
        while self._turn():
            if self._give_up(connack_by):
                return
            if self._closing.is_set():
                leave_at = leave_at or time.monotonic() + _LEAVE_S
                if time.monotonic() > leave_at:
                    return

    def _give_up(self, connack_by: float) -> bool:
        """Whether this connection ends now: by `disconnect`, or because an answer of the broker is missing for too long."""
        now = time.monotonic()
        if self._up_since is None and now > connack_by:
            self._set_cause("no_connack")
        elif self._disconnect_cause:
            self._set_cause(self._disconnect_cause)
        elif self._subscriptions.late(now):
            self._set_cause("no_suback", "no answer: " + ", ".join(self._subscriptions.waiting.values()))
        else:
            self._ask_for(self._subscriptions.again(now))
            return False
        return True

    def _turn(self) -> bool:
        """Run paho's loop once; whether the connection continues. A packet that paho cannot parse ends this connection only."""
        try:
            on = self._client.loop(_TURN_S) == MQTTErrorCode.MQTT_ERR_SUCCESS
        except Exception as problem:  # noqa: BLE001 - paho's parser may raise any exception for untrusted bytes
            line = self._client.socket()
            cause = line.reported_cause if isinstance(line, Line) else self._line_cause
            self._set_cause(cause or "broker_garbled", f"{type(problem).__name__}: {problem}")
            on = False
        while self._events:
            self._events.popleft()()
        self._turned()
        return on

    def _end(self, host: str, port: int) -> bool:
        """Close the socket and report why the connection ended; whether it lasted for `HELD_S` or longer."""
        held, was_up = self.held, self._up_since is not None
        line = self._client.socket()
        if line is not None:
            line.close()
        if self._cause in ("", "broker_hung_up") and not was_up and not self._closing.is_set():
            self._cause = diagnose(host, port, self._credentials) or "broker_hung_up"
        if was_up:
            self._session_until = time.monotonic() + SESSION_S
        self._last_cause, self._up_since = "closed" if self._closing.is_set() else self._cause or "broker_hung_up", None
        self._changed(False, self._last_cause)
        return held

    def _wait(self, pause_s: float) -> None:
        end = time.monotonic() + pause_s
        while (left := end - time.monotonic()) > 0 and not self._closing.wait(min(left, _TURN_S)):
            self._turned()

    def _set_cause(self, cause: str, detail: str = "") -> None:
        """Set why this connection ends. Only the first call counts: later errors follow from the first one."""
        if not self._cause:
            self._cause, self.detail = cause, detail[:_LONGEST_DETAIL]

    def _set_will(self, *, retain: bool) -> None:
        if self._will:
            delayed = _properties(PacketTypes.WILLMESSAGE, WillDelayInterval=WILL_DELAY_S)
            self._client.will_set(self._will.topic, self._will.payload, qos=1, retain=retain, properties=delayed)

    # -- paho's callbacks, called within its loop: they queue events, which run after the loop -----------------------

    def _on_connect(self, client: PahoClient, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._set_cause(cause_of_refusal(reason.value), text_of(reason, properties))
            return
        if getattr(properties, "MaximumQoS", 2) == 0:
            self._set_cause("qos_unavailable", "the broker does not support QoS 1")
            self._disconnect_cause = "qos_unavailable"
            return
        self.session_kept = bool(flags.session_present)
        if time.monotonic() < self._session_until and not flags.session_present:
            self.sessions_lost += 1
        self.limits = limits_of(properties)
        self.trouble = "" if self.limits.retain else "retain_unavailable"
        if self._returned:
            # Taken from paho here, because after this callback it would send them again.
            tokens, returned, cause = tuple(message.mid for message in client.drop_out_messages()), self._returned, self._last_cause
            self._events.append(lambda: returned(tokens, cause))
        self._events.append(self._up)

    def _up(self) -> None:
        self._up_since = time.monotonic()
        self._ask_for(self._subscribe)
        self._changed(True, "connected")
        if not self._subscribe:
            self._subscribed(())

    def _ask_for(self, topics: tuple[str, ...]) -> None:
        """One request a topic, so that each refusal has its topic. Without a token the connection has ended already."""
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB if self._keeping else 0)
        for topic in topics:
            token = self._client.subscribe(topic, options=options)[1]
            if token is not None:
                self._subscriptions = self._subscriptions.asked(token, topic, time.monotonic())

    def _on_disconnect(self, _client: PahoClient, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._set_cause(cause_of_disconnect(reason.value), text_of(reason, properties))
        elif not self._closing.is_set():
            self._set_cause(self._line_cause or _ENDS.get(str(reason), "broker_hung_up"))

    def _on_close(self, _client: PahoClient, _data: Any, line: Any) -> None:
        self._line_cause = (line.broken or line.reported_cause) if isinstance(line, Line) else ""

    def _on_publish(self, _client: PahoClient, _data: Any, token: int, reason: Any, _properties: Any) -> None:
        self._events.append(lambda: self._acknowledged(token, str(reason) if reason.is_failure else ""))

    def _on_subscribe(self, _client: PahoClient, _data: Any, token: int, reasons: Any, _properties: Any) -> None:
        self._events.append(lambda: self._subscription_answered(token, tuple(reasons)))

    def _subscription_answered(self, token: int, reasons: tuple[ReasonCode, ...]) -> None:
        before = self._subscriptions
        self._subscriptions = now = before.answered(token, reasons, time.monotonic())
        if now is before or not now.complete:
            return
        self.trouble = "subscription_refused" if now.refused else "" if self.limits.retain else "retain_unavailable"
        self.detail = ", ".join(f"{topic}: {reason}" for topic, reason in now.refused.items())[:_LONGEST_DETAIL]
        self._subscribed(tuple(now.refused))

    def _on_message(self, _client: PahoClient, _data: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self.unreadable += 1
            return
        payload = bytes(message.payload)
        if self._keeping:
            found = Delivery(topic, payload, message.retain, message.qos, self._connection_number, message.mid)
            delivered = self._keeping.delivered
            self._events.append(lambda: delivered(found))
        else:
            self._events.append(lambda: self._received(topic, payload))


def _properties(kind: int, **values: int) -> Properties:
    properties = Properties(kind)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties

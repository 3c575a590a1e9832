"""The link to the broker: MQTT v5 over mutual TLS, through paho-mqtt.

paho keeps no queue of ours: it is handed only what may be in flight, and the outbox lets go when the broker acknowledged.
The session outlives a short loss of the link and the will waits, so that a quick reconnect never shows as `lost`.

The thread that turns paho is ours: it knows why each link ended, waits longer until one has held, and lets no packet, however
it is made, end the thread.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from drivers.mqtt.disconnect_causes import Limits, cause_of_disconnect, cause_of_failure, cause_of_refusal, limits_of, words_of
from drivers.mqtt.packet_limits import MOST_PACKET, Credentials, Line, context_of, diagnose

__all__ = ["Credentials", "Limits", "Link", "Will", "diagnose"]
WILL_DELAY_S = 30
SESSION_S = 3600
HELD_S = 30.0
"""A link that stood as long as this has held: the next pause is a short one again."""
_KEEPALIVE_S = 20
_CONNACK_S = 20.0
_TURN_S = 1.0
_LEAVE_S = 1.0
_RECEIVE_MOST = 32
_ENDS = {"Keep alive timeout": "broker_silent", "Protocol error": "broker_garbled", "Malformed packet": "broker_garbled"}
"""What paho itself finds, in the words of MQTT."""


@dataclass(frozen=True)
class Will:
    topic: str
    payload: bytes


class Link:
    """One client. Callbacks come from the link's own thread: they must wait for nothing. One that fails ends the thread: `failure`.

    acknowledged  called with the token of each publish that the broker has answered, and why it refused it ("" if it did not)
    changed       called with (connected, cause) whenever the link comes or goes; cause: "connected", or a stable code why not
    received      called with (topic, payload) of subscribed messages
    returned      called at each new connection with the tokens of what was handed over before and not acknowledged, and why that
                  link ended: it is not sent again. Without it the link sends that again itself, with its tokens
    turned        called at least each few seconds as long as the thread works
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
    ) -> None:
        self._acknowledged, self._changed, self._received, self._subscribe = acknowledged, changed, received, subscribe
        self._returned, self._turned, self._will = returned, turned, will
        self._credentials = credentials
        self._client = client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5)
        client.tls_set_context(context_of(credentials, Line))
        client.max_inflight_messages_set(0)
        client.on_connect, client.on_disconnect, client.on_publish = self._on_connect, self._on_disconnect, self._on_publish
        client.on_message, client.on_subscribe, client.on_socket_close = self._on_message, self._on_subscribe, self._on_close
        # With this set paho leaves all writing to the thread that turns it.
        client.on_socket_register_write = lambda *_: None
        self._set_will(retain=True)
        self._events: deque[Callable[[], None]] = deque()
        self._closing = Event()
        self._thread: Thread | None = None
        self._up_since: float | None = None
        self._cause = self._last_cause = self._hung_up = self._said = ""
        self.limits = Limits()
        self.detail = ""
        """The broker's own words about the last end of the link, or refusal."""
        self.trouble = ""
        """What the broker of this connection does not do for us, as a stable code; "" if nothing."""
        self._session_until = 0.0
        self.sessions_lost = 0
        """How often the broker did not know us again: it lost its store, or a second client took our name."""
        self.unreadable = 0
        """Messages with a topic that is no text: set aside."""
        self.failure: BaseException | None = None
        """What ended the thread, if anything did."""

    @property
    def held(self) -> bool:
        """Whether the link stands, and has stood long enough to be believed."""
        since = self._up_since
        return since is not None and time.monotonic() - since >= HELD_S

    def open(self, host: str, port: int) -> None:
        """Connect, and go on trying for ever with growing pauses."""
        self._thread = Thread(target=self._run, args=(host, port), name="mqtt", daemon=True)
        self._thread.start()

    def publish(self, topic: str, payload: bytes, *, retain: bool, expiry_s: int | None = None) -> int:
        """Hand over one message with QoS 1; its token."""
        expiry = {} if expiry_s is None else {"MessageExpiryInterval": expiry_s}
        properties = _properties(PacketTypes.PUBLISH, **expiry)
        return int(self._client.publish(topic, payload, qos=1, retain=retain and self.limits.retain, properties=properties).mid)

    def hang_up(self, cause: str) -> None:
        """End this connection and make a new one. From any thread."""
        self._hung_up = cause

    def close(self, *, with_will: bool = False) -> None:
        """Leave in order: the broker then does not send the will, unless asked to."""
        leave = "Disconnect with will message" if with_will else "Normal disconnection"
        self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, leave))
        self._closing.set()
        if self._thread:
            self._thread.join(2 * _LEAVE_S)

    # -- the link's thread -------------------------------------------------------------------------------------------

    def _run(self, host: str, port: int) -> None:
        """Pauses double from one to the other; each node has its own, so that a fleet does not come back in step."""
        shortest, longest = random.uniform(0.5, 1.5), random.uniform(40, 60)
        pause = shortest
        try:
            while not self._closing.is_set():
                held = self._connection(host, port)
                pause = shortest if held else pause
                self._wait(pause)
                pause = min(2 * pause, longest)
        except BaseException as problem:  # noqa: BLE001 - whoever opened the link ends for it
            self.failure = problem

    def _connection(self, host: str, port: int) -> bool:
        """One connection from its begin to its end; whether it held."""
        self._cause = self._hung_up = self._said = self.detail = self.trouble = ""
        self._set_will(retain=self._last_cause != "retain_unavailable")
        properties = _properties(
            PacketTypes.CONNECT, SessionExpiryInterval=SESSION_S, MaximumPacketSize=MOST_PACKET, ReceiveMaximum=_RECEIVE_MOST
        )
        try:
            self._client.connect(host, port, _KEEPALIVE_S, clean_start=False, properties=properties)
        except OSError as problem:
            self._blame(cause_of_failure(problem), str(problem))
        else:
            self._serve()
        return self._end(host, port)

    def _serve(self) -> None:
        late = time.monotonic() + _CONNACK_S
        leave_at: float | None = None
        while self._turn():
            if self._up_since is None and time.monotonic() > late:
                self._blame("no_connack")
                return
            if self._hung_up:
                self._blame(self._hung_up)
                return
            if self._closing.is_set():
                leave_at = leave_at or time.monotonic() + _LEAVE_S
                if time.monotonic() > leave_at:
                    return

    def _turn(self) -> bool:
        """Let paho read and write once; whether the connection goes on. What paho cannot parse ends this connection only."""
        try:
            on = self._client.loop(_TURN_S) == MQTTErrorCode.MQTT_ERR_SUCCESS
        except Exception as problem:  # noqa: BLE001 - bytes of another trust domain in a parser that raises what it likes
            line = self._client.socket()
            said = line.said if isinstance(line, Line) else self._said
            self._blame(said or "broker_garbled", f"{type(problem).__name__}: {problem}")
            on = False
        while self._events:
            self._events.popleft()()
        self._turned()
        return on

    def _end(self, host: str, port: int) -> bool:
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

    def _blame(self, cause: str, detail: str = "") -> None:
        """The first cause is the one; what follows from it is none."""
        if not self._cause:
            self._cause, self.detail = cause, detail[:200]

    def _set_will(self, *, retain: bool) -> None:
        if self._will:
            waits = _properties(PacketTypes.WILLMESSAGE, WillDelayInterval=WILL_DELAY_S)
            self._client.will_set(self._will.topic, self._will.payload, qos=1, retain=retain, properties=waits)

    # -- what paho calls, from within a turn: noted here, acted on after it ------------------------------------------

    def _on_connect(self, client: Client, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._blame(cause_of_refusal(reason.value), words_of(reason, properties))
            return
        if getattr(properties, "MaximumQoS", 2) == 0:
            self._blame("qos_unavailable", "the broker acknowledges nothing")
            self._hung_up = "qos_unavailable"
            return
        if time.monotonic() < self._session_until and not flags.session_present:
            self.sessions_lost += 1
        self.limits = limits_of(properties)
        self.trouble = "" if self.limits.retain else "retain_unavailable"
        if self._returned:
            # Here, before paho sends them again by itself.
            tokens, returned, cause = tuple(message.mid for message in client.drop_out_messages()), self._returned, self._last_cause
            self._events.append(lambda: returned(tokens, cause))
        self._events.append(self._up)

    def _up(self) -> None:
        self._up_since = time.monotonic()
        for topic in self._subscribe:
            self._client.subscribe(topic, qos=1)
        self._changed(True, "connected")

    def _on_disconnect(self, _client: Client, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._blame(cause_of_disconnect(reason.value), words_of(reason, properties))
        elif not self._closing.is_set():
            self._blame(self._said or _ENDS.get(str(reason), "broker_hung_up"))

    def _on_close(self, _client: Client, _data: Any, line: Any) -> None:
        self._said = (line.broken or line.said) if isinstance(line, Line) else ""

    def _on_publish(self, _client: Client, _data: Any, token: int, reason: Any, _properties: Any) -> None:
        self._events.append(lambda: self._acknowledged(token, str(reason) if reason.is_failure else ""))

    def _on_subscribe(self, _client: Client, _data: Any, _token: int, reasons: Any, _properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self.trouble = "subscription_refused"

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self.unreadable += 1
            return
        self._events.append(lambda: self._received(topic, bytes(message.payload)))


def _properties(kind: int, **values: int) -> Properties:
    properties = Properties(kind)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties

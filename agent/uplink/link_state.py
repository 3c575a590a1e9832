"""The state of the link: good, or the cause of the fault. A cause stays until a link has held."""

from __future__ import annotations

import time
from collections import Counter

from drivers.mqtt.client import HELD_S

_CORRECT = "correct the broker's configuration; messages wait in the outbox"
HINTS = {
    "broker_unreachable": "is it up, and is broker.host right? messages wait in the outbox",
    "broker_not_trusted": "its certificate is not of trust/ca.pem, or not for this host name",
    "broker_not_tls": "something answers there that is no TLS server of ours: is broker.port right?",
    "certificate_refused": "the broker refuses tls.pem: is it expired or revoked? messages wait in the outbox",
    "broker_refuses": "TLS is well, the broker does not let us in: correct its configuration; messages wait in the outbox",
    "not_authorized": "the broker knows the certificate and does not let it in: correct its access list",
    "client_id_refused": "the broker takes no client of this name: correct its access list",
    "broker_version": "the broker speaks no MQTT v5: set up one that does",
    "not_mqtt": "something answers there that is no broker: is broker.port right?",
    "broker_garbled": "what the broker sends is no MQTT v5: update it, or look at what stands between",
    "no_connack": "the broker takes the line and does not answer: is it overloaded?",
    "no_suback": "the broker does not answer what the node subscribes to: no order and no command comes; is it overloaded?",
    "no_puback": "the broker takes messages and does not acknowledge them: is its disk full? they are sent again",
    "broker_silent": "the line is dead without an end: look at the modem",
    "broker_hung_up": "see the broker's log; if sessions are lost too, a second client may have this node's name",
    "broker_busy": "the broker has too much to do; it is asked again, more and more slowly",
    "broker_unavailable": "the broker is up and serves nobody; it is asked again, more and more slowly",
    "session_taken_over": "a second client has this node's name and certificate: find it, revoke the certificate",
    "use_another_server": "the broker names another one, which is never followed: set broker.host",
    "message_too_large": "the broker takes smaller messages only: raise its maximum_packet_size",
    "packet_too_large": "the broker sends what nobody of ours signs: who publishes below this node's topics?",
    "retain_unavailable": "the broker keeps no retained messages: who comes later sees no state and no alarm",
    "qos_unavailable": "the broker acknowledges no message, so none is given to it: set up one with QoS 1",
    "subscription_refused": "the broker lets us hear nothing: orders and commands do not come; correct its access list",
    "messages_refused": "correct its access list for this node; what was refused waits in the outbox",
}
"""Hints by cause; one that is missing here is for the broker's operators."""


def hint_of(cause: str) -> str:
    if cause.endswith("_stalled"):
        return "a thread of this service waits for something that does not come; see what else stands in its status"
    return HINTS.get(cause, _CORRECT)


class LinkState:
    """`changed` is for the link's thread; the rest may be called from any."""

    def __init__(self) -> None:
        self._up_since: float | None = None
        self._short = False
        self.cause = ""
        """Why the last link ended, or could not be made; "" before the first attempt has ended."""
        self.breaks: Counter[str] = Counter()
        """Links that ended since the start, by cause."""

    def changed(self, connected: bool, cause: str) -> None:
        now, up_since = time.monotonic(), self._up_since
        if connected:
            self._up_since = now
            return
        if up_since is not None:
            self._short = now - up_since < HELD_S
            self.breaks[cause] += 1
        self.cause, self._up_since = cause, None

    def trouble(self) -> str:
        """The present cause; "" if the link is good, or nothing is known yet."""
        since = self._up_since
        if since is None:
            return self.cause
        return self.cause if self._short and time.monotonic() - since < HELD_S else ""

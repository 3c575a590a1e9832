"""`lykta uplink`: the composition root of the service that has the network. No devices, no keys but TLS and its journal's.

It carries: messages from the outbox to the broker, sealed clips to the ingest, receipts and signed commands, unchanged, to
the service concerned, which verifies them itself.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from threading import Event, Lock
from typing import Any

import msgspec

from agent import health
from agent.control import ask
from agent.messages import Describe, Health, State, decode, encode, topic
from agent.outbox import Outbox, Waiting
from agent.service import Runtime, run_service
from agent.uploader import Uploader
from drivers import board
from drivers.mqtt import Credentials, Link, Will, diagnose
from privacy.errors import LyktaError
from privacy.journal import Journal
from provisioning.identity import load_signer, tls_files
from provisioning.layout import Layout

WINDOW = 20
LATE_S = 60.0
HEALTH_S = 60.0
SILENT_S = 30.0
_POLL_S = 0.1
_SERVICES = ("camera", "io")
# Who obeys a command; anything else is refused here and counted.
_COMMANDS = {"ack": "io"}


def serve(layout: Layout) -> int:
    return run_service("uplink", layout, body)


def body(runtime: Runtime) -> None:
    node, layout = runtime.config.node, runtime.layout
    files = tls_files(layout)
    journal = Journal(layout.journal("uplink"), "uplink", load_signer(layout, "uplink"), runtime.clock.now)
    outbox = Outbox(layout.outbox, node.site, node.id, runtime.clock)
    credentials = Credentials(files.ca, files.certificate, files.key)
    uplink = Uplink(runtime, outbox, credentials)
    uploader = Uploader(runtime, outbox, files)
    journal.append("service_on")
    runtime.spawn("publisher", uplink.publish)
    runtime.spawn("uploader", uploader.run)
    runtime.spawn("health", uplink.tell_health)
    runtime.spawn("link-watch", uplink.watch_link)
    uplink.watch_node()
    uplink.close()
    journal.append("service_off")


class Uplink:
    """Messages and the node's state."""

    def __init__(self, runtime: Runtime, outbox: Outbox, credentials: Credentials) -> None:
        node = runtime.config.node
        self._runtime, self._outbox, self._credentials = runtime, outbox, credentials
        self._prefix = topic(node.site, node.id)
        self._connected = Event()
        self._lock = Lock()
        self._flying: dict[int, int] = {}
        self._last_sent = 0
        self._born = False
        self._state: State | None = None
        self._seen: dict[str, float] = {}
        self._camera_detail: dict[str, Any] = {}
        self._ignored = 0
        self._link = Link(
            f"{node.site}/{node.id}",
            credentials,
            acknowledged=self._acknowledged,
            changed=self._changed,
            received=self._received,
            subscribe=(f"{self._prefix}/cmd/#",),
            will=Will(f"{self._prefix}/state", outbox.will(State("lost", "link_lost", None, None, "ops", {}))),
        )

    # -- the link ----------------------------------------------------------------------------------------------------

    def _changed(self, connected: bool, reason: str) -> None:
        with self._lock:
            # What flew is sent again on the next link: at least once, with the same id.
            self._flying.clear()
            self._last_sent = 0
            self._born = False
        was = self._connected.is_set()
        (self._connected.set if connected else self._connected.clear)()
        if connected or was:
            self._runtime.log("info" if connected else "warning", f"broker: {reason}")

    def watch_link(self) -> None:
        """Say why there is no link; the link itself goes on trying."""
        place, runtime = self._runtime.config.broker, self._runtime
        self._link.open(place.host, place.port)
        told = ""
        while not runtime.stop.wait(1.0):
            trouble = "" if self._connected.is_set() else diagnose(place.host, place.port, self._credentials)
            if self._connected.is_set():
                trouble = ""
                runtime.enter("ready", "connected")
            elif trouble:
                runtime.enter("degraded", trouble, owner="ops")
            if trouble and trouble != told:
                runtime.log("error", f"broker {place.host}:{place.port}: {trouble}", hint=_HINTS[trouble])
            told = trouble
            runtime.report(connected=self._connected.is_set(), pending=self._outbox.pending(), ignored_commands=self._ignored)

    def _received(self, where: str, payload: bytes) -> None:
        """A signed command, handed on as it came."""
        name = where.rsplit("/", 1)[-1]
        service = _COMMANDS.get(name)
        if service is None:
            self._ignored += 1
            self._runtime.log("warning", "command: unknown, ignored", name=name)
            return
        request = {"verb": "command", "name": name, "jws": payload.decode(errors="replace")}
        try:
            ask(self._runtime.layout.socket(service, "uplink"), request)
        except LyktaError as problem:
            self._ignored += 1
            self._runtime.log("warning", f"command {name}: {problem}", hint=problem.hint)

    def close(self) -> None:
        """Say that we stop, let that leave, and go in order so that no will is sent."""
        if self._connected.is_set():
            state = State("stopping", "told_to", self._runtime.clock.now(), None, "nobody", {})
            self._outbox.put(state)
            end = time.monotonic() + 1.0
            while self._outbox.pending() and time.monotonic() < end:
                self._send_waiting()
                time.sleep(0.02)
        self._link.close()
        self._outbox.close()

    # -- messages ----------------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """The publisher's thread: keeps the window full while there is a link."""
        while not self._runtime.stop.is_set():
            if self._connected.wait(_POLL_S):
                self._send_waiting()
                self._runtime.stop.wait(_POLL_S)

    def _send_waiting(self) -> None:
        with self._lock:
            room, after = WINDOW - len(self._flying), self._last_sent
        for waiting in self._outbox.take(after, room) if room > 0 else []:
            self._send(waiting)

    def _send(self, waiting: Waiting) -> None:
        left = self._left(waiting)
        if left is not None and left <= 0:
            self._outbox.delete([waiting.seq])
            return
        payload = _dated(waiting, time.time())
        with self._lock:
            if not self._connected.is_set():
                return
            token = self._link.publish(f"{self._prefix}/{waiting.tail}", payload, retain=waiting.retain, expiry_s=left)
            self._flying[token] = waiting.seq
            self._last_sent = waiting.seq

    def _acknowledged(self, token: int) -> None:
        with self._lock:
            seq = self._flying.pop(token, None)
        if seq is not None:
            self._outbox.delete([seq])

    def _left(self, waiting: Waiting) -> int | None:
        """Seconds until the message is pointless; paho would not count them down."""
        return None if waiting.expiry_s is None else int(waiting.put_ms / 1000 + waiting.expiry_s - time.time())

    # -- the node ----------------------------------------------------------------------------------------------------

    def watch_node(self) -> None:
        """The main thread: each second the state of the node, from its services; a change becomes a message."""
        runtime = self._runtime
        runtime.enter("starting", "connecting")
        runtime.ready()
        while not runtime.stop.is_set():
            state = self._node_state(self._ask_services())
            if state != self._state or (self._connected.is_set() and not self._born):
                birth = [] if self._born or not self._connected.is_set() else [self._describe()]
                self._outbox.put(state, *birth)
                self._state, self._born = state, self._connected.is_set()
            runtime.fed()
            runtime.stop.wait(1.0)

    def _ask_services(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for name in _SERVICES:
            try:
                answer = ask(self._runtime.layout.socket(name, "uplink"), {"verb": "status"})
            except LyktaError:
                continue  # silence is judged by how long it lasts
            found[name] = answer["standing"]
            self._seen[name] = time.monotonic()
            if name == "camera":
                self._camera_detail = answer["detail"]
        return found

    def _node_state(self, found: dict[str, dict[str, Any]]) -> State:
        services = {name: found[name]["state"] if name in found else "silent" for name in _SERVICES}
        services["uplink"] = self._runtime.standing.state
        camera = found.get("camera")
        if camera is None:
            quiet = time.monotonic() - self._seen.setdefault("camera", time.monotonic())
            if quiet < SILENT_S and self._state is not None:
                return msgspec.structs.replace(self._state, services=services)
            name = "blind" if quiet >= SILENT_S else "starting"
            return self._since(State(name, "camera_silent", None, None, "technician", services))  # type: ignore[arg-type]
        state = msgspec.convert({"type": "state", **camera, "services": services}, State)
        if state.state == "ready" and "io" not in found:
            return self._since(State("degraded", "io_silent", None, None, "technician", services))
        return state

    def _since(self, state: State) -> State:
        """Keep the moment at which this state began."""
        old = self._state
        same = old is not None and (old.state, old.reason) == (state.state, state.reason)
        since = old.since if old is not None and same else self._runtime.clock.now()
        return msgspec.structs.replace(state, since=since)

    def _describe(self) -> Describe:
        config = self._runtime.config
        camera = "camera: " + ("picamera2" if config.camera.source == "picamera2" else "video file")
        sensors = (camera, "help button", "help lamp")
        return Describe(board.model(), sensors, f"lykta {version('lykta')}", {"message": 1, "manifest": 1}, tuple(_COMMANDS))

    def tell_health(self) -> None:
        """The health thread: all groups in one write, soon after the start and then each minute."""
        pause = 2.0
        while not self._runtime.stop.wait(pause):
            self._outbox.put(*self._health())
            pause = HEALTH_S

    def _health(self) -> list[Health]:
        outbox, clock = self._outbox, self._runtime.clock
        return [
            *health.of_machine(self._runtime.layout.var),
            *health.of_camera(self._camera_detail),
            health.group("link", {"connected": lambda: int(self._connected.is_set())}),
            health.group("clock", {"trusted": lambda: int(clock.trusted())}),
            health.group("buffer", {"pending": outbox.pending, "dropped": outbox.dropped}),
            health.group("agent", {"uplink_mb": board.own_memory_mb}),
        ]


_HINTS = {
    "broker_unreachable": "is it up, and is broker.host right? messages wait in the outbox",
    "broker_not_trusted": "its certificate is not of trust/ca.pem, or not for this host name",
    "certificate_refused": "the broker refuses tls.pem: is it expired or revoked? messages wait in the outbox",
}


def _dated(waiting: Waiting, now_s: float) -> bytes:
    """The payload, marked as history if it is sent late."""
    if not waiting.payload or now_s - waiting.put_ms / 1000 < LATE_S:
        return waiting.payload
    message = decode(waiting.payload)
    late = msgspec.structs.replace(message.envelope, hist=True)
    return encode(msgspec.structs.replace(message, envelope=late))

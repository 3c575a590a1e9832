"""`lykta uplink`: the composition root of the service that has the network. No devices, no keys but TLS and its journal's.

It carries: messages from the outbox to the broker, sealed clips to the ingest, receipts and signed commands, unchanged, to
the service concerned, which verifies them itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

import msgspec

from agent import health
from agent.control import ask
from agent.messages import Body, Describe, Health, State, decode, encode, topic
from agent.outbox import Outbox, Waiting
from agent.service import Runtime, run_service
from agent.uploader import Uploader
from drivers import board
from drivers.mqtt import Credentials, Link, Will, diagnose
from privacy.errors import LyktaError, StorageError
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
    runtime.answer("carry", uploader.carry, on="ctl")
    journal.append("service_on")
    publisher = runtime.spawn("publisher", uplink.publish)
    runtime.spawn("uploader", uploader.run)
    runtime.spawn("health", uplink.tell_health)
    runtime.spawn("link-watch", uplink.watch_link)
    uplink.watch_node()
    uploader.abort()
    publisher.join()
    uplink.close()
    journal.append("service_off")


class Uplink:
    """Messages and the node's state."""

    def __init__(self, runtime: Runtime, outbox: Outbox, credentials: Credentials) -> None:
        node = runtime.config.node
        self._runtime, self._outbox, self._credentials = runtime, outbox, credentials
        self._prefix = topic(node.site, node.id)
        self._connected, self._failed = Event(), Event()
        self._refusal = ""
        # The publisher's own; the link's thread only leaves the broker's answers in the queue.
        self._answers: SimpleQueue[tuple[int, str]] = SimpleQueue()
        self._flying: dict[int, Waiting] = {}
        self._taken: list[int] = []
        self._last_sent = 0
        self._refused = self._expired = 0
        self._born = False
        self._storage = ""
        self._state: State | None = None
        self._seen: dict[str, float] = {}
        self._camera_detail: dict[str, Any] = {}
        self._ignored = 0
        self._link = Link(
            f"{node.site}/{node.id}",
            credentials,
            acknowledged=lambda token, refusal: self._answers.put((token, refusal)),
            changed=self._changed,
            received=self._received,
            subscribe=(f"{self._prefix}/cmd/#",),
            will=Will(f"{self._prefix}/state", outbox.will(State("lost", "link_lost", None, None, "ops", {}))),
        )

    # -- the link ----------------------------------------------------------------------------------------------------

    def _changed(self, connected: bool, reason: str) -> None:
        was = self._connected.is_set()
        self._refusal = "broker_refuses" if reason.startswith("refused") else ""
        if connected:
            self._born = False
            self._connected.set()
        else:
            self._connected.clear()
            self._failed.set()
        if connected or was:
            self._runtime.log("info" if connected else "warning", f"broker: {reason}")

    def watch_link(self) -> None:
        """Say why there is no link; the link itself goes on trying."""
        place, runtime = self._runtime.config.broker, self._runtime
        self._link.open(place.host, place.port)
        told = ""
        while not runtime.stop.wait(1.0):
            if self._connected.is_set():
                told = ""
                runtime.enter("ready", "connected")
            elif self._failed.is_set():
                # Once for each attempt of the link, so that its growing pauses hold for this one too.
                self._failed.clear()
                told = self._tell_trouble(told)
            counts = {"refused": self._refused, "expired": self._expired, "ignored_commands": self._ignored}
            pending = self._outbox.pending()
            runtime.report(connected=self._connected.is_set(), pending=pending, storage_error=self._storage, **counts)

    def _tell_trouble(self, told: str) -> str:
        """What stands between us and the broker, logged when it is another than the one told before."""
        place, runtime = self._runtime.config.broker, self._runtime
        trouble = diagnose(place.host, place.port, self._credentials) or self._refusal
        if not trouble or self._connected.is_set():
            return told
        runtime.enter("degraded", trouble, owner="ops")
        if trouble != told:
            runtime.log("error", f"broker {place.host}:{place.port}: {trouble}", hint=_HINTS[trouble])
        return trouble

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
        """Say that we stop, let that leave, and go in order so that no will is sent; unless it could not be said."""
        said = False
        if self._connected.is_set():
            said = self._put(State("stopping", "told_to", self._runtime.clock.now(), None, "nobody", {}))
            end = time.monotonic() + 1.0
            while self._outbox.pending() and time.monotonic() < end:
                self._send_waiting()
                self._settle()
        self._link.close(with_will=not said or self._outbox.pending() > 0)
        self._outbox.close()

    # -- messages ----------------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """The publisher's thread: keeps the window full while there is a link."""
        while not self._runtime.stop.is_set():
            if self._connected.is_set():
                self._send_waiting()
            self._settle()

    def _send_waiting(self) -> None:
        room = WINDOW - len(self._flying)
        for waiting in self._outbox.take(self._last_sent, room) if room > 0 else []:
            self._last_sent = waiting.seq
            left = self._left(waiting)
            if left is not None and left <= 0:
                self._expired += 1
                self._taken.append(waiting.seq)
                continue
            where, payload = f"{self._prefix}/{waiting.tail}", _dated(waiting, time.time())
            self._flying[self._link.publish(where, payload, retain=waiting.retain, expiry_s=left)] = waiting

    def _settle(self) -> None:
        """Wait a little for the broker's answers and let go of what it took, many in one write."""
        for token, refusal in _drain(self._answers, _POLL_S):
            waiting = self._flying.pop(token, None)
            if waiting is None:
                continue
            if refusal:
                # It stays in the outbox, for a broker that is set right, and is tried again at the next start.
                self._refused += 1
                self._runtime.log("error", f"broker refuses {waiting.tail}: {refusal}", hint="mend its access list for this node")
            else:
                self._taken.append(waiting.seq)
        if self._taken and self._stored(lambda: self._outbox.delete(self._taken)):
            self._taken.clear()

    def _put(self, *bodies: Body) -> bool:
        return self._stored(lambda: self._outbox.put(*bodies))

    def _stored(self, write: Callable[[], object]) -> bool:
        """Whether the disk took it. A full disk must not end the service whose uploads make room; it is told and tried again."""
        try:
            write()
        except StorageError as problem:
            if not self._storage:
                self._runtime.log("error", str(problem), hint=problem.hint)
            self._storage = str(problem)
            return False
        self._storage = ""
        return True

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
            state, birth = self._node_state(self._ask_services()), self._connected.is_set() and not self._born
            # Through the outbox, not past it: state and events then reach the broker in the order in which they happened.
            if (state != self._state or birth) and self._put(state, *([self._describe()] if birth else [])):
                self._state, self._born = state, self._born or birth
            runtime.fed()
            runtime.stop.wait(1.0)

    def _ask_services(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        detail: dict[str, Any] = {}
        for name in _SERVICES:
            try:
                answer = ask(self._runtime.layout.socket(name, "uplink"), {"verb": "status"})
            except LyktaError:
                continue  # silence is judged by how long it lasts
            found[name] = answer["standing"]
            self._seen[name] = time.monotonic()
            if name == "camera":
                detail = answer["detail"]
        self._camera_detail = detail
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
        if state.state == "ready" and found["io"]["state"] == "degraded":
            return msgspec.convert({"type": "state", **found["io"], "services": services}, State)
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
            self._put(*self._health())
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
    "broker_refuses": "TLS is well, the broker does not let us in: mend its configuration; messages wait in the outbox",
}


def _drain(answers: SimpleQueue[tuple[int, str]], wait_s: float) -> Iterator[tuple[int, str]]:
    """The next answer, waited for a little, and what has come with it."""
    with suppress(Empty):
        yield answers.get(timeout=wait_s)
        while True:
            yield answers.get_nowait()


def _dated(waiting: Waiting, now_s: float) -> bytes:
    """The payload, marked as history if it is sent late."""
    if not waiting.payload or now_s - waiting.put_ms / 1000 < LATE_S:
        return waiting.payload
    message = decode(waiting.payload)
    late = msgspec.structs.replace(message.envelope, hist=True)
    return encode(msgspec.structs.replace(message, envelope=late))

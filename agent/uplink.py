"""`lykta uplink`: the composition root of the service that has the network. No devices, no keys but TLS and its journal's.

It carries: messages from the outbox to the broker, sealed clips to the ingest, receipts and signed commands, unchanged, to
the service concerned, which verifies them itself.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from threading import Event
from typing import Any

import msgspec

from agent import health
from agent.config import fitted
from agent.control import Request, ask
from agent.downlink import COMMANDS, SUBSCRIBED, Downlink
from agent.heads import HeadTeller
from agent.last_word import last, reason
from agent.messages import Describe, Health, State, topic
from agent.outbox import Outbox
from agent.outbox_view import survey
from agent.publisher import Publisher, Storing
from agent.reporting import Reporter, Wishes
from agent.service import Runtime, run_service
from agent.uploader import Uploader
from drivers import board
from drivers.clock import SystemClock
from drivers.mqtt import Credentials, Link, Will, diagnose
from privacy.errors import LyktaError
from privacy.journal import Journal
from provisioning.identity import load_signer, tls_files
from provisioning.layout import Layout

HEALTH_S = 60.0
SILENT_S = 30.0
_SERVICES = ("camera", "io")
_WELL = ("ready", "off", "degraded", "blind", "setup")


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
    # A full disk must not keep down the service whose uploads make room.
    uplink.storing.do(lambda: journal.append("service_on"))
    publisher = runtime.spawn("publisher", uplink.publish)
    runtime.spawn("uploader", uploader.run)
    runtime.spawn("health", uplink.tell_health)
    runtime.spawn("link-watch", uplink.watch_link)
    runtime.spawn("heads", HeadTeller(runtime, journal, uplink.storing).run)
    uplink.watch_node()
    uploader.abort()
    publisher.join()
    uplink.close()
    uplink.storing.do(lambda: journal.append("service_off"))


class Uplink:
    """The link and the node's state."""

    def __init__(self, runtime: Runtime, outbox: Outbox, credentials: Credentials) -> None:
        node = runtime.config.node
        self._runtime, self._outbox, self._credentials = runtime, outbox, credentials
        self._prefix = topic(node.site, node.id)
        self._connected, self._failed = Event(), Event()
        self._refusal = ""
        self.storing = Storing(runtime, outbox)
        self._publisher = Publisher(runtime, outbox, self.storing, self._send)
        self._downlink = Downlink(runtime)
        self._reporter, self._wishes = Reporter(runtime.layout), Wishes(runtime.layout)
        self._writes = health.Writes(lambda: board.written_mb(runtime.layout.var))
        self._edges = health.PowerEdges()
        self._born = False
        self._state: State | None = None
        self._seen: dict[str, float] = {}
        self._camera_detail: dict[str, Any] = {}
        self._well_ms = 0
        self._link = Link(
            f"{node.site}/{node.id}",
            credentials,
            acknowledged=self._publisher.answered,
            changed=self._changed,
            received=lambda where, payload: self._downlink.received(where.removeprefix(f"{self._prefix}/"), payload),
            subscribe=tuple(f"{self._prefix}/{tail}" for tail in SUBSCRIBED),
            will=self._will(),
        )
        runtime.answer("outbox", self._survey, on="ctl")

    def _will(self) -> Will | None:
        """What the broker says of us if we are lost; without room for its number, nothing until the next start."""
        numbered: list[bytes] = []
        lost = State("lost", "link_lost", None, None, "ops", {})
        if not self.storing.do(lambda: numbered.append(self._outbox.will(lost))):
            return None
        return Will(f"{self._prefix}/state", numbered[0])

    def publish(self) -> None:
        """The publisher's thread."""
        self._publisher.run(self._connected)

    def _send(self, tail: str, payload: bytes, *, retain: bool, expiry_s: int | None) -> int:
        return self._link.publish(f"{self._prefix}/{tail}", payload, retain=retain, expiry_s=expiry_s)

    def _survey(self, request: Request) -> Request:
        return survey(self._outbox, request)

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
        self._downlink.start()
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
            publisher = self._publisher
            runtime.report(
                connected=self._connected.is_set(),
                pending=self._outbox.pending(),
                storage_error=self.storing.trouble,
                refused=publisher.refused,
                expired=publisher.expired,
                **self._downlink.ignored,
            )

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

    def close(self) -> None:
        """Say that we stop, let that leave, and go in order so that no will is sent; unless it could not be said."""
        said = False
        if self._connected.is_set():
            stopping = State("stopping", "told_to", self._runtime.clock.now(), None, "nobody", {})
            said = self.storing.put(stopping) and self._publisher.flush(1.0)
        self._link.close(with_will=not said)
        self._outbox.close()

    # -- the node ----------------------------------------------------------------------------------------------------

    def watch_node(self) -> None:
        """The main thread: each second the state of the node, from its services; a change becomes a message."""
        runtime = self._runtime
        runtime.enter("starting", "connecting")
        runtime.ready()
        while not runtime.stop.is_set():
            state, birth = self._node_state(self._ask_services()), self._connected.is_set() and not self._born
            # Through the outbox, not past it: states then reach the broker in the order in which they happened.
            if (state != self._state or birth) and self.storing.put(state, *([self._describe()] if birth else [])):
                self._state, self._born = state, self._born or birth
            if self._born:
                self._report(birth=birth)
            if birth:
                self.storing.do(self._outbox.tell_gone)
            runtime.fed()
            runtime.stop.wait(1.0)

    def _report(self, *, birth: bool) -> None:
        """What is in force, and what became of what the centre desired."""
        news, wishes = self._reporter.news(birth=birth), self._wishes.news(birth=birth)
        if (news or wishes) and self.storing.put(*news, *wishes):
            self._reporter.told(news)
            self._wishes.told(wishes)

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
        word = self._last_word(camera["state"] if camera else "")
        if word:
            return self._since(State("blind", word, None, None, "technician", services))
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

    def _last_word(self, camera: str) -> str:
        """Why there is no camera, if a failure hook left word since it was last well; "" otherwise. camera: its state."""
        if camera in _WELL:
            self._well_ms = self._runtime.clock.mono_ms()
        for unit in ("data", "camera"):
            word = last(self._runtime.layout, unit)
            # A camera that answers has been started again: only one that fails again and again is still what the word says.
            if word and word.t_ms > self._well_ms and not (camera and word.final) and (code := reason(unit, word)):
                return code
        return ""

    def _since(self, state: State) -> State:
        """Keep the moment at which this state began."""
        old = self._state
        same = old is not None and (old.state, old.reason) == (state.state, state.reason)
        since = old.since if old is not None and same else self._runtime.clock.now()
        return msgspec.structs.replace(state, since=since)

    def _describe(self) -> Describe:
        config = self._runtime.config
        camera = "camera: " + ("picamera2" if config.camera.source == "picamera2" else "video file")
        sensors = (camera, *fitted(config.pins))
        software, schemas = f"lykta {version('lykta')}", {"message": 1, "manifest": 1}
        return Describe(board.model(), _serial(), sensors, software, schemas, tuple(COMMANDS))

    def tell_health(self) -> None:
        """The health thread: all groups in one write, soon after the start and then each minute; and what was dropped since."""
        pause = 2.0
        while not self._runtime.stop.wait(pause):
            self.storing.put(*self._health())
            if self._connected.is_set():
                self.storing.do(self._outbox.tell_gone)
            pause = HEALTH_S

    def _health(self) -> list[Health]:
        outbox, clock = self._outbox, self._runtime.clock
        return [
            *health.of_machine(self._runtime.layout.var, self._writes, self._edges),
            *health.of_camera(self._camera_detail),
            health.group("link", {"connected": lambda: int(self._connected.is_set())}),
            health.group("clock", {"trusted": lambda: int(clock.trusted()), "sync_age_s": lambda: _sync_age_s(clock)}),
            health.of_outbox(outbox),
            health.group("agent", {"uplink_mb": board.own_memory_mb}),
        ]


def _serial() -> str:
    try:
        return board.serial()
    except OSError:  # no Pi
        return ""


def _sync_age_s(clock: SystemClock) -> int:
    age = clock.sync_age_s()
    if age is None:
        raise ValueError("no synchronisation in this boot")
    return round(age)


_HINTS = {
    "broker_unreachable": "is it up, and is broker.host right? messages wait in the outbox",
    "broker_not_trusted": "its certificate is not of trust/ca.pem, or not for this host name",
    "certificate_refused": "the broker refuses tls.pem: is it expired or revoked? messages wait in the outbox",
    "broker_refuses": "TLS is well, the broker does not let us in: mend its configuration; messages wait in the outbox",
}

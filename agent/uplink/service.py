"""`lykta uplink`: the composition root of the service with network access. No devices, no keys but for TLS and its journal.

It sends messages from the outbox to the broker and sealed clips to the ingest, and passes receipts and signed commands
unchanged to the service concerned, which verifies them itself.
"""

from __future__ import annotations

from importlib.metadata import version
from threading import Event

from agent.messages import Describe, Health, State, topic
from agent.outbox.outbox import Outbox
from agent.outbox.telling import Telling
from agent.runtime.config import fitted
from agent.runtime.requests import Carry, ShowMessage, SurveyOutboxes
from agent.runtime.rescue_log import RescueReporter
from agent.runtime.service import Runtime, run_service
from agent.runtime.status import UplinkStatus
from agent.uplink import health
from agent.uplink.downlink import SUBSCRIBED, Downlink
from agent.uplink.io_outbox import IoOutbox
from agent.uplink.journal_heads import HeadReporter
from agent.uplink.lanes import Lane, Lanes
from agent.uplink.link_state import LinkState, hint_of
from agent.uplink.node_state import NodeState
from agent.uplink.own_commands import OwnCommands
from agent.uplink.publisher import Publisher
from agent.uplink.reporting import CertificateRequests, Reporter
from agent.uplink.storing import OutboxAccess, OutboxWriter
from agent.uplink.survey import message, survey
from agent.uplink.upload.uploader import Uploader
from agent.uplink.wire import BrokerWire
from drivers import board
from drivers.clock import SystemClock
from drivers.mqtt.client import Client, Credentials, Will
from privacy.records.command_table import all_arguments
from privacy.records.journal import Journal
from provisioning.identity import load_signer, tls_files
from provisioning.layout import Layout

HEALTH_S = 60.0
LINK_STALLED_S = 120.0
"""Time for name resolution, connection and handshake, each of which has a timeout of its own."""


def serve(layout: Layout) -> int:
    return run_service("uplink", layout, run)


def run(runtime: Runtime) -> None:
    node, layout = runtime.config.node, runtime.layout
    files = tls_files(layout)
    journal = Journal(layout.journal("uplink"), "uplink", load_signer(layout, "uplink"), runtime.clock.now, lazy=True)
    # Opened as soon as possible: a file that other users may write or lock must not delay the help button's messages.
    outbox = Outbox(layout.outbox, node.site, node.id, runtime.clock, now=False)
    credentials = Credentials(files.ca, files.certificate, files.key)
    uploader = Uploader(runtime, outbox, files, journal)
    uplink = Uplink(runtime, outbox, credentials, uploader, Telling(outbox, journal, apart=True))
    runtime.answer(Carry, uploader.carry, on="ctl")
    # A full disk must not stop the service whose uploads free space.
    uplink.storing.attempt(lambda: journal.append("service_on"))
    publisher = runtime.spawn("publisher", uplink.publish)
    runtime.spawn("uploader", uploader.run)
    runtime.spawn("health", uplink.tell_health)
    runtime.spawn("link-watch", uplink.watch_link)
    runtime.spawn("heads", HeadReporter(runtime, journal, uplink.storing).run)
    uplink.watch_node()
    uploader.abort()
    publisher.join()
    uplink.close()
    uplink.storing.attempt(lambda: journal.append("service_off"))


class Uplink:
    """The link and the node's state."""

    def __init__(self, runtime: Runtime, outbox: Outbox, credentials: Credentials, uploader: Uploader, telling: Telling) -> None:
        node, self._uploader, self._telling = runtime.config.node, uploader, telling
        self._runtime, self._outbox, self._credentials = runtime, outbox, credentials
        self._prefix = topic(node.site, node.id)
        self._connected, self._state_of_link = Event(), LinkState()
        self._io = IoOutbox(runtime.layout.socket("io", "uplink"), runtime.layout.io_outbox)
        self.storing, self._io_storing = OutboxWriter(runtime, outbox), OutboxAccess(runtime)
        wire = BrokerWire(self._prefix, lambda tail: runtime.log("debug", "sent", topic=tail.partition("/")[0]))
        outboxes = Lanes(Lane(runtime, self._io, self._io_storing), Lane(runtime, outbox, self.storing))
        self._publisher, self._pending = Publisher(runtime, outboxes, self.storing, wire), outboxes.pending
        self._commands = OwnCommands(runtime, telling, uploader, self._rebirth).desk
        self._downlink = Downlink(runtime, self._commands.take)
        self._reporter, self._requests = Reporter(runtime.layout), CertificateRequests(runtime.layout)
        self._rungs = RescueReporter(runtime.layout)
        self._writes = health.Writes(lambda: board.written_mb(runtime.layout.var))
        self._edges = health.PowerEdges()
        self._born = False
        self._node = NodeState(runtime)
        self._link = Client(
            f"{node.site}/{node.id}",
            credentials,
            acknowledged=self._publisher.answered,
            changed=self._changed,
            received=lambda where, payload: self._downlink.received(where.removeprefix(f"{self._prefix}/"), payload),
            subscribe=tuple(f"{self._prefix}/{tail}" for tail in SUBSCRIBED),
            will=self._will(),
            returned=self._publisher.returned,
            turned=lambda: runtime.beat("link", LINK_STALLED_S),
        )
        wire.client = self._link
        runtime.answer(SurveyOutboxes, lambda _asked: survey(self._outboxes), on="ctl")
        runtime.answer(ShowMessage, lambda asked: message(self._outboxes, asked), on="ctl")

    def _will(self) -> Will | None:
        """The MQTT will, sent by the broker if the node is lost; None until the next start if its number cannot be stored."""
        numbered: list[bytes] = []
        lost = State("lost", "link_lost", None, None, "ops", {})
        if not self.storing.attempt(lambda: numbered.append(self._outbox.will(lost))):
            return None
        return Will(f"{self._prefix}/state", numbered[0])

    def publish(self) -> None:
        """The publisher's thread."""
        self._publisher.run(self._connected)

    @property
    def _outboxes(self) -> dict[str, Outbox | IoOutbox]:
        return {"node": self._outbox, "io": self._io}

    # -- the link ----------------------------------------------------------------------------------------------------

    def _changed(self, connected: bool, cause: str) -> None:
        was = self._connected.is_set()
        self._state_of_link.changed(connected, cause)
        if connected:
            self._born = False
            self._connected.set()
        else:
            self._connected.clear()
        if connected or was:
            self._runtime.log("info" if connected else "warning", f"broker: {cause}")

    def _rebirth(self) -> None:
        """As at a new connection: alarms and heads now, the state and the reports with the next look at the node."""
        self._publisher.repeat()
        self._born = False

    def watch_link(self) -> None:
        """Report the state of the link, which reconnects by itself."""
        place, runtime = self._runtime.config.broker, self._runtime
        self._commands.back()
        self._downlink.start()
        self._link.open(place.host, place.port)
        told = ""
        while not runtime.stop.wait(1.0):
            runtime.beat("link-watch", LINK_STALLED_S)
            if self._link.failure:
                raise self._link.failure
            trouble = self._trouble()
            if trouble and trouble != told:
                detail = {"detail": self._link.detail} if self._link.detail else {}
                runtime.log("error", f"broker {place.host}:{place.port}: {trouble}", hint=hint_of(trouble), **detail)
            told = trouble
            if trouble:
                runtime.enter("degraded", trouble, owner="ops")
            elif self._connected.is_set():
                runtime.enter("ready", "connected")
            self._telling.retry()
            self._report_link()

    def _trouble(self) -> str:
        """The fault of the uplink, as a stable code; "" if none, or nothing is known yet."""
        trouble = self._state_of_link.trouble()
        if trouble or not self._connected.is_set():
            return trouble or self._runtime.stalled()
        refused = "messages_refused" if self._publisher.refused else ""
        too_large = "message_too_large" if self._publisher.too_large else ""
        return self._link.trouble or too_large or refused or self._runtime.stalled()

    def _breaks(self) -> dict[str, int]:
        lost = self._link.sessions_lost
        return {**self._state_of_link.breaks, **({"session_lost": lost} if lost else {})}

    def _report_link(self) -> None:
        publisher = self._publisher
        ignored, upload = self._downlink.ignored, self._uploader.facts
        self._runtime.report(
            UplinkStatus(
                connected=self._connected.is_set(),
                pending=self._pending(),
                storage_error=self.storing.trouble,
                refused=publisher.refused,
                expired=publisher.expired,
                too_large=publisher.too_large,
                set_aside=publisher.set_aside,
                unreadable=self._link.unreadable,
                breaks=self._breaks(),
                ignored_commands=ignored.commands,
                ignored_orders=ignored.orders,
                ignored_desired=ignored.desired,
                commands_refused=self._commands.refused,
                events_lost=self._telling.lost,
                orders_lost=upload.orders_lost,
                uploaded=upload.uploaded,
                upload_waiting=upload.upload_waiting,
                upload_error=upload.upload_error,
                diag_dropped=upload.diag_dropped,
                journals_aside=upload.journals_aside,
            )
        )

    def close(self) -> None:
        """Send the state `stopping` and disconnect cleanly, so that no will is sent; if the state was not sent, the will is."""
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
            state, birth = self._node.state(), self._connected.is_set() and not self._born
            # By way of the outbox: states then reach the broker in the order in which they happened.
            if (state != self._node.told or birth) and self.storing.put(state, *([self._describe()] if birth else [])):
                self._node.told, self._born = state, self._born or birth
            if self._born:
                self._report(birth=birth)
            if birth:
                self._tell_gone()
            self._tell_rungs()
            runtime.fed()
            runtime.stop.wait(1.0)

    def _tell_gone(self) -> None:
        self.storing.attempt(self._outbox.tell_gone)
        self._io_storing.attempt(self._io.tell_gone)

    def _tell_rungs(self) -> None:
        """Also without a link: the rescue steps wait in the outbox until it is restored."""
        news = self._rungs.news()
        if news and self.storing.put(*(one.event for one in news)):
            self.storing.attempt(self._rungs.told)

    def _report(self, *, birth: bool) -> None:
        """Report what is in force, and the results for desired records and certificates."""
        news, requests = self._reporter.news(birth=birth), self._requests.news(birth=birth)
        if (news or requests) and self.storing.put(*news, *requests):
            self._reporter.told(news)
            self._requests.told(requests)

    def _describe(self) -> Describe:
        config = self._runtime.config
        camera = "camera: " + ("picamera2" if config.camera.source == "picamera2" else "video file")
        sensors = (camera, *fitted(config.pins))
        software, schemas = f"lykta {version('lykta')}", {"message": 1, "manifest": 1}
        return Describe(board.model(), _serial(), sensors, software, schemas, all_arguments(), self._breaks())

    def tell_health(self) -> None:
        """The health thread: all groups in one write, soon after the start and then each minute; and tombstones."""
        pause = 2.0
        while not self._runtime.stop.wait(pause):
            self._runtime.beat("health", HEALTH_S + LINK_STALLED_S, vital=False)
            self.storing.put(*self._health())
            if self._connected.is_set():
                self._tell_gone()
            pause = HEALTH_S

    def _health(self) -> list[Health]:
        outbox, clock = self._outbox, self._runtime.clock
        numbers = health.numbers_of((*self._node.detail.values(), self._runtime.detail))
        return [
            *health.of_machine(self._runtime.layout.var, self._writes, self._edges),
            *health.of_camera(numbers),
            health.group("link", {}, numbers.get("link")),
            health.group("clock", {"trusted": lambda: int(clock.trusted()), "sync_age_s": lambda: _sync_age_s(clock)}),
            health.of_outbox(outbox, self._io.look, numbers.get("buffer")),
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

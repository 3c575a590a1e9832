"""`lykta uplink`: the composition root of the service with network access. No devices, no keys but for TLS and its journal.

It sends messages from the outbox to the broker and sealed clips to the ingest, and passes receipts and signed commands
unchanged to the service concerned, which verifies them itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from threading import Event
from typing import get_args

from agent.messages import HealthGroup, State, topic
from agent.outbox.outbox import Outbox
from agent.outbox.telling import Telling
from agent.runtime.requests import Carry, ShowMessage, SurveyOutboxes
from agent.runtime.rescue_log import RescueReporter
from agent.runtime.service import Runtime, run_service
from agent.runtime.state_journal import NODE_STATE, StateJournal
from agent.runtime.status import Status, UplinkStatus
from agent.uplink.describing import Describer
from agent.uplink.downlink import SUBSCRIBED, Downlink
from agent.uplink.health.cadence import EVERY_S
from agent.uplink.health.hour import HourTally, sample_of
from agent.uplink.health.reporter import HealthReporter
from agent.uplink.health.trends import ConnectedShare, RoundTrip
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
from agent.uplink.upload.uploader import UPLOAD_STALLED_S, Uploader
from agent.uplink.wire import BrokerWire
from drivers import network
from drivers.mqtt.client import Client, Credentials, Will
from privacy.records.journal import Journal
from provisioning.identity import load_signer, tls_files
from provisioning.layout import Layout

LINK_STALLED_S = 120.0
"""Time for name resolution, connection and handshake, or the outbox's waits for locks, each of which has a timeout of its own."""


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
    telling = Telling(outbox, journal, apart=True)
    uplink = Uplink(runtime, outbox, credentials, uploader, telling)
    runtime.answer(Carry, uploader.carry, on="ctl")
    telling.note("service_on")
    runtime.journal_states(telling.note)
    publisher = runtime.spawn("publisher", uplink.publish, LINK_STALLED_S)
    # Not vital: they wait for the ingest, the camera, the other services.
    runtime.spawn("uploader", uploader.run, UPLOAD_STALLED_S, vital=False)
    runtime.spawn("health", uplink.tell_health, UPLOAD_STALLED_S, vital=False)
    runtime.spawn("heads", HeadReporter(runtime, journal, uplink.storing).run, LINK_STALLED_S, vital=False)
    with uplink.link():
        uplink.watch_node()
    uploader.abort()
    publisher.join()
    uplink.close()
    telling.note("service_off")


class Uplink:
    """The link and the node's state."""

    def __init__(self, runtime: Runtime, outbox: Outbox, credentials: Credentials, uploader: Uploader, telling: Telling) -> None:
        node, self._uploader, self._telling = runtime.config.node, uploader, telling
        self._runtime, self._outbox, self._credentials = runtime, outbox, credentials
        self._prefix = topic(node.site, node.id)
        self._connected, self._state_of_link = Event(), LinkState()
        self._topics_refused: tuple[str, ...] | None = None
        self._ended = "", ""
        self._io = IoOutbox(runtime.layout.socket("io", "uplink"), runtime.layout.io_outbox)
        self.storing, self._io_storing = OutboxWriter(runtime, outbox), OutboxAccess(runtime)
        self._round_trip, self._share, self._hours = RoundTrip(), ConnectedShare(), HourTally()
        self._wire = wire = BrokerWire(
            self._prefix, self._round_trip, lambda tail: runtime.log("debug", "sent", topic=tail.partition("/")[0])
        )
        outboxes = Lanes(Lane(runtime, self._io, self._io_storing), Lane(runtime, outbox, self.storing))
        self._publisher, self._pending = Publisher(runtime, outboxes, self.storing, wire), outboxes.pending
        self._commands = OwnCommands(runtime, telling, uploader, self._rebirth).desk
        self._downlink = Downlink(runtime, self._commands.take)
        intervals = dict.fromkeys(get_args(HealthGroup), int(EVERY_S))
        self._describer = Describer(runtime.layout, runtime.config, self._breaks, intervals)
        self._reporter, self._requests = Reporter(runtime.layout), CertificateRequests(runtime.layout)
        self._rungs = RescueReporter(runtime.layout)
        self._born = False
        self._node = NodeState(runtime)
        self.health = HealthReporter(runtime, outbox, self._io, self.storing, self._statuses, lambda: self._node.told)
        self._node_journal = StateJournal(telling.note, NODE_STATE)
        self._link = Client(
            f"{node.site}/{node.id}",
            credentials,
            acknowledged=self._answered,
            changed=self._changed,
            received=lambda where, payload: self._downlink.received(where.removeprefix(f"{self._prefix}/"), payload),
            subscribe=tuple(f"{self._prefix}/{tail}" for tail in SUBSCRIBED),
            will=self._will(),
            returned=self._publisher.returned,
            turned=runtime.beat,
            subscribed=self._subscribed,
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

    def _answered(self, token: int, refusal: str) -> None:
        self._round_trip.answered(token)
        self._publisher.answered(token, refusal)

    def publish(self) -> None:
        """The publisher's thread."""
        self._publisher.run(self._connected)

    @property
    def _outboxes(self) -> dict[str, Outbox | IoOutbox]:
        return {"node": self._outbox, "io": self._io}

    # -- the link ----------------------------------------------------------------------------------------------------

    def _changed(self, connected: bool, cause: str) -> None:
        was = self._connected.is_set()
        if not connected:
            # The next connection begins with an empty text, and may begin before `_watch_link` looks.
            self._ended = cause, self._link.detail
        self._state_of_link.changed(connected, cause)
        if connected:
            self._born, self._topics_refused = False, None
            self._connected.set()
        else:
            self._connected.clear()
        if connected or was:
            self._runtime.log("info" if connected else "warning", f"broker: {cause}")

    def _subscribed(self, refused: tuple[str, ...]) -> None:
        self._topics_refused = tuple(one.removeprefix(f"{self._prefix}/") for one in refused)

    def _rebirth(self) -> None:
        """As at a new connection: alarms and heads now, the state and the reports with the next look at the node."""
        self._publisher.repeat()
        self._born = False

    @contextmanager
    def link(self) -> Iterator[None]:
        """The link and the threads that take from it; `close` ends it. A failure in the block ends it with the will."""
        place, runtime = self._runtime.config.broker, self._runtime
        self._commands.back()
        self._downlink.start()
        runtime.spawn("link", lambda: self._link.run(place.host, place.port), LINK_STALLED_S)
        runtime.spawn("link-watch", self._watch_link)
        try:
            yield
        except BaseException:
            self._link.close(with_will=True)
            raise

    def _watch_link(self) -> None:
        """Report the state of the link, which reconnects by itself."""
        place, runtime = self._runtime.config.broker, self._runtime
        logged = ""
        while not runtime.stop.wait(1.0):
            runtime.beat()
            trouble = self._trouble()
            if trouble and trouble != logged:
                said = self._link.detail or (self._ended[1] if self._ended[0] == trouble else "")
                detail = {"detail": said} if said else {}
                runtime.log("error", f"broker {place.host}:{place.port}: {trouble}", hint=hint_of(trouble), **detail)
            logged = trouble
            if trouble:
                runtime.enter("degraded", trouble, owner="ops")
            elif self._connected.is_set():
                # Before the broker has granted the subscriptions no order and no command would come; messages are sent.
                runtime.enter(*(("starting", "subscribing") if self._topics_refused is None else ("ready", "connected")))
            self._telling.retry()
            self._report_link()

    def _trouble(self) -> str:
        """The fault of the uplink, as a stable code; "" if none, or nothing is known yet."""
        trouble = self._state_of_link.trouble()
        if trouble or not self._connected.is_set():
            return trouble or self._runtime.stalled()
        refused = "messages_refused" if self._publisher.refused else ""
        too_large = "message_too_large" if self._publisher.too_large else ""
        unanswered = "no_puback" if self._publisher.unanswered else ""
        return self._link.trouble or too_large or refused or unanswered or self._runtime.stalled()

    def _breaks(self) -> dict[str, int]:
        lost = self._link.sessions_lost
        return {**self._state_of_link.breaks, **({"session_lost": lost} if lost else {})}

    def _report_link(self) -> None:
        publisher = self._publisher
        ignored, upload, interface = self._downlink.ignored, self._uploader.facts, network.interface()
        self._runtime.report(
            UplinkStatus(
                connected=self._connected.is_set(),
                pending=self._pending(),
                storage_error=self.storing.trouble,
                refused=publisher.refused,
                expired=publisher.expired,
                too_large=publisher.too_large,
                set_aside=publisher.set_aside,
                unanswered=publisher.unanswered,
                topics_refused=" ".join(self._topics_refused or ()),
                unreadable=self._link.unreadable,
                breaks=self._breaks(),
                interface=interface,
                signal_dbm=network.signal_dbm(interface) if interface else None,
                round_trip_ms=self._round_trip.ms,
                connected_share=self._share.see(self._connected.is_set()),
                sent_mb=megabytes({"mqtt": self._wire.sent_bytes, **upload.sent_bytes}),
                budget_used=upload.budget_used,
                oldest_clip_h=_age_h(upload.oldest_ms, self._runtime.clock.now()),
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
            if (state != self._node.told or birth) and self.storing.put(state):
                self._node.told, self._born = state, self._born or birth
            self._node_journal.see(state.state, state.reason, state.owner, state.until)
            if self._born:
                self._report(birth=birth)
            if birth:
                self._tell_gone()
            self._tell_rungs()
            self._tell_hour(state)
            runtime.fed()
            runtime.stop.wait(1.0)

    def _tell_hour(self, state: State) -> None:
        now = self._runtime.clock.now()
        if (hour := self._hours.see(now, time.monotonic(), sample_of(state, self._node.detail))) is not None:
            self.storing.put(hour)

    def _statuses(self) -> dict[str, Status]:
        """The last statuses of the services that answer, and this one's."""
        return {**self._node.detail, "uplink": self._runtime.present_status()}

    def tell_health(self) -> None:
        """The health thread; and tombstones."""
        self.health.run(lambda: self._tell_gone() if self._connected.is_set() else None)

    def _tell_gone(self) -> None:
        self.storing.attempt(self._outbox.tell_gone)
        self._io_storing.attempt(self._io.tell_gone)

    def _tell_rungs(self) -> None:
        """Also without a link: the rescue steps wait in the outbox until it is restored."""
        steps = self._rungs.due()
        if steps and self.storing.put(*(one.event for one in steps)):
            self.storing.attempt(self._rungs.mark_sent)

    def _report(self, *, birth: bool) -> None:
        """Describe the node, report what is in force and the results for desired records, and ask for certificates."""
        described = self._describer.due(birth=birth)
        reports, requests = self._reporter.due(birth=birth), self._requests.due(birth=birth)
        if (described or reports or requests) and self.storing.put(*described, *reports, *requests):
            self._describer.mark_sent(described)
            self._reporter.mark_sent(reports)
            self._requests.mark_sent(requests)


def megabytes(sent: Mapping[str, int]) -> dict[str, float]:
    return {purpose: round(size / 1e6, 2) for purpose, size in sent.items()}


def _age_h(begun_ms: int | None, now: datetime) -> float | None:
    """Hours since then, ≥ 0: the clock may have been set."""
    return None if begun_ms is None else round(max(0.0, now.timestamp() - begun_ms / 1000) / 3600, 1)

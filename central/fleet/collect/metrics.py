"""What the collector says to Prometheus: counts of its own work, and the state of the fleet.

Of nodes there are counts by state, alarm and cause, and one line for each alarm that stands; nothing that grows with the fleet
while all is well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from central.keys.bundle import Address
from privacy.errors import UsageError

_SECONDS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)


@dataclass(frozen=True)
class Fleet:
    """The fleet at one moment. alarms: node, name and severity of each that stands; missing: numbers not heard, by cause."""

    nodes: Mapping[str, int]
    alarms: Sequence[tuple[str, str, str]]
    missing: Mapping[str, int]
    waiting_calls: int
    rows: int


class Metrics:
    """All of them, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.messages = Counter("lykta_collect_messages", "Messages stored for the first time", ["kind"], registry=own)
        self.duplicates = Counter("lykta_collect_duplicates", "Messages that were stored already", registry=own)
        self.conflicts = Counter("lykta_collect_conflicts", "Messages whose number had another content", registry=own)
        self.refused = Counter("lykta_collect_refused", "Messages dropped, by cause", ["cause"], registry=own)
        self.confirmed = Counter("lykta_collect_confirmed", "Messages confirmed to the broker", registry=own)
        self.delay = Histogram(
            "lykta_collect_delay_seconds",
            "From the node's clock to the commit, if its clock is synced",
            buckets=_SECONDS,
            registry=own,
        )
        self.commit = Histogram("lykta_collect_commit_seconds", "Time of a transaction", buckets=_SECONDS, registry=own)
        self.waiting = Gauge("lykta_collect_waiting", "Messages from the broker that are not stored yet", registry=own)
        self.connected = Gauge("lykta_collect_broker_up", "Whether the broker is connected", registry=own)
        self.sessions_lost = Counter("lykta_collect_sessions_lost", "Connections for which the broker had no session", registry=own)
        self.database = Gauge("lykta_collect_database_up", "Whether the last transaction was possible", registry=own)
        self.database_failures = Counter(
            "lykta_collect_database_failures", "Transactions that failed and are tried again", registry=own
        )
        self.told = Counter("lykta_collect_alarms_told", "Alarms handed on", ["result"], registry=own)
        self.deleted = Counter("lykta_collect_deleted", "Rows deleted at their end", ["table"], registry=own)
        self.nodes = Gauge("lykta_nodes", "Nodes by state", ["state"], registry=own)
        self.alarm = Gauge("lykta_alarm", "1 for each alarm that stands", ["node", "name", "severity"], registry=own)
        self.missing = Gauge("lykta_numbers_missing", "Messages that were not heard, by cause", ["cause"], registry=own)
        self.calls = Gauge("lykta_help_calls_waiting", "Calls for help that nobody has taken", registry=own)
        self.rows = Gauge("lykta_collect_rows", "Messages in the database", registry=own)

    def serve(self, address: Address) -> None:
        """Answer GET /metrics there; `UsageError` if that is not possible. The thread ends with the process."""
        try:
            start_http_server(address.port, address.host, registry=self.registry)
        except OSError as problem:
            raise UsageError(
                f"collect: --metrics: {address.host}:{address.port}: {problem.strerror}", "choose another port"
            ) from problem

    def show(self, fleet: Fleet) -> None:
        """Replace what was said of the fleet."""
        for gauge, found in ((self.nodes, fleet.nodes), (self.missing, fleet.missing)):
            gauge.clear()
            for name, number in found.items():
                gauge.labels(name).set(number)
        self.alarm.clear()
        for labels in fleet.alarms:
            self.alarm.labels(*labels).set(1)
        self.calls.set(fleet.waiting_calls)
        self.rows.set(fleet.rows)

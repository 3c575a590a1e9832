"""The health thread of the uplink: looks at all values often, and sends a group when it is due (`cadence`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from agent.messages import HealthGroup, State
from agent.outbox.outbox import Outbox
from agent.runtime.service import Runtime
from agent.runtime.status import Status
from agent.uplink.health import cadence, readings
from agent.uplink.health.alarm_facts import AlarmWatch
from agent.uplink.health.alarms import UplinkAlarms
from agent.uplink.health.cadence import LOOK_S, Sent
from agent.uplink.health.groups import Groups, collect
from agent.uplink.health.trends import Boots, ClockSteps
from agent.uplink.io_outbox import IoOutbox
from agent.uplink.storing import OutboxWriter

_FIRST_S = 2.0


class HealthReporter:
    """statuses: of the services that answer, by name; this service's own among them. state: of the node, as told last."""

    def __init__(
        self,
        runtime: Runtime,
        outbox: Outbox,
        io: IoOutbox,
        storing: OutboxWriter,
        statuses: Callable[[], Mapping[str, Status]],
        state: Callable[[], State | None],
    ) -> None:
        self._runtime, self._outbox, self._io, self._storing = runtime, outbox, io, storing
        self._statuses, self._state = statuses, state
        layout = runtime.layout
        self._trends = readings.Trends.of(layout.var, Boots(layout.uplink / "boots.json", runtime.clock.boot_id))
        self._steps = ClockSteps()
        self._watch = AlarmWatch(layout, runtime.config, runtime.clock.now)
        self._alarms = UplinkAlarms(layout.uplink / "alarms.json", outbox, storing)
        self._sent: dict[HealthGroup, Sent] = {}
        self._all_s = 0.0

    def run(self, tell_gone: Callable[[], None]) -> None:
        """tell_gone: put tombstones, if the broker is connected; called with each batch of all groups."""
        pause = _FIRST_S
        while not self._runtime.stop.wait(pause):
            self._runtime.beat(LOOK_S)
            pause = LOOK_S
            if self._look(time.monotonic()):
                tell_gone()

    def groups(self) -> Groups:
        """All groups as they are now."""
        clock = self._runtime.clock
        self._steps.look()
        return collect(
            self._statuses(),
            (
                (readings.Machine, readings.of_machine(self._runtime.layout.var, self._trends)),
                (readings.ClockReadings, readings.of_clock(clock, self._steps)),
                (readings.Outboxes, readings.of_outboxes(self._outbox, self._io.look)),
            ),
        )

    def _look(self, now_s: float) -> bool:
        """One look: the alarms, and what is due of the groups, in one write; whether all groups were."""
        groups = self.groups()
        self._alarms.see(self._watch.facts(groups, self._statuses(), self._state()), now_s)
        names = cadence.due(groups, self._sent, now_s, self._all_s)
        messages = {name: groups[name].message(name) for name in names}
        # A value that was not stored counts as not sent: the next look tries again.
        if names and self._storing.put(*messages.values()):
            self._sent |= {name: Sent(now_s, message) for name, message in messages.items()}
            if len(names) == len(groups):
                self._all_s = now_s
                return True
        return False

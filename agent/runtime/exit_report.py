"""How a unit ended: stored in /run by systemd's failure hook, and read by the uplink, which reports it to the centre.

systemd runs the hook at every automatic restart: an unchanged report is stored again, but sent only once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from agent.messages import Failure
from agent.outbox.outbox import Outbox
from agent.runtime.clocks import clock_of
from agent.runtime.config import load
from drivers.clock import SystemClock
from privacy.errors import ConfigError, LyktaError, RecordError, StorageError, UsageError
from privacy.files import PUBLIC, on_disk, place, read
from privacy.foreign import decode
from provisioning.layout import Layout

UNITS = ("camera", "io", "uplink", "retention", "apply", "renew", "link", "setup", "data")
"""The units that have the hook; data is the partition of /var/lib/lykta."""
FINAL = {"2", "5", "7"}
"""RestartPreventExitStatus= of the units."""
_SAME_MS = 600_000
_MANY = 3


class ExitReport(Struct, frozen=True):
    """result, status: as in the message `Failure`. t_ms: since boot. times: how often in a row, at most ten minutes apart."""

    result: str
    status: str
    final: bool
    t_ms: int
    times: int


def leave(layout: Layout, unit: str, environment: Mapping[str, str] = os.environ) -> int:
    """The hook: stores the report and sends it. Returns 0; raises if /run or the outbox refuses."""
    if unit not in UNITS:
        raise UsageError(f"last-word: unit: none of ours (got {unit!r})", f"known: {', '.join(UNITS)}")
    clock = SystemClock("host")
    result = environment.get("MONITOR_SERVICE_RESULT", "failed")
    status = environment.get("MONITOR_EXIT_STATUS", "")
    before = last(layout, unit)
    again = before is not None and (before.result, before.status) == (result, status) and clock.mono_ms() - before.t_ms < _SAME_MS
    times = before.times + 1 if before and again else 1
    report = ExitReport(result, status, result == "exit-code" and status in FINAL, clock.mono_ms(), times)
    path = layout.last_exit / f"{unit}.json"
    with on_disk(f"last-word: {path}", "systemd-tmpfiles --create makes the folder"):
        place(path, msgspec.json.encode(report), mode=PUBLIC)
    if not again:
        _tell(layout, Failure(unit, report.result, report.status, report.final))
    return 0


def last(layout: Layout, unit: str) -> ExitReport | None:
    """The unit's last report; None if it is absent or damaged."""
    try:
        return decode(read(layout.last_exit / f"{unit}.json", "last-word"), ExitReport, "last-word")
    except (OSError, RecordError):
        return None


def reason(unit: str, report: ExitReport) -> str:
    """A stable code for the node's state, "" for a failure that a restart may have cured."""
    if unit == "data":
        return "data_mount_failed"
    if report.final:
        return {"5": "records_or_settings_invalid", "7": "not_enrolled"}.get(report.status, "second_instance")
    if report.times < _MANY:
        return ""
    return f"{unit}_" + {"watchdog": "hangs", "signal": "crashes", "core-dump": "crashes"}.get(report.result, "fails")


def _tell(layout: Layout, failure: Failure) -> None:
    """Put the failure into the outbox; if that is not possible, only the report in /run remains."""
    try:
        config = load(layout.config)
        outbox = Outbox(layout.outbox, config.node.site, config.node.id, clock_of(layout, config, ()))
        outbox.put(failure)
        outbox.close()
    except ConfigError:
        return  # site and node are not known; the unit's own error names the field
    except LyktaError as problem:
        number = getattr(problem, "errno", None)
        raise StorageError(
            f"last-word: {failure.unit}: not in the outbox: {problem}", "it stands in /run/lykta/last", number
        ) from problem

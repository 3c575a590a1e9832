"""How often systemd may start `lykta apply`: whoever has the uplink's folder could else have root start Python all day.

The pause is part of the run: a path unit starts nothing that still runs, and a stop of the system ends it at once.
"""

from __future__ import annotations

import time

import msgspec
from msgspec import Struct

from privacy.errors import RecordError
from privacy.files import PUBLIC, place, read
from privacy.foreign import decode
from provisioning.layout import Layout

AT_ONCE = 4
SHORTEST_S, LONGEST_S = 2.0, 300.0
FORGOTTEN_S = 3600.0
UNNOTED_S = 30.0
"""Where the disk refuses the note, each run is as long as this."""


class ApplyRate(Struct, frozen=True):
    """How many runs in a row changed nothing, and when the last of them began (seconds since 1970)."""

    useless: int = 0
    at_s: float = 0.0

    def after(self, now_s: float, *, useful: bool) -> ApplyRate:
        """Another one at `now_s`. A clock that was set, either way, forgets what was before."""
        if useful:
            return ApplyRate()
        return ApplyRate(1 if abs(now_s - self.at_s) > FORGOTTEN_S else self.useless + 1, now_s)

    @property
    def pause_s(self) -> float:
        """The first few come as they come."""
        return 0.0 if self.useless < AT_ONCE else min(LONGEST_S, SHORTEST_S * 2.0 ** min(self.useless - AT_ONCE, 10))


def back_off(layout: Layout, *, useful: bool) -> float:
    """Note this run; the seconds that it must last on."""
    path = layout.applied / "runs.json"
    try:
        before = decode(read(path, "runs"), ApplyRate, "runs")
    except (OSError, RecordError):
        before = ApplyRate()
    runs = before.after(time.time(), useful=useful)
    try:
        if runs != before:
            place(path, msgspec.json.encode(runs), mode=PUBLIC)
    except OSError:
        return UNNOTED_S
    return runs.pause_s

"""How often systemd may start `lykta apply`: a compromised uplink could otherwise make root start Python all day.

The pause is part of the run: a path unit does not start a unit that still runs, and a shutdown ends the pause at once.
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
"""Pause of each run if the disk refuses to store the count."""


class ApplyRate(Struct, frozen=True):
    """How many runs in a row changed nothing, and when the last of them began (seconds since 1970)."""

    useless: int = 0
    at_s: float = 0.0

    def after(self, now_s: float, *, useful: bool) -> ApplyRate:
        """The count after another run at `now_s`. A clock that was set, forward or back, resets it."""
        if useful:
            return ApplyRate()
        return ApplyRate(1 if abs(now_s - self.at_s) > FORGOTTEN_S else self.useless + 1, now_s)

    @property
    def pause_s(self) -> float:
        """Seconds to pause; 0 for the first few runs."""
        return 0.0 if self.useless < AT_ONCE else min(LONGEST_S, SHORTEST_S * 2.0 ** min(self.useless - AT_ONCE, 10))


def back_off(layout: Layout, *, useful: bool) -> float:
    """Store this run; returns the seconds it must still last."""
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

"""Which alarms the collector itself raises about a node. Pure: facts and what stands now in, what is to stand out.

Each rule has two bounds, so that an alarm does not come and go at one of them: `raise` and, when it stands, `keep`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
LOST_MS, STAYS_MS = 5 * MINUTE_MS, 2 * MINUTE_MS
"""Lost after so long without a connection; found again when it was connected for so long."""
SILENT_TIMES, HEARD_TIMES = 3, 1
"""Silent after so many intervals of health without a message; heard again within so many."""
INTERVAL_MS = 5 * MINUTE_MS
"""Longest time between two messages of a node that works, unless its description says another."""
BEHIND_MS, AHEAD_MS = DAY_MS, 12 * HOUR_MS
"""Uploads fall behind when the oldest clip that is to be uploaded is so old; no more when it is that young."""
EXPIRING_SHARE, SAFE_SHARE = 0.75, 0.5
"""Of a clip's time on the node."""
HELP_TEST_MS = 8 * DAY_MS
IDENTITY_MS = DAY_MS
"""The last sign of two nodes with one identity stays an alarm for so long."""


@dataclass(frozen=True)
class NodeFacts:
    """Of one node; times in ms since 1970, None where there is none.

    lost        when its will came; back: when it was heard again after that, 0 if it never was lost
    interval    longest time between two of its messages
    help_point  whether it has a help button; tested: when its test last came, or the node was first heard
    oldest      when the oldest clip began that is to be uploaded
    clip_hours  hours that the node keeps a clip; None if that is not known
    conflict    when two messages with one number were last heard
    """

    heard: int
    lost: int | None
    back: int
    interval: int
    help_point: bool
    tested: int
    oldest: int | None
    clip_hours: int | None
    conflict: int | None


@dataclass(frozen=True)
class Raised:
    """An alarm that is to stand. reason: a stable code."""

    name: str
    reason: str


def decide(facts: NodeFacts, standing: Collection[str], now: int) -> tuple[Raised, ...]:
    """standing: names of the collector's alarms about this node that stand now."""
    found = (
        ("lost", "will", _lost(facts, "lost" in standing, now)),
        ("silent", "no_message", _silent(facts, "silent" in standing, now)),
        ("upload_behind", "oldest_clip", _behind(facts, "upload_behind" in standing, now)),
        ("clips_expiring", "oldest_clip", _expiring(facts, "clips_expiring" in standing, now)),
        ("help_test_missing", "no_test", facts.help_point and now - facts.tested > HELP_TEST_MS),
        ("two_identities", "same_number", facts.conflict is not None and now - facts.conflict < IDENTITY_MS),
    )
    return tuple(Raised(name, reason) for name, reason, so in found if so)


def _lost(facts: NodeFacts, stands: bool, now: int) -> bool:
    if facts.lost is not None:
        return stands or now - facts.lost >= LOST_MS
    return stands and now - facts.back < STAYS_MS


def _silent(facts: NodeFacts, stands: bool, now: int) -> bool:
    """Only of a node that the broker takes for connected: one that is lost says nothing, and that is its alarm."""
    return facts.lost is None and now - facts.heard > (HEARD_TIMES if stands else SILENT_TIMES) * facts.interval


def _behind(facts: NodeFacts, stands: bool, now: int) -> bool:
    return facts.oldest is not None and now - facts.oldest > (AHEAD_MS if stands else BEHIND_MS)


def _expiring(facts: NodeFacts, stands: bool, now: int) -> bool:
    if facts.oldest is None or facts.clip_hours is None:
        return False
    return now - facts.oldest > (SAFE_SHARE if stands else EXPIRING_SHARE) * facts.clip_hours * HOUR_MS

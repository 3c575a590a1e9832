"""What a node says in its life, at the node's own cadence: made from the types that it uses itself."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from uuid import uuid4

from agent.messages import (
    Alarm,
    Body,
    ChainHead,
    ClipNote,
    Describe,
    Heads,
    Health,
    HealthGroup,
    HelpTest,
    Presence,
    RecordInForce,
    Reported,
    State,
    Switch,
)
from agent.runtime.status import CameraStatus, IoStatus, UplinkStatus
from agent.uplink.health.cadence import EVERY_S
from agent.uplink.health.groups import GROUPS, collect
from agent.uplink.health.readings import KINDS
from privacy.ids import new_clip_id

PRESENCES, CLIPS, SWITCHES = 600, 100, 40
"""Of a day: changes of presence, clips, and changes of door, light and motion together (the first two as `tests.bench.weeks`)."""
DAY_S = 86_400.0
HEALTH_MINUTES = round(EVERY_S / 60)
"""Between two batches of all groups; what changed in between comes sooner, which a quiet node has seldom."""
CALM: dict[str, float | int | str] = {
    "load_1m": 0.6, "memory_available_mb": 2_900, "temperature_c": 48.0, "boot_reason": "other", "watchdog_resets": 0,
    "throttled_now": 0, "undervoltage": 0, "undervoltage_times": 0, "throttled_times": 0,
    "free_mb": 21_000, "used_share": 0.3, "read_only": 0, "days_to_full": 400, "written_mb": 3_000.0, "written_mb_day": 60.0,
    "life_used": 0.1, "end_of_life": 1, "lifetime_written_mb": 900_000.0,
    "state": "synced", "trusted": 1, "sync_age_s": 120, "error_ms": 20, "steps": 0,
    "pending": 3, "dropped": 0, "bound": 0, "thinned": 0, "expired": 0, "corrupt": 0, "set_aside": 0, "file_mb": 0.2,
    "io_pending": 0, "io_dropped": 0, "io_file_mb": 0.05,
}  # fmt: skip
"""What the uplink reads of machine, clock and outboxes, as a Pi says it on a quiet day."""
WELL = {"camera": "ready", "io": "ready", "uplink": "ready"}


@cache
def groups() -> dict[HealthGroup, Health]:
    """Each group of health, with every number and word that the node has now."""
    readers = {name: (lambda value=value: value) for name, value in CALM.items()}
    statuses = {
        "camera": CameraStatus(
            fps=15, distinct_share=1.0, frame_age_s=0, mask_coverage=0.25, full_share=0.0, look_ms=87.5, clips=123
        ),
        "io": IoStatus(),
        "uplink": UplinkStatus(connected=True, uploaded=120, upload_waiting=0, interface="wwan0", round_trip_ms=60.0),
    }
    found = collect(statuses, [(kind, readers) for kind in KINDS])  # type: ignore[misc]
    return {name: group.message(name) for name, group in found.items()}


def batch() -> list[Body]:
    """All groups of health, as they are sent together."""
    return list(groups().values())


def birth(name: str, now: datetime) -> list[Body]:
    """What a node says when it begins."""
    ends = {unit: now + timedelta(days=500) for unit in ("tls", "camera", "io", "uplink")}
    records = {"basis": RecordInForce("basis-1", now + timedelta(days=200)), "view": RecordInForce("view-1", None)}
    says = Describe(
        "Raspberry Pi 4 Model B Rev 1.5", "10000000abcdef01", ("camera", "help button", "door"), "lykta 0.2.0", {"message": 1},
        {"ack": {}, "light": {"state": "on | off"}}, stop=f"stop {name}", area="City",
        intervals=dict.fromkeys(GROUPS, round(EVERY_S)),  # type: ignore[arg-type]
        records=records, certificates=ends,
    )  # fmt: skip
    heads = Heads({unit: ChainHead(12, "0" * 64) for unit in ("camera", "io", "uplink")})
    reported = [Reported(what, f"{what}-1", "0" * 64, "placed", "") for what in ("config", "basis", "view")]  # type: ignore[arg-type]
    return [State("ready", "filming", now, None, "nobody", WELL), says, heads, *reported, HelpTest(str(uuid4()), "open")]


def events(rng: random.Random) -> Iterator[tuple[float, list[Body]]]:
    """Seconds to the next event, and its messages: without end, at the rates of a day."""
    while True:
        wait = rng.expovariate((PRESENCES + CLIPS + SWITCHES) / DAY_S)
        kind = rng.choices(("presence", "clip", "switch"), (PRESENCES, CLIPS, SWITCHES))[0]
        yield wait, _event(kind, rng)


def _event(kind: str, rng: random.Random) -> list[Body]:
    if kind == "presence":
        return [Presence(rng.choice(("none", "few", "some", "crowd")), datetime.now(UTC))]  # type: ignore[arg-type]
    if kind == "clip":
        clip, size = new_clip_id(time.time_ns()), rng.randrange(200_000, 4_000_000)
        return [ClipNote(clip, stage, "presence", "", size) for stage in ("recorded", "uploading", "uploaded")]  # type: ignore[arg-type]
    return [Switch("motion", rng.choice(("begun", "over")))]  # type: ignore[arg-type]


def alarm(name: str, reason: str) -> Alarm:
    return Alarm(name, reason, "")

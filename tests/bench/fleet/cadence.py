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
    HelpTest,
    Presence,
    RecordInForce,
    Reported,
    State,
    Switch,
)
from agent.runtime.status import CameraStatus, IoStatus, UplinkStatus
from agent.uplink.health import numbers_of
from agent.uplink.service import HEALTH_S
from privacy.ids import new_clip_id

GROUPS = ("system", "power", "storage", "camera", "privacy", "link", "clock", "buffer", "agent")
PRESENCES, CLIPS, SWITCHES = 600, 100, 40
"""Of a day: changes of presence, clips, and changes of door, light and motion together (the first two as `tests.bench.weeks`)."""
DAY_S = 86_400.0
CALM: dict[str, dict[str, float | int | None]] = {
    "system": {"load_1m": 0.6, "memory_available_mb": 2_900, "temperature_c": 48.0},
    "power": {"throttled_now": 0, "undervoltage": 0, "undervoltage_times": 0, "throttled_times": 0},
    "storage": {
        "free_mb": 21_000, "used_share": 0.3, "life_used": 0.1, "end_of_life": 1, "lifetime_written_mb": 900_000.0,
        "written_mb": 3_000.0, "written_mb_day": 130.0,
    },
    "clock": {"trusted": 1, "sync_age_s": 120},
    "agent": {"uplink_mb": 50.4},
}  # fmt: skip
"""Numbers of the groups that are read from the machine, as a Pi says them on a quiet day."""
WELL = {"camera": "ready", "io": "ready", "uplink": "ready"}


@cache
def groups() -> dict[str, dict[str, float | int | None]]:
    """All groups with the names of numbers that the node has now."""
    camera = CameraStatus(frames=1_234_567, masked=123_456, looks=234_567, look_ms=87.5, clips=123)
    services = numbers_of((camera, IoStatus(), UplinkStatus(connected=True, uploaded=120, upload_waiting=0)))
    buffer = {"pending": 3, "dropped": 0, "file_mb": 0.2, "io_pending": 0, "io_dropped": 0, "io_file_mb": 0.05}
    own = {**CALM, "buffer": {**services.get("buffer", {}), **buffer}}
    return {name: {**services.get(name, {}), **own.get(name, {})} for name in GROUPS}  # type: ignore[call-overload]


def minute() -> list[Body]:
    """A batch of health."""
    return [Health(name, dict(values), {}) for name, values in groups().items()]  # type: ignore[arg-type]


def birth(name: str, now: datetime) -> list[Body]:
    """What a node says when it begins."""
    ends = {unit: now + timedelta(days=500) for unit in ("tls", "camera", "io", "uplink")}
    records = {"basis": RecordInForce("basis-1", now + timedelta(days=200)), "view": RecordInForce("view-1", None)}
    says = Describe(
        "Raspberry Pi 4 Model B Rev 1.5", "10000000abcdef01", ("camera", "help button", "door"), "lykta 0.2.0", {"message": 1},
        {"ack": {}, "light": {"state": "on | off"}}, stop=f"stop {name}", area="City",
        intervals=dict.fromkeys(GROUPS, round(HEALTH_S)),  # type: ignore[arg-type]
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

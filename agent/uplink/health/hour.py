"""The statistics of an hour in bands (R44), from the services' statuses each second. Pure: samples in, a message at the hour's end.

Of time without a sample nothing is known, and the message says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal, get_args

from msgspec import Struct

from agent.messages import State
from agent.runtime.status import CameraStatus, IoStatus, Status
from agent.statistics import Availability, Band, HelpBand, HourStats, PeopleClass

HOUR_S = 3600.0
_LONGEST_S = 5.0
"""A sample stands for the time since the one before, but for no longer than this."""
_AVAILABLE: Final[Mapping[str, Availability]] = {
    "ready": "filming", "degraded": "filming", "off": "resting", "setup": "resting", "blind": "blind"
}  # fmt: skip
_SEES_NOBODY = ("camera_silent", "too_dark")
Topic = Literal["presence", "light", "help", "availability"]


class Sample(Struct, frozen=True):
    """What is known at a time: "" or None where nothing is. light_fitted: whether there is a light at all; presses: a count."""

    people: PeopleClass | str = ""
    availability: Availability | str = ""
    light: bool | None = None
    light_fitted: bool = False
    presses: int | None = None


def sample_of(state: State, detail: Mapping[str, Status]) -> Sample:
    """state: of the node; detail: statuses of the services that answer."""
    camera, io = detail.get("camera"), detail.get("io")
    available: Availability | str = _AVAILABLE.get(state.state, "")
    if available == "filming" and state.reason in _SEES_NOBODY:
        available = "blind"
    people = camera.people if isinstance(camera, CameraStatus) and available == "filming" else ""
    if not isinstance(io, IoStatus):
        return Sample(people, available)
    light = io.parts.get("light")
    return Sample(people, available, None if light is None else light == "steady", light is not None, io.presses)


def band(share: float) -> Band:
    """share of the hour, 0..1: none, up to a quarter, up to three quarters, more, all but half a minute."""
    if share <= 0:
        return "none"
    if share <= 0.25:
        return "little"
    if share <= 0.75:
        return "half"
    return "most" if share < 1 - 30 / HOUR_S else "all"


def _unknown(known: float) -> Band:
    """The band of what is missing of an hour; samples may miss half a minute of one that is known."""
    return band(0.0 if known >= 1 - 30 / HOUR_S else 1 - known)


def help_band(presses: int) -> HelpBand:
    return "none" if presses <= 0 else "one" if presses == 1 else "few" if presses <= 3 else "many"


class HourTally:
    """Used by one thread. Durations by a clock that only counts up, the hour by the node's."""

    def __init__(self) -> None:
        self._hour: datetime | None = None
        self._last_s: float | None = None
        self._presses: int | None = None
        self._begin()

    def _begin(self) -> None:
        self._seconds: Counter[str] = Counter()
        self._known: Counter[str] = Counter()
        self._pressed, self._fitted = 0, False

    def see(self, now: datetime, mono_s: float, sample: Sample) -> HourStats | None:
        """Take a sample; the message about the hour that it ends, if it does. now: UTC."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        ended = self._message(self._hour) if self._hour is not None and hour != self._hour else None
        if hour != self._hour:
            self._hour = hour
            self._begin()
        passed = 0.0 if self._last_s is None else min(_LONGEST_S, max(0.0, mono_s - self._last_s))
        self._last_s = mono_s
        self._add(passed, sample)
        return ended

    def _add(self, passed: float, sample: Sample) -> None:
        for topic, value in (("presence", sample.people), ("availability", sample.availability)):
            if value:
                self._known[topic] += passed  # type: ignore[assignment]
                self._seconds[value if topic == "availability" else f"people {value}"] += passed  # type: ignore[assignment]
        if sample.light is not None:
            self._known["light"] += passed  # type: ignore[assignment]
            self._seconds["light"] += passed * sample.light  # type: ignore[assignment]
        self._fitted |= sample.light_fitted
        if sample.presses is not None:
            self._known["help"] += passed  # type: ignore[assignment]
            before = sample.presses if self._presses is None else self._presses
            # A service that started again counts from zero.
            self._pressed += sample.presses - before if sample.presses >= before else sample.presses
            self._presses = sample.presses

    def _message(self, hour: datetime) -> HourStats:
        share = {name: seconds / HOUR_S for name, seconds in self._seconds.items()}
        unknown: dict[Topic, Band] = {topic: _unknown(self._known[topic] / HOUR_S) for topic in get_args(Topic)}
        if not self._fitted and self._known["help"]:
            unknown["light"] = "none"
        return HourStats(
            hour=hour,
            presence={name: band(share.get(f"people {name}", 0)) for name in get_args(PeopleClass)},
            light=band(share.get("light", 0)) if self._fitted else "not_fitted",
            help=help_band(self._pressed),
            availability={name: band(share.get(name, 0)) for name in get_args(Availability)},
            unknown=unknown,
        )

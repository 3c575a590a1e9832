"""All that one simulated node sends in the simulated time, with the moment at which it comes to the centre."""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import NamedTuple, TypeVar
from uuid import UUID

import msgspec

from agent.envelope import Envelope
from agent.messages import Body, Describe, Health, HealthGroup, Message, Presence, RecordInForce, State, Tombstone, encode, topic
from tests.bench.fleet import cadence, faults
from tests.bench.fleet.faults import Any_, Scene, Struck
from tests.bench.fleet.node import LOST

_WILL_H = 30 / 3600
_HOUR = timedelta(hours=1)
Kind = TypeVar("Kind", bound=Any_)


class Arrival(NamedTuple):
    """received: ms since 1970, the centre's clock."""

    received: int
    topic: str
    payload: bytes


class Spoken(NamedTuple):
    at: float
    body: Body | str
    """A text is the topic that an empty message clears."""


class Timeline:
    """Times are in hours of the simulation; `begin` is the moment of hour 0."""

    def __init__(self, scene: Scene, number: int, struck: Struck | None, begin: datetime, seed: int) -> None:
        self._scene, self._struck, self._begin = scene, struck, begin
        self._random = random.Random(f"{seed} {number}")
        self.site, self.node, self.area = "city", f"stop-{number:04}", f"street {number // scene.area_nodes + 1}"
        self._epoch = self._uuid().hex

    @property
    def name(self) -> str:
        return f"{self.site}/{self.node}"

    def arrivals(self) -> list[Arrival]:
        """In the order in which they come."""
        said = sorted(self._said(), key=lambda one: one.at)
        found = [*self._numbered(said, self._epoch)]
        for _twin, begin, _ in self._active(faults.Twin):
            mine = [one for one in said if one.at >= begin]
            skipped = len(said) - len(mine)
            found += self._numbered(mine, self._epoch, skipped)
        return sorted(found, key=lambda one: one.received)

    # -- what it says --------------------------------------------------------------------------------------------------

    def _said(self) -> Iterator[Spoken]:
        yield from (Spoken(0.0, one) for one in cadence.birth(self.name, self._begin) if not isinstance(one, Describe))
        yield from self._descriptions()
        yield from self._health()
        yield from self._presences()
        yield from self._of_effects()

    def _descriptions(self) -> Iterator[Spoken]:
        plain = next(one for one in cadence.birth(self.name, self._begin) if isinstance(one, Describe))
        every = round(self._scene.health_minutes * 60)
        says = msgspec.structs.replace(
            plain, stop=f"stop {self.node}", area=self.area, intervals=dict.fromkeys(cadence.GROUPS, every)
        )  # fmt: skip
        yield Spoken(0.0, says)
        for effect, begin, _ in self._active(faults.Described):
            end = self._begin + begin * _HOUR + effect.ends_hours * _HOUR
            if effect.certificate:
                says = msgspec.structs.replace(says, certificates={**says.certificates, effect.certificate: end})
            if effect.record:
                says = msgspec.structs.replace(
                    says, records={**says.records, effect.record: RecordInForce(f"{effect.record}-1", end)}
                )
            yield Spoken(begin, says)

    def _health(self) -> Iterator[Spoken]:
        step = self._scene.health_minutes / 60
        at, phase = 0.0, self._random.uniform(0, step)
        counts = {(one.group, one.value): self._random.uniform(0, 100 * one.per_hour) for one in self._scene.counters}
        while (at + phase) < self._scene.hours:
            for one in self._scene.counters:
                counts[one.group, one.value] += self._rate(one, at + phase) * step
            for place, group in enumerate(cadence.GROUPS):
                # Spread over the interval: a node that is well is never silent for long.
                moment = at + (phase + step * place / len(cadence.GROUPS)) % step
                yield Spoken(moment, self._group(group, moment, counts))  # type: ignore[arg-type]
            at += step

    def _group(self, group: HealthGroup, at: float, counts: dict[tuple[HealthGroup, str], float]) -> Health:
        usual = cadence.groups()[group]
        values = {name: self._vary(number) for name, number in {**usual.values, **self._scene.calm.get(group, {})}.items()}
        values |= {name: round(number) for (its, name), number in counts.items() if its == group}
        unreadable = {name: why for name, why in usual.unreadable.items() if values[name] is None}
        for effect, begin, end in self._active(faults.Drift):
            if effect.group == group and begin <= at < end:
                start = effect.begin if effect.begin is not None else values.get(effect.value) or 0
                share = min(1.0, (at - begin) / effect.over_hours) if effect.over_hours else 1.0
                number = start + (effect.to - start) * share
                values[effect.value] = round(number) if isinstance(effect.to, int) else round(number, 3)
                unreadable.pop(effect.value, None)
        for bad, begin, end in self._active(faults.Unreadable):
            if bad.group == group and begin <= at < end:
                values[bad.value], unreadable[bad.value] = None, bad.reason
        return Health(group, values, unreadable, usual.words)

    def _vary(self, number: float | None) -> float | int | None:
        if not isinstance(number, float):
            return number
        return round(number * (1 + self._random.gauss(0, self._scene.noise)), 3)

    def _rate(self, counter: faults.Counter, at: float) -> float:
        for effect, begin, end in self._active(faults.Rate):
            if (effect.group, effect.value) == (counter.group, counter.value) and begin <= at < end:
                return effect.per_hour
        return counter.per_hour * self._random.uniform(0.9, 1.1)

    def _presences(self) -> Iterator[Spoken]:
        """Four times as many by day."""
        at, rate = 0.0, self._scene.presences_a_day / 24
        while rate and (at := at + self._random.expovariate(rate)) < self._scene.hours:
            now = self._begin + at * _HOUR
            if 6 <= now.hour < 22 or self._random.random() < 0.25:
                yield Spoken(at, Presence(self._random.choice(("none", "few", "some", "crowd")), now))  # type: ignore[arg-type]

    def _of_effects(self) -> Iterator[Spoken]:
        for effect, begin, end in self._active(faults.Standing):
            for at in _times(begin, end, effect.every_hours):
                until = at + effect.minutes / 60 if effect.every_hours else end
                yield self._state(at, effect.state, effect.reason, effect.owner)
                if until < self._scene.hours:
                    yield self._state(until, "ready", "filming", "nobody")
        for said, begin, end in self._active(faults.Said):
            for at in _times(begin, end, said.every_hours):
                yield Spoken(at, faults.body_of(said, (self._begin + at * _HOUR).isoformat()))
        for raised, begin, end in self._active(faults.Raised):
            yield Spoken(begin, cadence.alarm(raised.name, raised.reason))
            if end < self._scene.hours:
                yield Spoken(end, f"alarm/{raised.name}")
        for boot in self._boots:
            yield self._state(boot, "starting", "camera_silent", "nobody")
            yield self._state(boot + 0.02, "ready", "filming", "nobody")

    def _state(self, at: float, state: str, reason: str, owner: str) -> Spoken:
        since = self._begin + at * _HOUR
        return Spoken(at, State(state, reason, since, None, owner, cadence.WELL))  # type: ignore[arg-type]

    # -- how it comes --------------------------------------------------------------------------------------------------

    def _numbered(self, said: list[Spoken], epoch: str, skipped: int = 0) -> Iterator[Arrival]:
        """skipped: numbers given before. The first number of all is the will's."""
        seq = skipped + 1
        if not skipped:
            yield self._sent(0.0, 2, Tombstone(epoch, "will", ((1, 1),)), 0.0, epoch)
            seq = 2
        for _link, begin, end in self._active(faults.Link):
            if begin + _WILL_H < end:
                yield self._arrival(begin + _WILL_H, "state", encode(Message(self._envelope(0.0, 1, epoch, late=False), LOST)))
        for one in said:
            if self._mute(one):
                continue
            seq += 1
            comes = self._comes(one.at)
            if comes is None:
                seq -= 1
                continue
            if isinstance(one.body, str):
                yield self._arrival(comes, one.body, b"")
                yield self._sent(comes, seq + 1, Tombstone(epoch, "cleared", ((seq, seq),)), one.at, epoch)
                seq += 1
            else:
                yield self._sent(comes, seq, one.body, one.at, epoch)

    def _sent(self, comes: float, seq: int, body: Body, at: float, epoch: str) -> Arrival:
        return self._arrival(comes, body.tail, encode(Message(self._envelope(at, seq, epoch, late=comes - at > 60 / 3600), body)))

    def _arrival(self, comes: float, tail: str, payload: bytes) -> Arrival:
        moment = self._begin + comes * _HOUR
        return Arrival(round(moment.timestamp() * 1000), topic(self.site, self.node, tail), payload)

    def _envelope(self, at: float, seq: int, epoch: str, *, late: bool) -> Envelope:
        step, trust = 0.0, "synced"
        for effect, begin, end in self._active(faults.WrongClock):
            if begin <= at < end:
                step, trust = effect.step_hours, effect.trust
        boot = max((one for one in self._boots if one <= at), default=0.0)
        moment = self._begin + (at + step) * _HOUR
        boot_id = str(UUID(int=random.Random(f"{epoch} {boot}").getrandbits(128), version=4))
        return Envelope(1, str(self._uuid()), epoch, seq, moment, round((at - boot) * 3_600_000), boot_id, trust, late)  # type: ignore[arg-type]

    def _comes(self, at: float) -> float | None:
        """When a message comes that was said then; None if it was not said, as there was no power."""
        for effect, begin, end in self._active(faults.Link):
            if begin <= at < end:
                return end + (at - begin) / 1000 if effect.kept and end < self._scene.hours else None
        return at

    def _mute(self, one: Spoken) -> bool:
        tail = one.body if isinstance(one.body, str) else one.body.tail
        return any(
            begin <= one.at < end and any(fnmatch.fnmatch(tail, pattern) for pattern in effect.topics)
            for effect, begin, end in self._active(faults.Silence)
        )

    @cached_property
    def _boots(self) -> list[float]:
        found = [at for effect, begin, end in self._active(faults.Boots) for at in _times(begin, end, effect.every_hours)]
        found += [end for effect, _, end in self._active(faults.Link) if not effect.kept and end < self._scene.hours]
        return sorted(found)

    def _active(self, kind: type[Kind]) -> Iterator[tuple[Kind, float, float]]:
        """Effects of a kind, with begin and end."""
        if self._struck:
            for effect in self._struck.fault.effects:
                if isinstance(effect, kind):
                    begin = self._struck.at_hours + effect.after_hours
                    yield effect, begin, min(self._scene.hours, begin + effect.for_hours) if effect.for_hours else self._scene.hours

    def _uuid(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)


def _times(begin: float, end: float, every: float) -> Iterator[float]:
    while begin < end:
        yield begin
        if not every:
            return
        begin += every


def beginning(hours: float) -> datetime:
    """Hour 0, so that the simulation ends now."""
    return datetime.now(UTC).replace(microsecond=0) - hours * _HOUR

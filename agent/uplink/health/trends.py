"""Numbers that need more than one look: what is written a day, when the disk is full, how often the voltage fell, the clock was
set or the watchdog bit, and how much of a day there was a link. All readers; `ValueError` says why there is no number yet."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from drivers import board
from privacy.errors import RecordError
from privacy.files import place, read
from privacy.foreign import decode

DAY_S = 86_400.0
_LEAST_WATCHED_S = 600.0
_STEP_S = 0.5
_BUCKET_S = 600.0

Mono = Callable[[], float]


class _Series:
    """Readings of the last day, at most one a minute."""

    def __init__(self, look: Callable[[], float], mono_s: Mono) -> None:
        self._look, self._mono_s = look, mono_s
        self._seen: deque[tuple[float, float]] = deque()

    def per_day(self) -> float:
        """How much the reading grows in a day; `ValueError` in the first ten minutes."""
        now_s, value = self._mono_s(), self._look()
        if not self._seen or now_s - self._seen[-1][0] >= 60.0:
            self._seen.append((now_s, value))
        while now_s - self._seen[0][0] > DAY_S:
            self._seen.popleft()
        began_s, first = self._seen[0]
        if now_s - began_s < _LEAST_WATCHED_S:
            raise ValueError("watched for less than ten minutes")
        return (value - first) / (now_s - began_s) * DAY_S


class Writes:
    """How much is written to a device, which determines the wear of an SD card.

    mb      MB since the machine started
    mono_s  seconds that only count up
    """

    def __init__(self, mb: Callable[[], float], mono_s: Mono = time.monotonic) -> None:
        self.mb = mb
        self._series = _Series(mb, mono_s)

    def mb_day(self) -> float:
        """MB a day, from the writes observed in the last day."""
        return round(self._series.per_day(), 1)


class Growth:
    """When a disk is full. free_mb: MB that are free."""

    def __init__(self, free_mb: Callable[[], float], mono_s: Mono = time.monotonic) -> None:
        self._free_mb = free_mb
        self._series = _Series(lambda: -free_mb(), mono_s)

    def days_to_full(self) -> float:
        """Days, as in the last day; `ValueError` if the disk does not fill."""
        grows = self._series.per_day()
        if grows <= 0:
            raise ValueError("the disk does not fill")
        return round(self._free_mb() / grows, 1)


class PowerEdges:
    """How often the supply voltage was low since this service started; counted at each reading."""

    def __init__(self, bits: Callable[[], int] = board.throttled) -> None:
        self._bits, self._edges = bits, board.PowerEventCounter()

    def readers(self) -> dict[str, Callable[[], int]]:
        names = {"undervoltage_times": board.UNDERVOLTAGE, "throttled_times": board.THROTTLING}
        return {name: (lambda bit=bit: self._count(bit)) for name, bit in names.items()}  # type: ignore[misc]

    def _count(self, bit: int) -> int:
        self._edges.see(self._bits())
        return self._edges.counts[bit]


class ClockSteps:
    """How often the system time was set by more than half a second since the start; slewing is no step."""

    def __init__(self, wall_s: Mono = time.time, mono_s: Mono = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)) -> None:
        self._wall_s, self._mono_s = wall_s, mono_s
        self._offset_s = wall_s() - mono_s()
        self.count = 0

    def look(self) -> None:
        """Often enough that slewing (0.5 ms a second) is less than a step in between."""
        offset_s = self._wall_s() - self._mono_s()
        self.count += abs(offset_s - self._offset_s) > _STEP_S
        self._offset_s = offset_s


class _Resets(Struct, frozen=True, forbid_unknown_fields=True):
    boot_id: str
    resets: Annotated[int, Meta(ge=0)]


class Boots:
    """Boots that the hardware watchdog caused, counted over boots in a file of the uplink's.

    path    the file; None: nothing is counted, and only the uplink knows
    reason  of this boot; `OSError` where there is no watchdog to ask
    """

    def __init__(self, path: Path | None, boot_id: str, reason: Callable[[], str] = board.boot_reason) -> None:
        self._path, self._boot_id, self._reason = path, boot_id, reason
        self._counted: int | None = None

    def watchdog_resets(self) -> int:
        if self._counted is None:
            self._counted = self._count()
        return self._counted

    def _count(self) -> int:
        bitten, path = self._reason() == "watchdog", self._path
        if path is None:
            raise ValueError("the uplink counts them")
        try:
            known = decode(read(path, "boots"), _Resets, "boots")
        except (OSError, RecordError):  # the first start here, or damaged: the count begins anew
            known = _Resets("", 0)
        if known.boot_id == self._boot_id:
            return known.resets
        resets = known.resets + bitten
        with suppress(OSError):  # counted again at the next start of the service, in the same boot
            path.parent.mkdir(parents=True, exist_ok=True)
            place(path, msgspec.json.encode(_Resets(self._boot_id, resets)))
        return resets


class ConnectedShare:
    """The share of the last day in which there was a link, in steps of ten minutes; since the start, if that is less than a day."""

    def __init__(self, mono_s: Mono = time.monotonic) -> None:
        self._mono_s, self._last_s = mono_s, mono_s()
        self._buckets: deque[tuple[float, float]] = deque([(0.0, 0.0)], maxlen=round(DAY_S / _BUCKET_S))

    def see(self, up: bool) -> float | None:
        """Take the state since the last look; the share, None in the first second."""
        now_s = self._mono_s()
        passed, self._last_s = now_s - self._last_s, now_s
        watched, connected = self._buckets[-1]
        if watched >= _BUCKET_S:
            self._buckets.append((0.0, 0.0))
            watched = connected = 0.0
        self._buckets[-1] = (watched + passed, connected + passed * up)
        total = sum(one for one, _ in self._buckets)
        return round(sum(one for _, one in self._buckets) / total, 3) if total >= 1.0 else None


class RoundTrip:
    """Time from publishing a message to the broker's acknowledgement. `sent` and `answered` come from two threads."""

    def __init__(self, mono_s: Mono = time.monotonic) -> None:
        self._mono_s = mono_s
        self._sent: dict[int, float] = {}
        self._took: deque[float] = deque(maxlen=20)

    def sent(self, token: int) -> None:
        if len(self._sent) > 1000:  # of links that broke: their tokens have no answer
            self._sent.clear()
        self._sent[token] = self._mono_s()

    def answered(self, token: int) -> None:
        if (began := self._sent.pop(token, None)) is not None:
            self._took.append((self._mono_s() - began) * 1000)

    @property
    def ms(self) -> float | None:
        """The median of the last 20; None before the first."""
        took = list(self._took)
        return round(statistics.median(took), 1) if took else None

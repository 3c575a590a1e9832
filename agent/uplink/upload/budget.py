"""The daily budget on a metered link, kept over restarts: stored before the bytes are sent, so that a kill loses no count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.uplink.upload.policy import Reading, Spent, charge, settle, wait_s
from drivers.clock import SystemClock
from privacy.errors import RecordError, StorageError
from privacy.files import place, read
from privacy.foreign import decode


class Budget:
    """budget_mb: per day; 0: no limit, and nothing is stored. on_error: called if the disk refuses to store the count."""

    def __init__(self, path: Path, budget_mb: int, clock: SystemClock, on_error: Callable[[StorageError], None]) -> None:
        self._path, self._per_day, self._clock, self._on_error = path, budget_mb * 1_000_000, clock, on_error
        self._spent = self._load()

    def wait_s(self, size: int) -> float:
        """Seconds until `size` bytes that are not urgent may be sent."""
        return wait_s(self._settled(), size, self._per_day) if self._per_day else 0.0

    @property
    def used(self) -> float | None:
        """Share of the day's budget that counts as used, 0..1 and above; None without a budget."""
        return round(self._settled().bytes / self._per_day, 3) if self._per_day else None

    def spend(self, size: int, *, urgent: bool) -> None:
        """Count `size` bytes before they are sent; a negative number takes back bytes that were not sent."""
        if not self._per_day or not size:
            return
        self._spent = charge(self._settled(), size, self._per_day, urgent=urgent)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            place(self._path, msgspec.json.encode(self._spent))
        except OSError as problem:
            # They still count until the next start; and uploads free space on a full disk.
            self._on_error(StorageError(f"upload: {self._path}: {problem.strerror}", "free space or check the disk"))

    def _settled(self) -> Spent:
        return settle(self._spent, self._reading(), self._per_day)

    def _load(self) -> Spent:
        """The stored count; if it cannot be read, the whole budget counts as spent."""
        now = self._reading()
        fresh = Spent(0.0, now.wall_s or 0.0, now.boot_id, now.mono_ms)
        try:
            return decode(read(self._path, "spent"), Spent, "spent")
        except FileNotFoundError:
            return fresh
        except (OSError, RecordError):
            return charge(fresh, self._per_day, self._per_day, urgent=False)

    def _reading(self) -> Reading:
        clock = self._clock
        return Reading(clock.now().timestamp() if clock.trusted() else None, clock.boot_id, clock.mono_ms())

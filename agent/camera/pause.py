"""A pause by command: until when the camera stays closed. Kept below /run: a restart of the service neither ends nor prolongs it, a
reboot ends it."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

from msgspec import Struct

from drivers.clock import SystemClock
from privacy.errors import RecordError
from privacy.files import PRIVATE, place, read
from privacy.foreign import decode
from privacy.records.jws import canonical


class _Kept(Struct, frozen=True, forbid_unknown_fields=True):
    boot_id: str
    until_ms: int


class Span(Struct, frozen=True):
    """A pause that stands. until_ms: since boot, which decides; until: UTC, for people."""

    until_ms: int
    until: datetime


class Pause:
    """Its methods may be called from any thread."""

    def __init__(self, path: Path, clock: SystemClock) -> None:
        self._path, self._clock, self._lock = path, clock, Lock()
        self._span = self._read()

    def now(self) -> Span | None:
        """The pause, while it lasts."""
        span = self._span
        return span if span and self._clock.mono_ms() < span.until_ms else None

    def begin(self, minutes: int) -> Span:
        """Begin a pause; it replaces the one that stands."""
        with self._lock:
            self._span = span = self._of(self._clock.mono_ms() + minutes * 60_000)
            with suppress(OSError):  # /run is full: then a restart of the service ends the pause
                place(self._path, canonical(_Kept(self._clock.boot_id, span.until_ms)), mode=PRIVATE)
            return span

    def end(self) -> bool:
        """End the pause now: whether there was one."""
        with self._lock:
            there_was = self.now() is not None
            self._clear()
            return there_was

    def lapsed(self) -> bool:
        """Whether a pause's time is over: true once for each."""
        with self._lock:
            if self._span is None or self.now():
                return False
            self._clear()
            return True

    def _clear(self) -> None:
        self._span = None
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _of(self, until_ms: int) -> Span:
        return Span(until_ms, self._clock.now() + timedelta(milliseconds=until_ms - self._clock.mono_ms()))

    def _read(self) -> Span | None:
        try:
            kept = decode(read(self._path, "pause"), _Kept, "pause")
        except (OSError, RecordError):  # none, or damaged: the records alone decide
            return None
        return self._of(kept.until_ms) if kept.boot_id == self._clock.boot_id else None

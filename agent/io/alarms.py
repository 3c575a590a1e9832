"""Which alarms of io's stand at the broker by its word, kept over its starts: one that is over meanwhile is told when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from agent.messages import Alarm
from drivers.gpio.port import Input
from privacy.errors import RecordError
from privacy.files import PRIVATE, on_disk, place, read
from privacy.foreign import decode

OF_PARTS: Mapping[str, Input] = {
    "alarm/case": "tamper",
    "alarm/help_button": "help_button",
    "alarm/light": "light_current",
}
"""Alarms that a contact raises and ends; that of a call for help ends with the call."""


class StandingAlarms:
    """By topic, with what each refers to. Kept before one is told, forgotten after its end was: too many, never too few."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.trouble = ""
        """Why what stood before is not known; empty where it is."""
        self.before = self._read()
        """What stood when the last process ended."""
        self._now = dict(self.before)

    def raised(self, alarm: Alarm) -> None:
        """`StorageError` if the disk refuses it: whoever keeps writes for later does this one again."""
        self._keep({**self._now, alarm.tail: alarm.ref})

    def cleared(self, tail: str) -> None:
        self._keep({other: ref for other, ref in self._now.items() if other != tail})

    def _keep(self, now: dict[str, str]) -> None:
        if now == self._now:
            return
        with on_disk(f"alarms: {self._path}"):
            place(self._path, msgspec.json.encode(now), mode=PRIVATE)
        self._now = now

    def _read(self) -> dict[str, str]:
        """A damaged file begins anew: what stood before it then stays until it changes again."""
        try:
            return decode(read(self._path, "alarms"), dict[str, str], "alarms")
        except FileNotFoundError:
            return {}
        except (OSError, RecordError) as problem:
            self.trouble = str(problem)
            return {}

"""The active alarms of io at the broker, stored over restarts: an alarm that ended while io was off is cleared at its start."""

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
"""Alarms that a contact raises and clears; the alarm of a call for help ends with the call."""


class StandingAlarms:
    """By topic, with what each refers to. Stored before an alarm is sent, removed after its end: too many, never too few."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.trouble = ""
        """Why the alarms of the last process are not known; "" if they are."""
        self.before = self._read()
        """The alarms active when the last process ended."""
        self._now = dict(self.before)

    def raised(self, alarm: Alarm) -> None:
        """Store an alarm; `StorageError` if the disk refuses: the backlog of writes then repeats it."""
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
        """A damaged file counts as empty: an alarm raised before then stays until its contact changes again."""
        try:
            return decode(read(self._path, "alarms"), dict[str, str], "alarms")
        except FileNotFoundError:
            return {}
        except (OSError, RecordError) as problem:
            self.trouble = str(problem)
            return {}

"""systemd: notifications, watchdog and journal. In a program that was not started by systemd, notifications have no effect and log
entries go to stderr."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC

from systemd import daemon, journal

from drivers import stderr
from privacy.foreign import printable

_PRIORITIES = {"error": 3, "warning": 4, "info": 6, "debug": 7}
_LONGEST = 1000
"""Characters of a message, and of each field: both may quote untrusted text."""


def notify(*lines: str) -> None:
    """Send lines to the service manager, e.g. READY=1, STATUS=…, WATCHDOG=1, STOPPING=1."""
    daemon.notify("\n".join(lines))


def log(unit: str, level: str, message: str, **fields: object) -> None:
    """One event: a structured journal entry under systemd, else one line on stderr."""
    if "JOURNAL_STREAM" in os.environ:
        named = {f"LYKTA_{name.upper()}": printable(value, _LONGEST) for name, value in fields.items()}
        text = _line(message, fields)
        journal.send(text, PRIORITY=_PRIORITIES[level], SYSLOG_IDENTIFIER=f"lykta-{unit}", LYKTA_UNIT=unit, **named)
        return
    stderr.line(f"{level} {unit}: {_line(message, fields)}")


def recent(services: Iterable[str], most: int) -> list[str]:
    """The last lines of these services in the journal, oldest first, crashes included; none if this user may not read it.

    most   number of lines
    """
    lines: list[str] = []
    with journal.Reader() as reader:
        for service in services:
            # Entries of the service itself, and those of the service manager or of a crash about its unit.
            reader.add_match(SYSLOG_IDENTIFIER=f"lykta-{service}")
            reader.add_disjunction()
            reader.add_match(_SYSTEMD_UNIT=f"lykta-{service}.service")
            reader.add_disjunction()
        reader.seek_tail()
        while len(lines) < most and (entry := reader.get_previous()):
            when = entry["__REALTIME_TIMESTAMP"].astimezone(UTC)
            lines.append(f"{when:%Y-%m-%d %H:%M:%S} {entry.get('SYSLOG_IDENTIFIER', '')}: {entry.get('MESSAGE', '')}")
    return lines[::-1]


def _line(message: str, fields: dict[str, object]) -> str:
    return " ".join(printable(word, _LONGEST) for word in (message, *(f"{name}={value}" for name, value in fields.items())))

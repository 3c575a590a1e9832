"""systemd: notifications, watchdog and journal. In a program that was not started by systemd, notifications have no effect and log
entries go to stderr.

A datagram says each, as sd_notify(3) and https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ define them: libsystemd, with four libraries
that unpack files, would keep 1 MB in every service. Reading the journal needs it, and is for the command line alone.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC

from drivers import stderr
from privacy.foreign import printable

_PRIORITIES = {"error": 3, "warning": 4, "info": 6, "debug": 7}
_JOURNAL = "/run/systemd/journal/socket"
_LONGEST = 1000
"""Characters of a message, and of each field: both may quote untrusted text."""


def notify(*lines: str) -> None:
    """Send lines to the service manager, e.g. READY=1, STATUS=…, WATCHDOG=1, STOPPING=1."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        # A leading @ stands for the NUL of an abstract address.
        _send(f"\0{address[1:]}" if address.startswith("@") else address, "\n".join(lines).encode())


def log(unit: str, level: str, message: str, **fields: object) -> None:
    """One event: a structured journal entry under systemd, else one line on stderr."""
    if "JOURNAL_STREAM" in os.environ:
        named = {f"LYKTA_{name.upper()}": printable(value, _LONGEST) for name, value in fields.items()}
        known = {"PRIORITY": str(_PRIORITIES[level]), "SYSLOG_IDENTIFIER": f"lykta-{unit}", "LYKTA_UNIT": unit}
        entry = {"MESSAGE": _line(message, fields)} | known | named
        # No journal, no entry: a service does not end for it.
        with suppress(FileNotFoundError):
            _send(_JOURNAL, b"".join(_field(name, value.encode()) for name, value in entry.items()))
        return
    stderr.line(f"{level} {unit}: {_line(message, fields)}")


def recent(services: Iterable[str], most: int) -> list[str]:
    """The last lines of these services in the journal, oldest first, crashes included; none if this user may not read it.

    most   number of lines
    """
    from systemd import journal

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


def _field(name: str, value: bytes) -> bytes:
    """A field of a journal entry in the form that any value may have: its length in 8 bytes, least significant first."""
    return b"%s\n%s%s\n" % (name.encode(), len(value).to_bytes(8, "little"), value)


def _send(address: str, datagram: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        sender.sendall(datagram)

"""Swedish local time. The zone's rules come from the system, or from the package tzdata if that file is missing or damaged.

They are read at the first use and not at import: help, deletion and the link do not need the zone.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

from privacy.errors import RecordError, ZoneError
from privacy.files import read

NAME = "Europe/Stockholm"


@cache
def stockholm() -> ZoneInfo:
    """The zone; `ZoneError` if no intact file is found. An error is not cached, so that a later call tries again."""
    for data in _found():
        if zone := _parsed(data):
            return zone
    raise ZoneError(f"{NAME}: no intact zone file", "apt-get install --reinstall tzdata, or install lykta again")


def _found() -> Iterator[bytes]:
    for folder in zoneinfo.TZPATH:
        try:
            yield read(Path(folder, NAME).resolve(), NAME)
        except (OSError, RecordError):  # missing or not valid: try the next one
            continue
    try:
        from importlib import resources  # services whose system has the zone need no loader of packages' files

        yield resources.files("tzdata").joinpath("zoneinfo", *NAME.split("/")).read_bytes()
    except (OSError, ImportError):
        return


def _parsed(data: bytes) -> ZoneInfo | None:
    """The zone, or None if the file is damaged. An intact one ends with the rule for the future between two line ends (RFC 9636
    section 3.3)."""
    if not data.startswith(b"TZif") or not data.endswith(b"\n") or not data[:-1].rpartition(b"\n")[2]:
        return None
    try:
        zone = ZoneInfo.from_file(BytesIO(data), key=NAME)
        datetime(2026, 7, 1, tzinfo=UTC).astimezone(zone)
    except Exception:  # noqa: BLE001 - the parser's exceptions are not documented (struct.error, IndexError, ValueError were seen)
        return None
    return zone

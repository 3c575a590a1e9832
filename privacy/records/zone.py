"""Swedish local time. The zone's rules come from the system, or, where that file is missing or torn, from the tzdata package.

Read when they are first asked for, never at import: help, deletion and the link need no zone.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

from privacy.errors import RecordError, ZoneError
from privacy.files import read

NAME = "Europe/Stockholm"


@cache
def stockholm() -> ZoneInfo:
    """The zone; `ZoneError` while no whole file of it is found (an error is not remembered)."""
    for data in _found():
        if zone := _parsed(data):
            return zone
    raise ZoneError(f"{NAME}: no whole zone file", "apt-get install --reinstall tzdata, or install lykta again")


def _found() -> Iterator[bytes]:
    for folder in zoneinfo.TZPATH:
        try:
            yield read(Path(folder, NAME).resolve(), NAME)
        except (OSError, RecordError):  # not there, or no file of such a size: the next one
            continue
    try:
        yield resources.files("tzdata").joinpath("zoneinfo", *NAME.split("/")).read_bytes()
    except (OSError, ImportError):
        return


def _parsed(data: bytes) -> ZoneInfo | None:
    """None if the file is torn. RFC 9636 section 3.3: a whole one ends with its rule for the future between two newlines."""
    if not data.startswith(b"TZif") or not data.endswith(b"\n") or not data[:-1].rpartition(b"\n")[2]:
        return None
    try:
        zone = ZoneInfo.from_file(BytesIO(data), key=NAME)
        datetime(2026, 7, 1, tzinfo=UTC).astimezone(zone)
    except Exception:  # noqa: BLE001 - the library's parser states no errors (struct.error, IndexError, ValueError were seen)
        return None
    return zone

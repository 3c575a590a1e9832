"""From the stamp in the envelope to the commit in the database, message by message."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from central.fleet.collect.store.database import open_database

_MOST = 20_000
_SEEN = "SELECT rowid, told, late FROM messages WHERE rowid > ? ORDER BY rowid LIMIT ?"
_COMMITTED = """SELECT told, extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000
    FROM messages WHERE NOT late AND told BETWEEN :first AND :last"""


@dataclass(frozen=True)
class Delays:
    """Milliseconds; many: messages that were judged."""

    many: int
    p50: float
    p99: float
    most: float


class Watcher:
    """Looks into a SQLite file every few milliseconds: what is new there was committed since the last look."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
        self._version, self._last = 0, 0
        self.seen: list[tuple[int, float]] = []
        """Told and committed, both in ms since 1970."""

    def look(self) -> None:
        version = self._database.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        self._version = version
        rows = self._database.execute(_SEEN, (self._last, _MOST)).fetchall()
        now = time.time() * 1000
        self.seen += [(told, now) for _, told, late in rows if not late]
        self._last = rows[-1][0] if rows else self._last


def of_postgres(url: str, first: float, last: float) -> list[tuple[int, float]]:
    """Of messages that were told between two times, ms since 1970."""
    engine = open_database(url)
    with engine.connect() as connection:
        found = [(told, float(at)) for told, at in connection.execute(text(_COMMITTED), {"first": first, "last": last})]
    engine.dispose()
    return found


def judged(seen: list[tuple[int, float]], first: float, last: float) -> Delays:
    """Of messages that were told between two times, ms since 1970."""
    found = sorted(at - told for told, at in seen if first <= told <= last)
    if not found:
        return Delays(0, 0.0, 0.0, 0.0)
    return Delays(len(found), found[len(found) // 2], found[min(len(found) - 1, len(found) * 99 // 100)], found[-1])

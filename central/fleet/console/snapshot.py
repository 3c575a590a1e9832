"""What all pages show of the fleet, read from the collector's database in one transaction; shared by all readers for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Engine, and_, case, func, literal, or_, select

from agent.messages import Describe
from central.fleet.collect.store.tables import alarms, drafts, nodes, presses, replicas
from privacy.errors import RecordError
from privacy.foreign import decode, printable

FRESH_S = 0.4
"""Age up to which a reading is shown again, so that many readers cost as much as one."""
_AT_ONCE = 500
_TAKEN_MS, _UNANSWERED_MS = 600_000, 24 * 3_600_000
"""How long a call is shown after it was taken, and after nobody answered it."""
_MOST_CALLS = 50
LOST, UNKNOWN = "lost", "unknown"


class Stop(Struct, frozen=True):
    """A node and its state. stop, area: as it described itself, "" if it did not. Times in ms since 1970, None if not told."""

    node: str
    stop: str
    area: str
    state: str
    reason: str
    owner: str
    since_ms: int | None
    until_ms: int | None
    heard_ms: int

    @property
    def name(self) -> str:
        return self.stop or self.node


class Press(Struct, frozen=True):
    """A call for help. state: waiting, taken or unanswered; draft: state of its answer in `drafts`, "" without one."""

    node: str
    press: str
    stop: str
    area: str
    state: str
    pressed_ms: int
    draft: str
    officer: str
    reason: str

    @property
    def name(self) -> str:
        return self.stop or self.node

    @property
    def open(self) -> bool:
        """Whether somebody waits and no answer is on its way."""
        return self.state == "waiting" and self.draft not in ("draft", "sent")


class Standing(Struct, frozen=True):
    """An alarm that stands. raised_ms: ms since 1970."""

    node: str
    name: str
    reason: str
    raised_ms: int


class Snapshot(Struct, frozen=True):
    """stops by node; calls, the waiting first; alarms but those for help; collector_ms: when a collector was seen last, or 0."""

    stops: dict[str, Stop]
    calls: tuple[Press, ...]
    alarms: tuple[Standing, ...]
    collector_ms: int


def now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


class Snapshots:
    """Reads again when the last reading is older than `FRESH_S`. May be used from several threads."""

    def __init__(self, engine: Engine, clock: Callable[[], int] = now_ms) -> None:
        self._engine, self._clock, self._lock = engine, clock, Lock()
        self._names: dict[str, tuple[str, int, str, str]] = {}
        self._last: Snapshot | None = None
        self._read_s = 0.0

    def read(self) -> Snapshot:
        with self._lock:
            if self._last is None or time.monotonic() - self._read_s > FRESH_S:
                with self._engine.begin() as connection:
                    self._last = self._read(connection)
                self._read_s = time.monotonic()
            return self._last

    def expire(self) -> None:
        """The next reader sees what was written before this call."""
        with self._lock:
            self._last = None

    def _read(self, connection: Connection) -> Snapshot:
        state = case((nodes.c.lost.is_not(None), LOST), (nodes.c.state == "", UNKNOWN), else_=nodes.c.state)
        since = case((nodes.c.lost.is_not(None), nodes.c.lost), else_=nodes.c.since)
        told = (nodes.c.node, state, nodes.c.reason, nodes.c.owner, since, nodes.c.until, nodes.c.heard)
        rows = connection.execute(select(*told, nodes.c.describe_epoch, nodes.c.describe_seq).order_by(nodes.c.node)).all()
        self._learn(connection, [row[0] for row in rows if self._names.get(row[0], ("", 0))[:2] != (row[7], row[8])])
        stops = {row[0]: Stop(row[0], *self._name_of(row[0]), *_state(tuple(row[1:7]))) for row in rows}
        where = and_(alarms.c.ended.is_(None), alarms.c.name != "help")
        found = select(alarms.c.node, alarms.c.name, alarms.c.reason, alarms.c.raised).where(where).order_by(alarms.c.id)
        standing = tuple(Standing(*row) for row in connection.execute(found))
        seen = connection.execute(select(func.max(replicas.c.seen))).scalar() or 0
        return Snapshot(stops, self._calls(connection), standing, seen)

    def _learn(self, connection: Connection, changed: list[str]) -> None:
        """Names of the nodes that described themselves anew."""
        columns = (nodes.c.node, nodes.c.describe_epoch, nodes.c.describe_seq, nodes.c.describe)
        for first in range(0, len(changed), _AT_ONCE):
            here = nodes.c.node.in_(changed[first : first + _AT_ONCE])
            for node, epoch, seq, text in connection.execute(select(*columns).where(here)):
                known = _describe_of(text)
                stop, area = (printable(known.stop, 80), printable(known.area, 80)) if known else ("", "")
                self._names[node] = (epoch, seq, stop, area)

    def _name_of(self, node: str) -> tuple[str, str]:
        found = self._names.get(node)
        return found[2:] if found else ("", "")

    def _calls(self, connection: Connection) -> tuple[Press, ...]:
        """Calls that wait, and those that were taken just now or that nobody answered; each kind with the latest first."""
        now = self._clock()
        stands = and_(alarms.c.name == "help", alarms.c.ended.is_(None), alarms.c.answered.is_(None))
        waiting = select(alarms.c.node, alarms.c.ref, literal("waiting"), alarms.c.raised).where(stands)
        state = case((presses.c.taken.is_not(None), "taken"), else_="unanswered")
        at = func.coalesce(presses.c.pressed, presses.c.taken, presses.c.unanswered)
        lately = or_(
            presses.c.taken > now - _TAKEN_MS, and_(presses.c.taken.is_(None), presses.c.unanswered > now - _UNANSWERED_MS)
        )
        over = select(presses.c.node, presses.c.press, state, at).where(lately).order_by(at.desc()).limit(_MOST_CALLS)
        ended = connection.execute(over).all()
        known = {row[:2] for row in ended}
        open_calls = connection.execute(waiting.order_by(alarms.c.raised.desc())).all()
        written = select(drafts).where(drafts.c.changed > now - _UNANSWERED_MS)
        answers = {(row.node, row.press): (row.state, row.officer, row.reason) for row in connection.execute(written)}
        calls = [*(row for row in open_calls if row[:2] not in known), *ended]
        return tuple(
            Press(node, press, *self._name_of(node), state, at, *answers.get((node, press), ("", "", "")))
            for node, press, state, at in calls
        )


def _describe_of(text: str) -> Describe | None:
    """A node's description as the collector stored it; None if there is none, or one of another version of Lykta."""
    try:
        return decode(text.encode(), Describe, "describe") if text else None
    except RecordError:
        return None


def _state(told: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a lost node said before is not so any more."""
    state, _, _, since, _, heard = told
    return (LOST, "", "technician", since, None, heard) if state == LOST else told

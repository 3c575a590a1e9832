"""What is deleted, and that nothing else is; and that a deleted message is neither missing nor told again."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from agent.messages import Alarm, Help
from central.fleet.collect.intake import Refusal, take
from central.fleet.collect.store import retention
from central.fleet.collect.store.retention import DAY_MS, Limits
from central.fleet.collect.store.settling import reopen, settle
from central.fleet.collect.store.writing import write
from tests.support.collecting import Talker, rows

NOW = 1_000 * DAY_MS


def store(engine: Engine, *said: tuple[str, bytes], at: int) -> int:
    taken = [one for one in (take(*message, 1, at) for message in said) if not isinstance(one, Refusal)]
    with engine.begin() as connection:
        return len(write(connection, "one", taken).fresh)


def delete(engine: Engine, limits: Limits) -> dict[str, int]:
    deleted: dict[str, int] = {}
    for step in retention.steps(NOW, limits):
        with engine.begin() as connection:
            deleted[step.table] = deleted.get(step.table, 0) + step.run(connection)
    return {name: number for name, number in deleted.items() if number}


def test_messages_go_after_their_days_and_the_account_stays(engine: Engine) -> None:
    node = Talker()
    store(engine, *[node.presence() for _ in range(5)], node.say(Help("p", "pressed")), at=NOW - 31 * DAY_MS)
    standing, over = node.say(Alarm("disk", "full", "")), node.say(Alarm("case", "open", ""))
    store(engine, standing, over, node.clear("case"), at=NOW - 31 * DAY_MS)
    store(engine, *[node.presence() for _ in range(3)], at=NOW - 29 * DAY_MS)
    with engine.begin() as connection:
        settle(connection, NOW, 1)
    assert delete(engine, Limits()) == {"messages": 8, "alarms": 1, "presses": 1}
    assert rows(engine, "SELECT count(*) FROM messages") == [(3,)]
    assert rows(engine, "SELECT name FROM alarms") == [("disk",)]
    assert rows(engine, "SELECT count(*) FROM hours") == [(2,)]
    store(engine, node.presence(), standing, at=NOW)
    with engine.begin() as connection:
        reopen(connection)
        settle(connection, NOW, 1)
    assert rows(engine, "SELECT count(*) FROM gaps") == [(0,)]
    assert rows(engine, "SELECT name FROM alarms WHERE ended IS NULL") == [("disk",)]


def test_bands_go_after_theirs(engine: Engine) -> None:
    node = Talker()
    store(engine, node.presence(), at=NOW)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE hours SET hour = {NOW - 401 * DAY_MS}")
    assert delete(engine, Limits()) == {"hours": 1}


@pytest.mark.parametrize(("most", "left"), [(4, [7, 8, 9, 10]), (10, list(range(1, 11))), (0, list(range(1, 11)))])
def test_of_too_many_messages_the_oldest_go(engine: Engine, most: int, left: list[int]) -> None:
    node = Talker()
    for day in range(10):
        store(engine, node.health(), at=NOW - (20 - day) * DAY_MS)
    delete(engine, Limits(most_rows=most))
    assert [seq for (seq,) in rows(engine, "SELECT seq FROM messages ORDER BY seq")] == left

"""Drafts of answers on both databases: drafted for calls that wait, claimed by one desk, drafted again after a failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from agent.messages import Alarm, Help
from central.fleet.collect.store.database import open_database
from central.fleet.console.drafts import GIVEN_UP_MS, Draft, claim, draft_answer, settle
from central.fleet.console.snapshot import Snapshots
from tests.support.collecting import Talker, ready
from tests.support.consoles import store
from tests.support.postgres import postgres

PRESS, NODE = "ab" * 16, "city/stop-1"
WANTED = Draft(NODE, PRESS, "eva-ek")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'collect.db'}"
        return
    with postgres() as server:
        yield server.url


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = ready(url)
    talker = Talker(NODE)
    store(engine, [talker.say(Help(PRESS, "pressed")), talker.say(Alarm("help", "pressed", PRESS))])
    yield engine
    engine.dispose()


def drafted(engine: Engine, now: int, press: str = PRESS) -> bool:
    with engine.begin() as connection:
        return draft_answer(connection, NODE, press, "eva-ek", now)


def claimed(engine: Engine, now: int) -> list[Draft]:
    with engine.begin() as connection:
        return claim(connection, now)


def test_an_answer_is_claimed_once_and_drafted_again_after_a_failure(engine: Engine, url: str) -> None:
    readers = open_database(url, reading=True)
    assert not drafted(engine, 1, "cd" * 16)
    assert drafted(engine, 1)
    assert not drafted(engine, 2)
    assert (claimed(engine, 3), claimed(engine, 3)) == ([WANTED], [])
    assert not drafted(engine, 4)
    with engine.begin() as connection:
        settle(connection, WANTED, "failed", "no_answer", 5)
    assert drafted(engine, 6)
    assert claimed(engine, 7) == [WANTED]
    assert not drafted(engine, 7 + GIVEN_UP_MS)
    assert drafted(engine, 8 + GIVEN_UP_MS)
    assert [(call.state, call.press) for call in Snapshots(readers).read().calls] == [("waiting", PRESS)]
    readers.dispose()


def test_a_call_that_was_taken_is_not_answered_again(engine: Engine, url: str) -> None:
    store(engine, [Talker(NODE, first=9).say(Help(PRESS, "taken"))])
    assert not drafted(engine, 1)
    readers = open_database(url, reading=True)
    assert [call.state for call in Snapshots(readers).read().calls] == ["taken"]
    readers.dispose()

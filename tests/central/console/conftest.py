"""A console on a database with a small fleet, as a collector leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from agent.messages import Alarm, ChainHead, ClipNote, Describe, Heads, Help, Presence, RecordInForce, State
from privacy.ids import new_clip_id
from tests.support.collecting import Talker, ready
from tests.support.consoles import Console, serving, store

NOW = datetime.now(UTC)
AGO = NOW - timedelta(hours=2)
SOON = NOW + timedelta(days=20)
NAMES = {1: "Storgatan", 2: "Resecentrum", 12: "Hållplats 12", 112: "Hållplats 112"}


def described(stop: str, area: str) -> Describe:
    records = {"basis": RecordInForce("2026-14", SOON), "view": RecordInForce("view-3", None)}
    sensors, commands = ("camera", "help button"), {"ping": dict[str, str]()}
    return Describe("Raspberry Pi 5", "", sensors, "lykta 1", {}, commands, {}, stop, area, {}, records, {"tls": SOON})


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'collect.db'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = ready(url)
    yield engine
    engine.dispose()


@pytest.fixture
def talkers(engine: Engine) -> dict[int, Talker]:
    """Four stops: 1 films, 2 has an alarm, 12 is blind for the lawyer's reason, 112 has told nothing but its name."""
    talkers = {number: Talker(f"city/stop-{number}") for number in NAMES}
    said = [talker.say(described(NAMES[number], "Centrum" if number < 10 else "Väst")) for number, talker in talkers.items()]
    said += [talkers[number].say(State("ready", "filming", AGO, SOON, "nobody", {"camera": "ready"})) for number in (1, 2)]
    said.append(talkers[12].say(State("blind", "basis_expired", AGO, None, "lawyer", {"camera": "blind"})))
    said.append(talkers[2].say(Alarm("disk", "disk_error", "")))
    store(engine, said, round(AGO.timestamp() * 1000))
    store(engine, [talker.say(Presence("none", NOW)) for number, talker in talkers.items() if number != 112])
    return talkers


@pytest.fixture
def console(tmp_path: Path, url: str, talkers: dict[int, Talker]) -> Iterator[Console]:
    """Officers are named by a proxy at 127.0.0.1."""
    with serving(Console(tmp_path, url, "--proxy-from", "127.0.0.1", "--user-header", "X-User")) as console:
        yield console


@pytest.fixture
def pressed(engine: Engine, talkers: dict[int, Talker]) -> str:
    """Somebody pressed the button of stop 12; the name of the press."""
    press = "ab" * 16
    store(engine, [talkers[12].say(Help(press, "pressed")), talkers[12].say(Alarm("help", "pressed", press))])
    return press


@pytest.fixture
def clip(engine: Engine, talkers: dict[int, Talker]) -> str:
    """Stop 12 recorded a clip now, and its journals have heads."""
    name = new_clip_id(int(NOW.timestamp() * 1e9))
    numbers = [talkers[12].health("system", temperature_c=40.0 + turn) for turn in range(5)]
    heads = talkers[12].say(Heads({"camera": ChainHead(17, "cd" * 32)}))
    store(engine, [talkers[12].say(ClipNote(name, "recorded", "motion", "", 4_200_000)), heads, *numbers])
    return name

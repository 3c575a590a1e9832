"""16.4: what a service counts leaves the node, or says why it stays: no number is lost between a service and the centre."""

from __future__ import annotations

import ast
import types
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from msgspec import field

from agent.runtime.status import STATUS, CameraStatus, IoStatus, Name, Route, Status, UplinkStatus, local, published, routes
from agent.uplink.health import numbers_of
from provisioning.layout import CODE

COUNTED = {
    "agent/camera/keeper_thread.py": ("camera", "writes_lost"),
    "agent/camera/recorder.py": ("camera", "queue_dropped"),
    "agent/io/service.py": ("io", "commands_refused"),
    "agent/outbox/backlog.py": ("camera", "events_lost"),
    "agent/uplink/upload/order_queue.py": ("uplink", "orders_lost"),
    "agent/uplink/downlink.py": ("uplink", "ignored_commands"),
}
"""Queues that may be full, and the number that says how often."""
UNBOUNDED_OR_NONE = {
    "agent/camera/pipeline.py": "one picture at most waits for the detector, which asked for it; answers are as many as looks",
    "agent/inbox/inbox.py": "names of files that were noted already: what is forgotten is noted again",
    "agent/uplink/health.py": "a day's readings of a counter",
    "agent/uplink/publisher.py": "answers to messages in flight, which are bounded; what is sent again is in the outbox",
}


class Counted(Status, frozen=True, kw_only=True):
    """A status with one number that nobody thought of."""

    kept: Annotated[int, local("a test's")] = 0
    told: Annotated[dict[Name, int], published("buffer", name="lost")] = field(default_factory=dict)
    forgotten: int = 0
    words: str = ""


def is_number(hint: Any) -> bool:
    """A number, one that may be missing, or a dictionary of them."""
    if get_origin(hint) is Annotated:
        return is_number(get_args(hint)[0])
    if get_origin(hint) is types.UnionType:
        return any(is_number(one) for one in get_args(hint))
    if get_origin(hint) is dict:
        return is_number(get_args(hint)[1])
    return hint in (int, float, bool)


def lost(kind: type[Status]) -> list[str]:
    """Numbers of a status that are neither published nor local with a reason."""
    hints = get_type_hints(kind, include_extras=True)
    numbers = [name for name in kind.__struct_fields__ if is_number(hints[name])]
    known = routes(kind)
    return [name for name in numbers if not (route := known.get(name, Route())).groups and not route.reason]


@pytest.mark.parametrize("service", STATUS)
def test_every_number_is_published_or_says_why_not(service: str) -> None:
    assert lost(STATUS[service]) == []


def test_a_forgotten_number_is_noticed() -> None:
    assert lost(Counted) == ["forgotten"]
    assert numbers_of([Counted(kept=1, told={"io": 2}, forgotten=3)]) == {"buffer": {"lost_io": 2}}


def test_health_is_made_of_the_types_alone() -> None:
    """What was lost before: pictures, events, learned tiles, the self-test's age, the audit, and both queues."""
    camera = CameraStatus(
        frames=9, full_by_cause={"start": 2}, pictures_lost=1, events_lost=2, writes_lost=3, learned_tiles=4, self_test_minutes=5,
        audited=6, breach_candidates=7,
    )  # fmt: skip
    found = numbers_of([camera, IoStatus(commands_refused=8, events_lost=9), UplinkStatus(connected=True, orders_lost=10)])
    assert (found["camera"]["pictures_lost"], found["camera"]["frames"], found["privacy"]["frames"]) == (1, 9, 9)
    assert {"camera_events_lost": 2, "camera_writes_lost": 3, "io_events_lost": 9}.items() <= found["buffer"].items()
    assert found["link"]["io_commands_refused"] == 8
    privacy = {"full_start": 2, "learned_tiles": 4, "self_test_minutes": 5, "audited": 6, "breach_candidates": 7}
    assert privacy.items() <= found["privacy"].items()
    assert (found["link"]["connected"], found["link"]["orders_lost"]) == (1, 10)
    assert "presses" not in {name for numbers in found.values() for name in numbers}


def queues(path: Path) -> bool:
    """Whether a file makes a queue."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return any(ast.unparse(call.func) in ("Queue", "SimpleQueue", "deque") for call in calls)


def test_every_queue_counts_what_it_drops() -> None:
    """A file with a queue is listed, with the number that says what it lost, or why it loses nothing."""
    found = {str(path.relative_to(CODE)) for path in (CODE / "agent").rglob("*.py") if queues(path)}
    assert found == {*COUNTED, *UNBOUNDED_OR_NONE}
    for service, number in COUNTED.values():
        assert routes(STATUS[service])[number].groups, number

"""16.4: what a service counts leaves the node, or says why it stays: no number is lost between a service and the centre."""

from __future__ import annotations

import ast
import types
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from msgspec import field

from agent.messages import Health
from agent.runtime.routes import Route, local, published, routes
from agent.runtime.status import STATUS, CameraStatus, IoStatus, Name, Status, UplinkStatus
from agent.uplink.health.cadence import significant
from agent.uplink.health.groups import Groups, collect
from agent.uplink.health.readings import KINDS
from provisioning.layout import CODE
from tests.support import health_table

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
    "agent/camera/shares.py": "five minutes of counts, one in ten seconds",
    "agent/uplink/health/alarm_facts.py": "an hour of one count, every 15 seconds",
    "agent/uplink/health/trends.py": "a day's readings of a counter",
    "agent/uplink/publisher.py": "answers to messages in flight, which are bounded; what is sent again is in the outbox",
}


class Counted(Status, frozen=True, kw_only=True):
    """A status with one number that nobody thought of."""

    kept: Annotated[int, local("a test's")] = 0
    told: Annotated[dict[Name, int], published("buffer", "lost", name="lost")] = field(default_factory=dict)
    forgotten: int = 0
    words: str = ""


def numbers_of(*statuses: Status) -> dict[str, dict[str, object]]:
    """Values of all groups, by their names."""
    names = {kind: name for name, kind in STATUS.items()}
    groups: Groups = collect({names[type(one)]: one for one in statuses}, ())
    return {str(name): dict(group.values) for name, group in groups.items()}


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


def test_health_is_made_of_the_types_alone() -> None:
    """What was lost before: pictures, events, learned tiles, the self-test's age, the audit, and both queues."""
    camera = CameraStatus(
        frames=9, full_share_by_cause={"start": 0.25}, pictures_lost=1, events_lost=2, writes_lost=3, learned_tiles=4,
        self_test_minutes=5, audited=6, breach_candidates=7, memory_mb=300.5,
    )  # fmt: skip
    found = numbers_of(camera, IoStatus(commands_refused=8, events_lost=9), UplinkStatus(connected=True, orders_lost=10))
    assert (found["camera"]["pictures_lost"], found["agent"]["camera_memory_mb"]) == (1, 300.5)
    assert {"camera_events_lost": 2, "camera_writes_lost": 3, "io_events_lost": 9}.items() <= found["buffer"].items()
    assert found["link"]["io_commands_refused"] == 8
    privacy = {"full_share_start": 0.25, "learned_tiles": 4, "self_test_minutes": 5, "audited": 6, "breach_candidates": 7}
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


# -- R44, and when a group is sent -------------------------------------------------------------------------------------

FINE = {"frames", "masked", "full", "full_by_cause", "looks"}
"""Exact counts of frames: on the node only."""
SHARES = {"mask_coverage", "full_share", "full_share_by_cause"}


def test_no_exact_count_of_frames_leaves_the_node() -> None:
    """R44: whoever sees masked frames by the minute knows how many people there were, and when."""
    known = routes(CameraStatus)
    assert [name for name in FINE if known[name].groups or not known[name].reason] == []
    published_names = {
        name for group in numbers_of(CameraStatus(frames=9, masked=8, full=7, full_by_cause={"late": 7})).values() for name in group
    }
    assert not published_names & {"frames", "masked", "full", "full_late", "looks"}


@pytest.mark.parametrize("name", sorted(SHARES))
def test_a_share_of_masks_makes_no_message(name: str) -> None:
    route = routes(CameraStatus)[name]
    assert (route.change, route.factor) == (None, None)
    before, now = (Health("privacy", {name: share}, {}) for share in (0.0, 1.0))
    assert not significant(route, name, before, now)


def test_the_document_is_what_the_types_say() -> None:
    """docs/HEALTH.md: every group, number and word, its unit, and when it is sent."""
    assert health_table.PLACE.read_text() == health_table.text()
    every = [route for kind in (*STATUS.values(), *KINDS) for route in routes(kind).values() if route.groups]
    assert [route for route in every if not route.says] == []

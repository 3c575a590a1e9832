"""Changes of a state in the journal: each one, within a limit, and none left out in silence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.messages import StateName
from agent.runtime.state_journal import MOST, PERIOD_S, StateJournal

NAMES: tuple[StateName, ...] = ("ready", "degraded", "blind")


class Paper:
    """What was noted, and a clock that the test sets."""

    def __init__(self) -> None:
        self.entries: list[dict[str, object]] = []
        self.now_s = 0.0

    def note(self, kind: str, **facts: object) -> None:
        self.entries.append({"kind": kind, **facts})


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.floats(0, 400)), max_size=200))
def test_each_change_is_an_entry_or_is_counted(seen: list[tuple[StateName, float]]) -> None:
    paper = Paper()
    journal = StateJournal(paper.note, mono_s=lambda: paper.now_s)
    changes, before = 0, None
    for name, passed in seen:
        paper.now_s += passed
        journal.see(name, "why", "ops")
        changes, before = changes + (name != before), name
    left_out = sum(int(str(one.get("left_out", 0))) for one in paper.entries)
    assert len(paper.entries) <= MOST * (1 + paper.now_s // PERIOD_S)
    if changes <= MOST:
        assert (len(paper.entries), left_out) == (changes, 0)
    # What stands when the limit permits it is noted without another change, with the number of those left out.
    if seen:
        paper.now_s += PERIOD_S
        journal.see(seen[-1][0], "why", "ops")
        assert paper.entries[-1]["state"] == seen[-1][0]
        noted = sum(1 + int(str(one.get("left_out", 0))) for one in paper.entries)
        assert changes <= noted <= changes + len(paper.entries)


def test_the_same_state_again_is_no_entry() -> None:
    paper = Paper()
    journal = StateJournal(paper.note, "node_state", lambda: paper.now_s)
    for _ in range(1000):
        journal.see("ready", "filming", "nobody")
    assert paper.entries == [{"kind": "node_state", "state": "ready", "reason": "filming", "owner": "nobody"}]

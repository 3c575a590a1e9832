"""Link rescue, decided: never two reboots in a day of powered time, never in hours, under a hold or during a call (R30)."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from agent.rescue import AGAIN_S, DAY_S, MODEM_S, REBOOT_S, RECONNECT_S, Facts, Memory, Verdict, decide, fresh, look

MINUTE = st.tuples(
    st.integers(1, 600),
    st.booleans(),
    st.sampled_from([None, None, None, 0.0, 1e9, -5.0, 4000.0]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([True, False, None]),
    st.booleans(),
)


class Node:
    """A machine with its true powered time; what `lykta link` keeps on its disk."""

    def __init__(self) -> None:
        self.true_s, self.boot, self.mono_s = 0.0, 0, 0.0
        self.memory: Memory | None = None
        self.taken: list[tuple[float, Verdict, Facts]] = []

    def pass_(self, seconds: float) -> None:
        self.true_s += seconds
        self.mono_s += seconds

    def restart(self) -> None:
        self.boot, self.mono_s = self.boot + 1, 0.0

    def look(
        self,
        away_s: float | None = None,
        *,
        outside: bool = True,
        held: bool = False,
        call: bool | None = False,
        fitted: bool = True,
    ) -> list[tuple[str, str]]:
        facts = Facts(str(self.boot), self.mono_s, away_s, outside, held, call, fitted)
        before = self.memory or fresh(facts.boot, facts.mono_s, lost=False)
        self.memory, verdicts = decide(look(before, facts), facts)
        self.taken += [(self.true_s, verdict, facts) for verdict in verdicts]
        return [(verdict.rung, verdict.result) for verdict in verdicts]

    def done(self, rung: str) -> list[tuple[float, Facts]]:
        return [(when, facts) for when, verdict, facts in self.taken if (verdict.rung, verdict.result) == (rung, "done")]

    def minutes(self, count: int, **facts: object) -> list[tuple[str, str]]:
        said: list[tuple[str, str]] = []
        for _ in range(count):
            self.pass_(60)
            said += self.look(**facts)  # type: ignore[arg-type]
            if said and said[-1] == ("reboot", "done"):
                self.restart()
        return said


@given(st.lists(MINUTE, max_size=300), st.lists(st.booleans(), max_size=300))
def test_no_two_reboots_in_a_day_nor_when_forbidden(minutes: list[tuple], restarts: list[bool]) -> None:  # type: ignore[type-arg]
    node = Node()
    for index, (length, outside, away, held, fitted, call, cut) in enumerate(minutes):
        node.pass_(length * 60)
        node.look(away, outside=outside, held=held, call=call, fitted=fitted)
        if cut or (index < len(restarts) and restarts[index]):
            node.restart()
    reboots = node.done("reboot")
    assert all(later - sooner >= DAY_S for (sooner, _), (later, _) in itertools.pairwise(reboots))
    assert all(facts.outside and not facts.held and not facts.call for _, facts in reboots)
    modems = node.done("modem")
    assert all(later - sooner >= AGAIN_S for (sooner, _), (later, _) in itertools.pairwise(modems))
    assert all(facts.fitted for _, facts in modems)


def test_the_ladder() -> None:
    """15 min, 30 min, then each again two hours later, and 6 h."""
    node = Node()
    node.look()
    said = node.minutes(6 * 60 + 1)
    assert said[0] == ("reconnect", "done")
    assert node.done("reconnect")[0][0] == RECONNECT_S
    assert [when for when, _ in node.done("modem")] == [MODEM_S, MODEM_S + AGAIN_S, MODEM_S + 2 * AGAIN_S]
    assert [when for when, _ in node.done("reboot")] == [REBOOT_S]


def test_a_refusal_is_told_once_in_an_episode() -> None:
    node = Node()
    node.look(fitted=False)
    assert node.minutes(600, fitted=False, outside=False).count(("reboot", "hours")) == 1
    assert [one for one in node.taken if one[1].result == "not_fitted"].__len__() == 1
    node.look(away_s=0.0)
    assert ("modem", "not_fitted") in node.minutes(40, fitted=False)


def test_each_rule_refuses() -> None:
    for facts, reason in (({"outside": False}, "hours"), ({"held": True}, "hold"), ({"call": True}, "help")):
        node = Node()
        node.look()
        assert ("reboot", reason) in node.minutes(400, **facts)
        assert not node.done("reboot")


def test_a_silent_io_counts_as_a_call_for_a_day() -> None:
    node = Node()
    node.look()
    assert ("reboot", "help") in node.minutes(24 * 60 - 1, call=None)
    assert not node.done("reboot")
    node.minutes(2, call=None)
    assert [when for when, _ in node.done("reboot")] == [DAY_S]


def test_a_lost_memory_counts_as_a_reboot_just_now() -> None:
    node = Node()
    node.memory = fresh("0", 0.0, lost=True)
    assert ("reboot", "daily") in node.minutes(400)
    assert not node.done("reboot")

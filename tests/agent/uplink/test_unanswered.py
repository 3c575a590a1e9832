"""Which messages get no answer, and what becomes of them: pure, by properties, with brokers as models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from agent.outbox.outbox import Waiting
from agent.ranks import Rank
from agent.uplink.bad_messages import MOST_BREAKS, BadMessages
from agent.uplink.unanswered import Flight, answered, key_of, overdue

SILENT_S = 60.0
ROOM = 10
Broker = Callable[[int, Sequence[int]], set[int]]
"""Numbers that it answers, by the number of the connection and what it is sent there, in order."""


def message(seq: int) -> Waiting:
    return Waiting("epoch", Rank.EVENT, seq, "event/help", False, 0, None, b"{}")


flights = st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=20).map(
    lambda drawn: [Flight(message(at), since_s, overtaken) for at, (since_s, overtaken) in enumerate(sorted(drawn))]
)


@given(flights, st.floats(0, 200))
def test_a_connection_is_given_up_for_its_oldest_message_whatever_was_answered(flying: list[Flight], now_s: float) -> None:
    found = overdue(flying, now_s, SILENT_S)
    assert (found is not None) == any(now_s - one.since_s > SILENT_S for one in flying)
    if found:
        blamed = {key_of(one.waiting) for one in flying if one.overtaken and now_s - one.since_s > SILENT_S / 2}
        assert found.overtaken == blamed
        assert (found.first is None) == bool(blamed)
        assert found.first in (None, key_of(flying[0].waiting))


@given(st.lists(st.integers(0, 30), unique=True, min_size=1), st.data())
def test_an_answer_overtakes_what_was_sent_before_it_and_nothing_else(sent: list[int], data: st.DataObject) -> None:
    token = data.draw(st.sampled_from(sent))
    left = answered({one: Flight(message(one), 0.0) for one in sent}, token)
    assert list(left) == [one for one in sent if one != token]
    assert {one for one, flight in left.items() if flight.overtaken} == set(sent[: sent.index(token)])


def run(broker: Broker, waiting: Sequence[int], connections: int) -> tuple[set[int], set[int], BadMessages]:
    """What was acknowledged and what was set aside on that many connections, each given up after `SILENT_S`; on each of them one
    more message is sent last, as the node's state is at its birth. 0 and below: numbers of those."""
    bad, heard, aside = BadMessages(), set[int](), set[int]()
    queue = [message(seq) for seq in waiting]
    for number in range(connections):
        flying: dict[int, Flight] = {}
        done: set[int] = set()
        queue, birth = [*queue, message(-number)], True
        while queue or birth:
            birth = False
            sent, queue = queue, []
            flying |= {one.seq: Flight(one, 0.0) for one in sent}
            for seq in sorted(broker(number, list(flying)) - done, key=list(flying).index):
                queue += bad.passed(flying[seq].waiting)
                flying = answered(flying, seq)
                done.add(seq)
        heard |= done
        why = overdue(tuple(flying.values()), 2 * SILENT_S, SILENT_S)
        if why is None:
            queue = bad.idle()
            continue
        queue, broke = bad.left([one.waiting for one in flying.values()], why, ROOM)
        aside |= {one.seq for one in broke}
    return heard, aside, bad


few = st.sets(st.integers(1, 40), max_size=12)


@given(few)
def test_messages_that_are_never_answered_are_set_aside_and_no_other(mute: set[int]) -> None:
    everything = range(1, 41)
    heard, aside, bad = run(lambda _number, sent: set(sent) - mute, everything, 6)
    assert aside == mute
    assert heard >= set(everything) - mute
    assert bad.unanswered == 0, "each is settled"


@given(st.integers(1, 40))
def test_a_message_after_which_nothing_is_answered_is_set_aside_and_no_other(wedge: int) -> None:
    def broker(_number: int, sent: Sequence[int]) -> set[int]:
        return set(sent[: sent.index(wedge)] if wedge in sent else sent)

    heard, aside, bad = run(broker, range(1, 41), MOST_BREAKS + 3)
    assert aside == {wedge}
    assert heard >= set(range(1, 41)) - {wedge}
    assert bad.unanswered == 0


@given(st.integers(1, 30))
def test_a_broker_that_is_silent_costs_no_message(silent: int) -> None:
    """As long as it is, and the node knows of it."""
    heard, aside, bad = run(lambda number, sent: set(sent) if number >= silent else set(), range(1, 21), silent)
    assert (heard, aside) == (set(), set())
    assert bad.unanswered
    heard, aside, bad = run(lambda number, sent: set(sent) if number >= silent else set(), range(1, 21), silent + 2)
    assert not aside
    assert heard >= set(range(1, 21))
    assert bad.unanswered == 0

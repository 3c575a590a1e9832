"""Which subscriptions a broker granted, by what it answered and when: pure, by properties."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from drivers.mqtt.subscriptions import AGAIN_S, ANSWER_S, Subscriptions


@dataclass(frozen=True)
class Reason:
    is_failure: bool


answers = st.lists(st.tuples(st.integers(0, 8), st.lists(st.booleans().map(Reason), max_size=3)), max_size=20)


@given(st.integers(0, 6), answers)
def test_only_what_was_granted_in_words_is_granted(asked: int, said: list[tuple[int, list[Reason]]]) -> None:
    """Whatever else the broker answers: unknown tokens, none or several reasons, the same twice."""
    now = Subscriptions()
    for token in range(asked):
        now = now.asked(token, f"topic-{token}", 0.0)
    first: dict[int, list[Reason]] = {}
    for token, reasons in said:
        now = now.answered(token, reasons, 1.0)
        first.setdefault(token, reasons)
    assert set(now.waiting) == set(range(asked)) - set(first)
    assert now.complete == (not now.waiting)
    granted = {token for token in range(asked) if first.get(token) == [Reason(False)]}
    assert set(now.refused) == {f"topic-{token}" for token in range(asked) if token in first and token not in granted}


@given(st.floats(0, 1e6), st.floats(0, 200))
def test_an_answer_that_is_missing_is_late_and_a_refused_topic_is_asked_for_again(begin_s: float, passed_s: float) -> None:
    asked, now_s = Subscriptions().asked(1, "topic", begin_s), begin_s + passed_s
    assert asked.late(now_s) == (now_s - begin_s > ANSWER_S)
    assert asked.again(now_s) == ()
    refused = asked.answered(1, [Reason(True)], begin_s)
    assert not refused.late(now_s)
    assert refused.again(now_s) == (("topic",) if now_s - begin_s > AGAIN_S else ())
    granted = refused.asked(2, "topic", now_s).answered(2, [Reason(False)], now_s)
    assert (granted.complete, dict(granted.refused)) == (True, {})

"""The account of an outbox, as a pure function: each number was heard, or stands in one gap with its cause."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.messages import Cause
from agent.ranks import Rank
from central.fleet.collect.accounting import GRACE_MS, LONGEST_WAIT_MS, Account, Epoch, Facts, Gap, account

HEALTH, EVENT, URGENT, TOMBSTONE = (int(rank) for rank in (Rank.HEALTH, Rank.EVENT, Rank.URGENT, Rank.TOMBSTONE))


def judge(
    heard: list[tuple[int, int]],
    named: list[tuple[int, int, Cause]] | None = None,
    *,
    gaps: tuple[Gap, ...] = (),
    epoch: Epoch | None = None,
    away: int | None = None,
    now: int = 0,
) -> Account:
    last = max([seq for seq, _ in heard] + [one[1] for one in named or []], default=0)
    return account(Facts(epoch or Epoch(last=last), heard, sorted(named or []), gaps, away, now))


def test_an_outbox_of_which_all_was_heard_is_complete() -> None:
    found = judge([(seq, HEALTH) for seq in range(1, 101)])
    assert found.complete
    assert found.gaps == ()
    assert found.epoch.settled == 100


def test_a_gap_has_the_cause_that_the_node_named() -> None:
    found = judge([(1, EVENT), (2, EVENT), (9, EVENT)], [(3, 5, "bound"), (6, 8, "thinned")])
    assert found.complete
    assert [(gap.first, gap.last, gap.cause) for gap in found.gaps] == [(3, 5, "bound"), (6, 8, "thinned")]


def test_a_number_that_was_heard_and_named_counts_as_heard() -> None:
    """ "A number that was heard as well was on its way when it went"."""
    assert judge([(seq, EVENT) for seq in (1, 2, 3)], [(1, 3, "will")]).gaps == ()


def test_what_was_skipped_may_still_wait_until_a_message_of_the_lowest_rank_overtook_it() -> None:
    """Help is sent before a backlog of health: that is no loss, however late it is."""
    urgent = judge([(1, HEALTH), (900, URGENT)])
    assert [(gap.first, gap.last, gap.cause) for gap in urgent.gaps] == [(2, 899, "waiting")]
    assert not urgent.complete
    later = GRACE_MS + 1
    again = account(Facts(urgent.epoch, [], [], urgent.gaps, None, later))
    assert [gap.cause for gap in again.gaps] == ["waiting"]
    health = account(Facts(Epoch(**{**vars_of(again.epoch), "last": 901}), [(901, HEALTH)], [], again.gaps, None, later))
    assert [(gap.first, gap.last, gap.cause) for gap in health.gaps] == [(2, 899, "missing")]


def vars_of(epoch: Epoch) -> dict[str, int]:
    return {name: getattr(epoch, name) for name in Epoch.__dataclass_fields__}


def test_what_comes_late_closes_its_part_of_a_gap() -> None:
    gap = Gap(5, 9, "missing", 0)
    epoch = Epoch(settled=20, last=20, rank=HEALTH, proof=20)
    found = account(Facts(epoch, [(6, HEALTH), (7, HEALTH)], [(9, 9, "expired")], (gap,), None, 10 * GRACE_MS))
    assert [(one.first, one.last, one.cause) for one in found.gaps] == [(5, 5, "missing"), (8, 8, "missing"), (9, 9, "expired")]


def test_without_proof_a_gap_is_missing_after_a_week() -> None:
    gap = Gap(2, 2, "waiting", 0)
    epoch = Epoch(settled=3, last=3)
    assert account(Facts(epoch, [], [], (gap,), None, LONGEST_WAIT_MS - 1)).gaps[0].cause == "waiting"
    assert account(Facts(epoch, [], [], (gap,), None, LONGEST_WAIT_MS)).gaps[0].cause == "missing"


def test_a_gap_since_a_replica_is_away_says_so() -> None:
    gap, epoch = Gap(5, 9, "waiting", 1_000_000), Epoch(settled=20, last=20, rank=HEALTH, proof=20)
    now = 1_000_000 + GRACE_MS
    assert account(Facts(epoch, [], [], (gap,), 900_000, now)).gaps[0].cause == "replica_away"
    assert account(Facts(epoch, [], [], (gap,), 1_000_000 + 2 * GRACE_MS, now)).gaps[0].cause == "missing"
    assert account(Facts(epoch, [], [], (gap,), None, now)).gaps[0].cause == "missing"


def test_what_a_new_node_sent_before_the_collector_was_there_is_not_missing() -> None:
    """The retained description has a low number; what is between it and the first message that came live was before."""
    found = judge([(10, EVENT), (500, HEALTH), (501, HEALTH), (503, HEALTH)], epoch=Epoch(last=503, start=500, new=True))
    assert [(gap.first, gap.last, gap.cause) for gap in found.gaps] == [
        (1, 9, "before"),
        (11, 499, "before"),
        (502, 502, "waiting"),
    ]


NAMED = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9), st.sampled_from(["bound", "will", "thinned"])), max_size=6)


@given(st.sets(st.integers(1, 60)), NAMED, st.lists(st.integers(1, 60), max_size=5), st.integers(0, 2 * LONGEST_WAIT_MS))
def test_each_number_is_heard_or_in_exactly_one_gap(
    numbers: set[int], named: list[tuple[int, int, str]], later: list[int], now: int
) -> None:
    """Also when the account is made in two steps, whatever came in each."""
    ranges = sorted((first, first + more, cause) for first, more, cause in named)
    last = max([*numbers, *(one[1] for one in ranges)], default=0)
    first = account(Facts(Epoch(last=last), [(seq, HEALTH) for seq in numbers], ranges, (), None, 0))  # type: ignore[arg-type]
    open_gaps = [gap for gap in first.gaps if gap.cause in ("waiting", "missing", "replica_away")]
    inside = [seq for seq in set(later) if any(gap.first <= seq <= gap.last for gap in open_gaps)]
    second = account(Facts(first.epoch, [(seq, HEALTH) for seq in inside], ranges, open_gaps, None, now))  # type: ignore[arg-type]
    gaps = [gap for gap in first.gaps if gap not in open_gaps] + list(second.gaps)
    covered = sorted([*numbers, *inside, *(seq for gap in gaps for seq in range(gap.first, gap.last + 1))])
    assert covered == list(range(1, last + 1))

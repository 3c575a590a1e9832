"""What a question in plain words means. The clock of these tests: Monday 30 November 2026, 21:00 in Sweden."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.fleet.console.search import matching, read_question
from central.fleet.console.snapshot import Stop
from privacy.records.zone import stockholm

NOW = datetime(2026, 11, 30, 20, 0, tzinfo=UTC)


def meant(text: str) -> tuple[tuple[str, ...], str]:
    question = read_question(text, NOW)
    at = "" if question.at_ms is None else f"{datetime.fromtimestamp(question.at_ms / 1000, stockholm()):%Y-%m-%d %H:%M}"
    return question.words, at


@pytest.mark.parametrize(
    ("text", "words", "at"),
    [
        ("stop 12, Friday 22:14", ("12",), "2026-11-27 22:14"),
        ("hållplats 12 fredag 22.14", ("12",), "2026-11-27 22:14"),
        ("Resecentrum 2026-11-02 07:05", ("resecentrum",), "2026-11-02 07:05"),
        ("12 20:59", ("12",), "2026-11-30 20:59"),
        ("12 22:14", ("12",), "2026-11-29 22:14"),
        ("12 monday 22:14", ("12",), "2026-11-23 22:14"),
        ("12 måndag 20:14", ("12",), "2026-11-30 20:14"),
        ("igår kl 8:30 Stora torget", ("stora", "torget"), "2026-11-29 08:30"),
        ("12", ("12",), ""),
        ("", (), ""),
        ("12 25:14", ("12", "25", "14"), ""),
        ("12 2026-13-45 10:00", ("12", "2026", "13", "45"), "2026-11-30 10:00"),
    ],
)
def test_a_question_is_understood(text: str, words: tuple[str, ...], at: str) -> None:
    assert meant(text) == (words, at)


@given(st.text(max_size=300))
def test_no_question_is_a_fault(text: str) -> None:
    question = read_question(text, NOW)
    assert matching([_stop("city/stop-12", "Torget")], question.words) in ([], [_stop("city/stop-12", "Torget")])


def test_a_number_is_a_whole_word() -> None:
    stops = [_stop("city/stop-12", "Torget"), _stop("city/stop-112", "Hållplats 112"), _stop("city/stop-3", "Hållplats 12")]
    assert [stop.node for stop in matching(stops, ("12",))] == ["city/stop-12", "city/stop-3"]
    assert [stop.node for stop in matching(stops, ("torget", "12"))] == ["city/stop-12"]
    assert matching(stops, ()) == []


def _stop(node: str, name: str) -> Stop:
    return Stop(node, name, "Centrum", "ready", "", "nobody", None, None, 0)

"""CI runs one case of three of the slow tests: over three commits each case is run, and no test is left out whole."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tests.support.sampling import sampled


def items(file: str, *names: str) -> list[Any]:
    return [cast(Any, SimpleNamespace(nodeid=f"tests/{file}::{name}", path=Path(file))) for name in names]


def test_each_case_runs_after_some_commit_and_each_test_after_every_one() -> None:
    slow = items("test_damaged.py", *(f"test_kinds[{n}]" for n in range(7)), "test_one", "test_two[a]", "test_two[b]")
    runs = [[item.nodeid for item in sampled(slow, 3, first)] for first in range(3)]
    assert sorted({name for run in runs for name in run}) == sorted(item.nodeid for item in slow)
    for run in runs:
        assert {name.partition("[")[0] for name in run} == {item.nodeid.partition("[")[0] for item in slow}
        assert 5 <= len(run) <= 6


def test_long_tests_take_turns() -> None:
    long = items("test_broker_silence.py", *(f"test_{n}" for n in range(7)))
    runs = [[item.nodeid for item in sampled(long, 3, first)] for first in range(3)]
    assert sorted(name for run in runs for name in run) == sorted(item.nodeid for item in long)


def test_quick_files_run_whole() -> None:
    quick = items("test_basis.py", *(f"test_kinds[{n}]" for n in range(7)))
    assert sampled(quick, 3, 1) == quick

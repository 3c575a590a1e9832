"""Which cases of the slow tests run when only a share of them does."""

from __future__ import annotations

from collections import Counter

import pytest

_SAMPLED = {
    "test_bad_video", "test_check_security", "test_clips", "test_connections", "test_damaged", "test_detectors", "test_encoders",
    "test_foreign_media", "test_hostile_ingest", "test_mask_outputs", "test_names", "test_parcels", "test_paths", "test_races",
    "test_recipients", "test_sockets", "test_storage_faults", "test_own_files", "test_answers", "test_verify", "test_view_guard",
}  # fmt: skip
"""Files whose cases start processes or decode films: the slow ones."""
_BY_TURNS = {"test_broker_silence", "test_collect", "test_fleet", "test_looks", "test_replicas", "test_states"}
"""Files of few and long tests: of all tests in the file one of `every` runs."""


def sampled(items: list[pytest.Item], every: int, first: int) -> list[pytest.Item]:
    """Those to run, in their order. A test with fewer than `every` cases runs whole, but for the files whose tests take turns."""
    cases = Counter(_test_of(item) for item in items)
    seen, kept = Counter[str](), []
    for item in items:
        test = _test_of(item)
        if item.path.stem not in _SAMPLED | _BY_TURNS or cases[test] < every or seen[test] % every == first % every:
            kept.append(item)
        seen[test] += 1
    return kept


def _test_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::" if item.path.stem in _BY_TURNS else "[")[0]

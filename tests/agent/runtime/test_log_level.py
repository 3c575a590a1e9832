"""How much a service logs: by command, for a limited time (17.6)."""

from __future__ import annotations

from agent.runtime.commands.log_level import LogThreshold


def test_it_is_info_until_told_and_again_after_its_time() -> None:
    threshold = LogThreshold()
    assert [threshold.passes(level, 0) for level in ("debug", "info", "warning", "error")] == [False, True, True, True]
    threshold.set("debug", 600_000)
    assert threshold.passes("debug", 599_999)
    assert not threshold.passes("debug", 600_000)
    threshold.set("error", 900_000)
    assert not threshold.passes("warning", 899_999)
    assert threshold.passes("error", 899_999)
    assert threshold.passes("info", 900_000)

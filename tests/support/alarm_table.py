"""docs/ALARMS.md from the catalogue: `python -m tests.support.alarm_table` writes it."""

from __future__ import annotations

from pathlib import Path

from agent.alarm_catalogue import CATALOGUE, DAY_S, HOUR_S, MINUTE_S, AlarmKind

PLACE = Path(__file__).parents[2] / "docs/ALARMS.md"
HEAD = """# Alarms

What a node raises at `lykta/v1/<site>/<node>/alarm/<name>`, QoS 1, retained while it stands; an empty message ends it. After a dot
stands the `reason` of the message, where what to do depends on it. Each connection to the broker, so each birth, sends all
standing alarms again. io and the uplink keep over a restart which of theirs stand; one that ended meanwhile is cleared.

**critical**: somebody may be in danger or seen. **major**: the node does not do its work. **minor**: it will not for long.

*raised* and *ends* say for how long the cause must last, or be over, and from and below which value: between the two nothing
changes, and what is not known changes nothing either. Those of camera and io follow what raises them (view guard, contacts).
What the centre itself notices (a lost node, uploads that fall behind, a missing help test) is not here: the collector raises it.

This file is made from `agent/alarm_catalogue.py` by `python -m tests.support.alarm_table`; a test holds both equal.
"""


def span(seconds: float) -> str:
    for unit, name in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min")):
        if seconds >= unit:
            return f"{seconds / unit:g} {name}"
    return "at once"


def bounds(kind: AlarmKind) -> tuple[str, str]:
    """The columns raised and ends."""
    raised, ends = span(kind.after_s), span(kind.ends_s)
    if not (kind.raise_at - 1.0 or kind.clear_at - 1.0):
        # a fact that holds or does not
        return raised, ends
    if kind.raise_at < 0:
        return f"{-kind.raise_at:g} d before, {raised}", f"{-kind.clear_at:g} d before, {ends}"
    return f"from {kind.raise_at:g}, {raised}", f"below {kind.clear_at:g}, {ends}"


def text() -> str:
    parts = [HEAD]
    for kind in CATALOGUE.values():
        raised, ends = bounds(kind)
        parts.append(
            f"\n## `{kind.id}`\n\n{kind.severity}, raised by {kind.by}: {raised}; ends: {ends}.\n\n"
            "| | what | to do | to bring |\n|---|---|---|---|\n"
            f"| sv | {kind.sv.says} | {kind.sv.do} | {kind.sv.bring} |\n"
            f"| en | {kind.en.says} | {kind.en.do} | {kind.en.bring} |\n"
        )
    return "".join(parts)


if __name__ == "__main__":
    PLACE.write_text(text())

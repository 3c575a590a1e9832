"""The figures that commands and pages state are those of docs/MASKING.md."""

from __future__ import annotations

import re

import pytest

from agent.commands.mask.report import NOT_MEASURED
from tests.support.nodes import PROJECT

WHERE = {
    "README.md": (PROJECT / "README.md").read_text(),
    "agent/demo/page.py": (PROJECT / "agent/demo/page.py").read_text(),
    "lykta mask": NOT_MEASURED,
}
MASKING = (PROJECT / "docs/MASKING.md").read_text()
DAY = re.compile(r"\| `standard`, day \|.*\| (\d+) of (\d+) \| (\d+) % \|")
CAMERAS = re.compile(r"of (\d+) people whom the engine of \S+ left bare .*?, (\d+) are\s+masked now", re.DOTALL)

ALONE = re.compile(r"\*\*it masks (\d+) of the 30\*\*")


@pytest.mark.parametrize("where", WHERE)
def test_what_is_said_of_people_is_what_was_measured(where: str) -> None:
    said = " ".join(re.sub(r'"\s*\n\s*f?"', "", WHERE[where]).split())
    day, cameras, alone = DAY.search(MASKING), CAMERAS.search(MASKING), ALONE.search(MASKING)
    assert day
    assert cameras
    assert alone
    bare, people, most = day.groups()
    assert bare == "0"
    assert f"f {people} people" in said
    assert "nobody's head" in said
    assert re.search(rf"at most {most} (%|in 100)", said)
    if where != "lykta mask":
        assert f"of {cameras[1]} hard cases" in said
        assert f"{int(cameras[1]) - int(cameras[2])} are still visible with both networks" in said
        assert f"{int(cameras[1]) - int(alone[1])} with one" in said

"""docs/THREATS.md names tests, and they are there: a claim whose test is gone is no claim."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.nodes import PROJECT

NAMED = sorted(set(re.findall(r"`((?:\w+/)*test_\w+\.py(?:::\w+)?)`", (PROJECT / "docs/THREATS.md").read_text())))


def missing(named: str) -> str:
    """What is not there of a test that the page names, or ""."""
    file, _, name = named.partition("::")
    paths = list((PROJECT / "tests").rglob(file))
    if len(paths) != 1:
        return f"{len(paths)} files tests/**/{file}"
    (path,) = paths
    tests = {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
    wanted = [one for one in tests if one == name or (not name and one.startswith("test_"))]
    return "" if wanted else f"no test {name} in {path}"


@pytest.mark.parametrize("named", NAMED)
def test_what_the_page_names_is_there(named: str) -> None:
    assert missing(named) == ""


def test_the_page_names_tests_and_a_lost_one_is_noticed() -> None:
    assert len(NAMED) > 20
    assert missing("test_threats.py::test_that_is_gone")
    assert missing("attacks/test_gone.py")

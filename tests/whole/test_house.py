"""What tests share stands in tests/support or in a conftest: no file imports another one's tests or fixtures."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.nodes import PROJECT

FILES = sorted((PROJECT / "tests").rglob("*.py"))
OF_TESTS = re.compile(r"(^|\.)(test_\w+|conftest)(\.|$)")


def imported(source: str) -> Iterator[str]:
    """Dotted name of each module, and of each name taken from one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{one.name}" for one in node.names)


def taken(source: str) -> list[str]:
    """What a file imports out of another file of tests, or out of a conftest."""
    return [name for name in imported(source) if OF_TESTS.search(name)]


def test_no_file_imports_another_ones_tests() -> None:
    assert len(FILES) > 150
    found = {str(path.relative_to(PROJECT)): taken(path.read_text()) for path in FILES}
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "line",
    [
        "from tests.central.test_central import keys  # noqa: F401 - fixture",
        "from tests.central import test_central",
        "from .test_central import keys",
        "import tests.central.test_central as other",
        "def late():\n    from tests.central.conftest import node",
    ],
)
def test_such_an_import_is_noticed(line: str) -> None:
    assert len(taken(f"import json\nfrom tests.support.clips import made\n{line}\n")) == 1


def test_names_that_only_look_like_it_are_free() -> None:
    assert taken("from tests.support.clips import latest_of\nimport contest\nfrom unittest import mock\n") == []

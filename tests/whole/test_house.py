"""What tests share stands in tests/support or in a conftest: no file imports another one's tests or fixtures."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.linting import banned
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


# -- the product's files and folders -----------------------------------------------------------------------------------

PACKAGES = ("agent", "central", "drivers", "privacy", "provisioning")
PRODUCT = {str(path.relative_to(PROJECT)): path.read_text() for top in PACKAGES for path in sorted((PROJECT / top).rglob("*.py"))}
LONGEST_FILE, MOST_FILES, LONGEST_FUNCTION, USUAL_FUNCTION = 350, 20, 45, 20


def functions(source: str) -> list[tuple[int, str]]:
    """Lines and name of each function."""
    nodes = [one for one in ast.walk(ast.parse(source)) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [((one.end_lineno or 0) - one.lineno + 1, one.name) for one in nodes]


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, late imports counted: what is left when all that leads nowhere is taken away."""
    left = {name: set(others) for name, others in edges.items()}
    while loose := [name for name, others in left.items() if not others & left.keys() - {name}]:
        for name in loose:
            del left[name]
    return [sorted(left)] if left else []


def imports() -> dict[str, set[str]]:
    modules = {name.removesuffix(".py").replace("/", "."): source for name, source in PRODUCT.items()}
    edges = {}
    for name, source in modules.items():
        found = set(imported(source))
        edges[name] = {one for one in modules if one != name and (one in found or any(f.rpartition(".")[0] == one for f in found))}
    return edges


def test_no_file_folder_or_function_is_too_large() -> None:
    """16, figures: what a reader can hold in mind."""
    assert len(PRODUCT) > 200
    assert {name: lines for name, source in PRODUCT.items() if (lines := source.count("\n")) > LONGEST_FILE} == {}
    folders = [name.rpartition("/")[0] for name in PRODUCT if not name.endswith("__init__.py")]
    assert {name: count for name in set(folders) if (count := folders.count(name)) > MOST_FILES} == {}
    sizes = sorted(size for source in PRODUCT.values() for size, _ in functions(source))
    assert sizes[int(0.95 * len(sizes))] <= USUAL_FUNCTION
    assert [(name, one) for name, source in PRODUCT.items() for one in functions(source) if one[0] > LONGEST_FUNCTION] == []


def test_no_modules_import_each_other() -> None:
    """16, figures: late imports counted."""
    assert circles(imports()) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == [["a", "b", "c", "d"]]


# -- threads -----------------------------------------------------------------------------------------------------------

THREADS = {
    "import threading\nthreading.Thread(target=print).start()\n": "threading.Thread",
    "from threading import Thread\nThread(target=print).start()\n": "threading.Thread",
    "from threading import Timer\n": "threading.Timer",
    "import _thread\n": "_thread",
    "from concurrent.futures import ThreadPoolExecutor\n": "concurrent.futures",
}
STARTS = {
    "agent/runtime/service.py": "every thread of a service: failure and heartbeats",
    "agent/setup/service.py": "ends with the visit, and its failure ends the page",
    "central/fleet/answering.py": "its failure ends the desk",
    "central/fleet/collect/run.py": "the first failure ends the collector",
    "central/ingest/server.py": "its end ends the ingest",
    "drivers/mqtt/session.py": "one command long; its failure is the command's",
}
"""Files that start a thread without `Runtime.spawn`, or are it, and what becomes of a failure."""


@pytest.mark.parametrize("text", THREADS)
@pytest.mark.parametrize("place", PACKAGES)
def test_make_check_refuses_a_thread_that_nobody_watches(text: str, place: str) -> None:
    """14.A4: a driver's thread died of one EIO, and its service stayed `ready`."""
    assert f"`{THREADS[text]}` is banned" in banned(text, f"{place}/another.py")


def test_who_starts_threads_is_known() -> None:
    assert banned("from threading import Thread\n", "drivers/threads.py") == "All checks passed!\n"
    assert {
        name for name, source in PRODUCT.items() if "drivers.threads.start" in imported(source) or "threads.start(" in source
    } == {*STARTS}

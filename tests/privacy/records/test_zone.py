"""Help, deletion and the link need no zone file; without one the sensor stays off and the node says why (14.E19, R07)."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from privacy.records.zone import NAME
from tests.support.nodes import PROJECT, Node, stop, until

WHOLE = resources.files("tzdata").joinpath("zoneinfo", *NAME.split("/")).read_bytes()
ASK = """
from datetime import UTC, datetime
from privacy.records.zone import stockholm
print([f"{datetime(year, month, 15, tzinfo=UTC).astimezone(stockholm()):%H%z}" for year in (2026, 2060) for month in (1, 7)])
"""
RIGHT = "['01+0100', '02+0200', '01+0100', '02+0200']"


def without(folder: Path, data: bytes | None) -> dict[str, str]:
    """An environment whose system has this zone file, or none, and no tzdata package."""
    (folder / "shadow/tzdata").mkdir(parents=True)
    (folder / "shadow/tzdata/__init__.py").touch()
    return {"PYTHONPATH": str(folder / "shadow")} | with_file(folder, data)


def with_file(folder: Path, data: bytes | None) -> dict[str, str]:
    path = folder / "zones" / NAME
    path.parent.mkdir(parents=True)
    if data is not None:
        path.write_bytes(data)
    return {"PYTHONTZPATH": str(folder / "zones")}


def answer(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ASK], env=os.environ | environment, cwd=PROJECT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("cut", [None, 0, 3, 44, 300, len(WHOLE) - 20, len(WHOLE) - 1])
def test_a_missing_or_torn_file_gives_way_to_the_package(tmp_path: Path, cut: int | None) -> None:
    """A file cut in its last line still parses, as a zone without summer time: wrong hours for half of the year."""
    done = answer(with_file(tmp_path, None if cut is None else WHOLE[:cut]))
    assert done.stdout.strip() == RIGHT, done.stderr


def test_without_both_it_is_an_error_of_ours(tmp_path: Path) -> None:
    done = answer(without(tmp_path, WHOLE[:-20]))
    assert "ZoneError: Europe/Stockholm: no intact zone file" in done.stderr


def test_a_node_without_a_zone_is_blind_and_helps(node: Node, tmp_path: Path) -> None:
    """A torn file ended every service at its start, help and deletion with them."""
    environment = without(tmp_path, WHOLE[:-20])
    services = {name: node.start(name, log=name, **environment) for name in ("camera", "io", "uplink")}
    try:
        until(lambda: node.state("camera") == ("blind", "zone_unknown"), "the camera says why it is blind")
        assert node.status("camera")["standing"]["owner"] == "technician"
        until(lambda: node.state("io")[0] == "ready", "io helps")
        until(lambda: node.status("uplink"), "the uplink runs")
        done = subprocess.run(node.words("retention"), env=os.environ | environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    finally:
        codes = {name: stop(process) for name, process in services.items()}
    assert codes == dict.fromkeys(services, 0)


READS = """
import sys
seen = []
sys.addaudithook(lambda event, facts: seen.append(str(facts[0])) if event == "open" else None)
import importlib, pkgutil
for part in ("agent", "drivers", "privacy", "provisioning"):
    for found in pkgutil.walk_packages(importlib.import_module(part).__path__, f"{part}."):
        if not found.name.endswith("pi_camera"):
            importlib.import_module(found.name)
import os
inside = tuple([os.getcwd(), *filter(None, map(str, sys.path)), sys.prefix, sys.base_prefix])
print([path for path in seen if "/" in path and not path.startswith((*inside, "/proc/"))])
"""


def test_nothing_outside_the_program_is_read_at_import(tmp_path: Path) -> None:
    """What lies on the disk must not decide whether a service can start."""
    done = subprocess.run([sys.executable, "-c", READS], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"

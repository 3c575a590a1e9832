"""A centre with two officers and one node, and its access log, for the tests of what officers do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from central.keys.key_folder import authority_with_retired
from privacy.records.chains import Chain, verify_chain
from privacy.records.journal import Entry
from tests.support.broker import Centre
from tests.support.clips import Node, made


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Centre:
    return Centre(tmp_path_factory.mktemp("centre") / "keys")


@pytest.fixture(scope="module")
def template(centre: Centre) -> Path:
    """Two officers: officer-1 may do all, eva-ek may open."""
    made("officer", centre.folder, "eva-ek", "--may", "open")
    return centre.folder


@pytest.fixture(scope="module")
def node(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Node:
    return Node(template, "city/stop-1", tmp_path_factory.mktemp("node"))


@pytest.fixture
def keys(template: Path, tmp_path: Path, node: Node) -> Path:
    """A folder of keys for a test to spoil."""
    return Path(shutil.copytree(template, tmp_path / "keys"))


def log(keys: Path) -> Chain:
    return verify_chain(keys / "access", "access", authority_with_retired(keys))


def last(keys: Path) -> Entry:
    return log(keys).entries[-1]

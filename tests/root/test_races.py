"""14.B6: root works in folders of the camera's user, who changes a folder and a link meanwhile. Root's own files are let alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.powercut import disk
from tests.support.clip_node import ClipNode
from tests.support.clip_node_commands import NOBODY, given_to_nobody, lykta, ordered
from tests.support.swapper import FILES
from tests.support.swapping import swapping, untouched, victim

if disk.INSIDE not in os.environ:
    pytest.skip("`make test-root` runs it where what it makes ends with it", allow_module_level=True)

ROUNDS = 2


@pytest.fixture
def clip_node(folder: Path) -> Iterator[ClipNode]:
    """In a folder that everybody may enter, as on a node: pytest closes its own whenever it starts."""
    folder.chmod(0o711)
    clip_node = ClipNode(folder)
    for above in (clip_node.layout.var, *clip_node.layout.var.parents[:2]):
        above.chmod(0o755)
    yield clip_node
    clip_node.close()


@pytest.mark.parametrize("where", ["spool/CLIP"])
def test_an_order_obeyed_by_root_leads_nowhere_else(clip_node: ClipNode, folder: Path, where: str) -> None:
    clip = clip_node.clip()
    given_to_nobody(clip_node)
    target = victim(folder / "victim", *FILES, "manifest.jws", "hold.jws", "odometer.json", "state.db", "clips.lock")
    target.chmod(0o700)  # root's alone: whoever acts as the camera's user cannot even open it
    place = clip_node.layout.var / where.replace("CLIP", clip)
    with untouched(target), swapping(place.parent, place.name, target, "folder", user=NOBODY) as swapper:
        for _ in swapper.rounds(ROUNDS):
            done = ordered(clip_node, clip_node.order("hold", clip))
            assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["journal/retention/0000000000.jws", "camera/odometer.json"])
def test_a_file_that_becomes_a_link_is_not_changed_by_root(clip_node: ClipNode, folder: Path, name: str) -> None:
    clip = clip_node.clip()
    given_to_nobody(clip_node)
    target, path = victim(folder / "victim", "secret"), clip_node.layout.var / name
    before = facts(target / "secret")
    with swapping(path.parent, path.name, target / "secret", "file", user=NOBODY) as swapper:
        for _ in swapper.rounds(ROUNDS):
            for done in (ordered(clip_node, clip_node.order("hold", clip)), lykta(clip_node, "retention")):
                assert "Traceback" not in done.stderr
    assert facts(target / "secret") == before


def facts(path: Path) -> tuple[bytes, int, int, int]:
    found = path.stat()
    return path.read_bytes(), found.st_uid, found.st_mode, found.st_ctime_ns

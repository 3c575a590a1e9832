"""Nobody who may read a folder holds up who works in it: locks are files for their owner alone (R47, 14.B7)."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from privacy.files import locked
from provisioning.layout import Layout
from tests.support.clip_node import ClipNode
from tests.support.nodes import Node, stop, until


@contextmanager
def held(*paths: Path) -> Iterator[None]:
    """What a reader of these files and folders can do: open them for reading and keep a lock for ever."""
    descriptors = [os.open(path, os.O_RDONLY) for path in paths]
    for descriptor in descriptors:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield
    for descriptor in descriptors:
        os.close(descriptor)


def readable(layout: Layout) -> list[Path]:
    """Folders that other users may read (systemd/lykta.tmpfiles.conf); of the outboxes tests/attacks/test_outbox.py tells."""
    tops = (layout.etc, layout.run, layout.spool, layout.journal("io").parent, layout.var / "inbox")
    return [path for top in tops for path in (top, *top.rglob("*")) if path.is_dir() and not path.is_symlink()]


@pytest.mark.parametrize("umask", [0o000, 0o027])
def test_a_lock_is_its_owners_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with locked(tmp_path), locked(tmp_path, "other"):
            pass
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in sorted(tmp_path.iterdir())] == [0o600, 0o600]


def test_a_link_at_the_locks_name_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "made")
    with pytest.raises(OSError, match="symbolic"), locked(tmp_path):
        pass
    assert not (tmp_path / "made").exists()


def test_deletion_waits_for_no_reader_of_the_spool(clip_node: ClipNode) -> None:
    """The uplink may read the spool; a lock on its folder stopped deletion, and the camera's status with it."""
    clip = clip_node.clip()
    custody = clip_node.custody()
    clip_node.clock.runs(timedelta(hours=73))
    with held(*readable(clip_node.layout)):
        custody.keeper.sweep()
        assert not (clip_node.layout.spool / clip).exists()
    assert clip_node.notes() == [(clip, "expired", "retention: deadline")]


def test_help_and_film_wait_for_no_reader_of_their_folders(node: Node) -> None:
    """Technicians and the uplink may read the journals; a lock on io's stopped the help button at its next entry."""
    services = {name: node.start(name, log=name) for name in ("io", "camera")}
    until(lambda: node.state("io")[0] == "ready", "io is ready")
    until(lambda: node.state("camera") == ("ready", "filming"), "the camera films")
    with held(*readable(node.layout)):
        node.press()
        until(lambda: node.status("io")["detail"]["lamp"] == "blinking", "the lamp shows the call")
        until(lambda: '"help_pressed"' in node.run("journal", "show", "io", "--json").stdout, "the press is in the journal")
        until(node.clips, "the clip is sealed")
        done = subprocess.run(node.words("apply"), capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        for name in services:
            assert stop(services[name]) == 0
            services[name] = node.start(name, log=name)
        until(lambda: node.state("io")[0] == "ready", "io starts again")
        until(lambda: node.state("camera") == ("ready", "filming"), "the camera starts again")
    for process in services.values():
        assert stop(process) == 0


def test_what_a_service_locks_is_closed_to_others(node: Node) -> None:
    service = node.start("io")
    until(lambda: node.state("io")[0] == "ready", "io is ready")
    locks = [path for path in (node.root / "run").rglob("*lock") if path.is_file()]
    assert locks
    assert {stat.S_IMODE(path.stat().st_mode) for path in locks} == {0o600}
    assert stop(service) == 0

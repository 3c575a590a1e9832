"""Nobody acts by path in a folder of somebody with fewer rights (R48, 14.B5, 14.B6)."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from privacy.errors import RecordError, StorageError
from privacy.files import PRIVATE, PUBLIC, make_folder, place, read
from privacy.folders import opened, remove_tree, walk
from tests.support.nodes import PROJECT

NAMES = ["", ".", "..", "a/b", "a\0b", "/etc"]


@pytest.fixture(params=[0o000, 0o077], ids=["umask 000", "umask 077"])
def umask(request: pytest.FixtureRequest) -> object:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("mode", [PRIVATE, 0o640, PUBLIC])
def test_modes_are_explicit(tmp_path: Path, mode: int) -> None:
    make_folder(tmp_path / "a/b")
    place(tmp_path / "a/b/file", b"x", mode=mode)
    assert stat.S_IMODE((tmp_path / "a/b/file").stat().st_mode) == mode
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b")] == [0o750, 0o750]


def test_a_new_folder_keeps_what_its_parent_hands_down(tmp_path: Path) -> None:
    tmp_path.chmod(0o2750)
    make_folder(tmp_path / "a")
    with opened(tmp_path) as folder:
        folder.make("b")
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "b")] == [0o2750, 0o2750]


@pytest.mark.parametrize("at", [".file.part", "file"])
def test_place_writes_through_no_link(tmp_path: Path, at: str) -> None:
    """A link at the temporary name made root, or the centre, overwrite any file of its own."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"ours")
    (tmp_path / at).symlink_to(victim)
    place(tmp_path / "file", b"new")
    assert victim.read_bytes() == b"ours"
    assert not (tmp_path / "file").is_symlink()


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(1 << 40)
    with opened(tmp_path) as folder:
        for name in folder.names():
            with pytest.raises(RecordError):
                folder.read(name, name)
            with pytest.raises(RecordError):
                read(tmp_path / name, name)


def test_names_are_one_part(tmp_path: Path) -> None:
    with opened(tmp_path) as folder:
        for name in NAMES:
            with pytest.raises(RecordError):
                folder.read(name, "file")
            with pytest.raises(RecordError):
                folder.remove(name)


def test_a_link_on_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real/orders").mkdir(parents=True)
    (tmp_path / "inbox").symlink_to("real")
    with pytest.raises(RecordError), opened(tmp_path, "inbox", "orders"):
        pass


def test_a_deep_tree_is_removed_whole(tmp_path: Path) -> None:
    """1,200 folders inside each other broke off a wipe; files beside them stayed."""
    here = os.open(tmp_path, os.O_RDONLY)
    top = os.dup(here)
    for name in ["top", *["d"] * 1200]:
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
        os.symlink("/", "link", dir_fd=inner)
        os.close(here)
        here = inner
    os.close(here)
    assert remove_tree(top, "top") == []
    assert list((tmp_path).iterdir()) == []
    os.close(top)


def test_a_folder_that_moves_away_is_not_followed(tmp_path: Path) -> None:
    """Whoever moves a folder while it is walked must not lead the walk out of the tree."""
    (tmp_path / "tree/a/b").mkdir(parents=True)
    (tmp_path / "elsewhere/kept").mkdir(parents=True)
    with opened(tmp_path, "tree") as tree:
        steps = walk(tree.descriptor)
        assert next(steps)[1] == "b"
        (tmp_path / "tree/a").rename(tmp_path / "elsewhere/a")
        with pytest.raises(StorageError):
            next(steps)
    assert (tmp_path / "elsewhere/kept").is_dir()


def test_nothing_takes_the_place_of_a_device(tmp_path: Path) -> None:
    """`lykta diag /dev/null` as root made /dev/null a file, for the whole machine."""
    device = tmp_path / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("needs root: makes a device")
    with pytest.raises(FileExistsError, match="is a device"):
        place(device, b"x")
    assert device.is_char_device()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["null"]


def test_a_lock_is_to_be_had_where_the_disk_takes_no_file(tmp_path: Path) -> None:
    """A card that failed at boot is read-only: what is there must still be read."""
    if os.geteuid():
        pytest.skip("needs root: mounts")
    script = f"mount -t tmpfs -o size=16k tmpfs {tmp_path} && mount -o remount,ro {tmp_path} && exec {sys.executable} -c "
    code = "import sys; from pathlib import Path; from privacy.files import locked\nwith locked(Path(sys.argv[1])): print('locked')"
    words = ["unshare", "-m", "sh", "-c", script + '"$1" ' + str(tmp_path), "sh", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=PROJECT)
    if "mount" in done.stderr:
        pytest.skip(f"this kernel lets nobody mount here: {done.stderr.strip()}")
    assert done.stdout == "locked\n", done.stderr

"""16.5: one translator of what the system refuses: the number stays, and an error of ours passes as it is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from agent.clips.spool import is_full
from agent.outbox.database import PRIVATE
from privacy.errors import AccessError, LyktaError, StorageError, UnreachableError
from privacy.files import on_disk, place


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_the_systems_number_stays(number: int) -> None:
    """A full disk behind a wrapped error was reported as `disk_error`."""
    with pytest.raises(StorageError, match=r"^spool: .*") as found, on_disk("spool"):
        raise OSError(number, os.strerror(number))
    assert (found.value.errno, is_full(found.value)) == (number, number in (errno.ENOSPC, errno.EDQUOT))
    assert found.value.hint


def test_an_error_of_ours_passes_as_it_is() -> None:
    """Two of ours are the system's by their base: neither becomes a fault of the disk."""
    for problem in (UnreachableError("the broker is away"), StorageError("it is full", "", errno.ENOSPC)):
        with pytest.raises(LyktaError) as found, on_disk("spool"):
            raise problem
        assert found.value is problem


def test_who_may_not_is_told_so_only_where_that_can_be_mended() -> None:
    with pytest.raises(AccessError) as found, on_disk("basis", denied="use sudo"):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert found.value.hint == "use sudo"
    with pytest.raises(StorageError), on_disk("basis"):
        raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_is_a_full_disk_for_who_asks(tmp_path: Path) -> None:
    """Through real system calls: a device that takes nothing, and a folder that is a file."""
    with pytest.raises(StorageError) as found, on_disk("placed"), open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123
        full.write(b"x")
    assert is_full(found.value)
    missing = tmp_path / "file"
    place(missing, b"", mode=PRIVATE)
    with pytest.raises(StorageError) as found, on_disk(missing):
        place(missing / "below", b"")
    assert found.value.errno == errno.ENOTDIR

"""The process that changes names for `tests/support/swapping.py`. It imports nothing of ours, so that it begins at once."""

from __future__ import annotations

import ctypes
import mmap
import os
import stat
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal

Plain = Literal["folder", "file"]
FILES = ("00000001.jws", "receipt.jws", "junk")
"""What lies in the plain folder, and in the folders that links lead to: what is done here must not be done there."""
_EXCHANGE = 1 << 1
"""RENAME_EXCHANGE (linux/fs.h): both names are there at every moment."""


def main(folder: str, name: str, other: str, target: str, plain: Plain, counter: str, user: str) -> None:
    # Before it is another user: the counter is the test's.
    with Path(counter).open("r+b") as file, mmap.mmap(file.fileno(), 8) as count:
        here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        if int(user):
            os.setgroups([])
            os.setgid(int(user))
            os.setuid(int(user))
        swap_for_ever(here, name, other, target, plain, count)


def swap_for_ever(here: int, name: str, other: str, target: str, plain: Plain, count: mmap.mmap) -> None:
    """Until it is killed. here: the open folder; it may be moved, and emptied."""
    exchange, number = ctypes.CDLL(None).renameat2, 0
    names = (os.fsencode(name), os.fsencode(other))
    while True:
        done = exchange(here, names[0], here, names[1], _EXCHANGE) == 0
        if done:
            number += 1
            count[:8] = struct.pack("Q", number)
        if not done or number % 50 == 0:
            with suppress(OSError):  # somebody works there, too
                refill(here, name, other, target, plain)


def refill(here: int, name: str, other: str, target: str, plain: Plain) -> None:
    """Make again what was removed, one of each, and leave work in the plain one."""
    kinds = [kind_of(one, here) for one in (name, other)]
    if kinds[0] == kinds[1] != "":
        remove(other, here)
        kinds[1] = ""
    for one, kind, beside in ((name, kinds[0], kinds[1]), (other, kinds[1], kinds[0] or "plain")):
        if kind:
            continue
        if beside == "plain":
            os.symlink(target, one, dir_fd=here)
        elif plain == "folder":
            os.mkdir(one, 0o770, dir_fd=here)
        else:
            leave(one, here)
    if plain == "folder":
        fill(name, here)


def kind_of(name: str, folder: int) -> str:
    """link or plain; "" for nothing."""
    try:
        return "link" if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode) else "plain"
    except FileNotFoundError:
        return ""


def remove(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        at = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            with os.scandir(at) as found:
                for one in found:
                    os.unlink(one.name, dir_fd=at)
        finally:
            os.close(at)
        os.rmdir(name, dir_fd=folder)


def fill(name: str, folder: int) -> None:
    at = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        for one in FILES:
            leave(one, at)
    finally:
        os.close(at)


def leave(name: str, folder: int) -> None:
    with suppress(FileExistsError):
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o660, dir_fd=folder))


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]

"""Runs code as the user of a service: in a service's folders, root works with that user's rights only.

A symbolic or hard link that the service has placed there then gives no access that the service does not have itself.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drivers.capabilities import read_all
from privacy.files import make_folder
from provisioning.layout import Layout


@dataclass(frozen=True)
class _User:
    """User and group ids of a service. groups: of the other folders in which it may work."""

    user: int
    group: int
    groups: tuple[int, ...]


@contextmanager
def as_spool_owner(layout: Layout) -> Iterator[None]:
    """Run the block as the owner of the spool, if this process is root and the spool exists. Root owns the folder that contains the
    spool, so its owner can be trusted."""
    owner = os.lstat(layout.spool).st_uid if os.path.lexists(layout.spool) else 0
    user = _User(owner, _group_of(owner), _groups(layout.spool, layout.outbox.parent, layout.inbox))
    if os.geteuid() == 0 and owner:
        _make_missing(layout, user)
    with _acting_as(user, layout.var):
        yield


@contextmanager
def _acting_as(user: _User, var: Path) -> Iterator[None]:
    """Run the block as that user, if this process is root and the user is not. var: root's folder around the user's folders."""
    if os.geteuid() or not user.user:
        yield
        return
    before = os.getgroups()
    os.setgroups(user.groups)
    os.setegid(user.group)
    os.seteuid(user.user)
    # If only root may enter var, as in tests, the user's own folders are still reached with CAP_DAC_READ_SEARCH. Otherwise without:
    # it would let this process read files through a link that the user has made.
    if not os.access(var, os.X_OK, effective_ids=True):
        read_all()
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


def _make_missing(layout: Layout, user: _User) -> None:
    """Create the folders that systemd-tmpfiles creates on a node, owned by the service's user."""
    make_folder(layout.var / "journal", 0o755)
    for folder in (layout.camera, layout.journal("retention"), layout.outbox.parent):
        if not os.path.lexists(folder):
            folder.mkdir(0o750)
            os.chown(folder, user.user, user.group, follow_symlinks=False)


def _group_of(user: int) -> int:
    try:
        return pwd.getpwuid(user).pw_gid
    except KeyError:
        return user


def _groups(*folders: Path) -> tuple[int, ...]:
    return tuple(sorted({os.lstat(folder).st_gid for folder in folders if os.path.lexists(folder)} - {0}))

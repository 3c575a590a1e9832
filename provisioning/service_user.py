"""Root as the user of a service: what root does in a service's folders, it does with that user's rights and no more.

A link, or a file that is a second name of one of root's, then leads nowhere that the service could not go itself.
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
    """groups: of the folders that the service may work in beside its own."""

    user: int
    group: int
    groups: tuple[int, ...]


@contextmanager
def as_keeper_of_clips(layout: Layout) -> Iterator[None]:
    """With the rights of the spool's owner, if this is root and there is a spool: it lies in a folder of root's."""
    owner = os.lstat(layout.spool).st_uid if os.path.lexists(layout.spool) else 0
    user = _User(owner, _group_of(owner), _groups(layout.spool, layout.outbox.parent, layout.inbox))
    if os.geteuid() == 0 and owner:
        _make_missing(layout, user)
    with _acting_as(user, layout.var):
        yield


@contextmanager
def _acting_as(user: _User, var: Path) -> Iterator[None]:
    """As that user from here to the end, if this is root and the user is another. var: root's folder, in which its folders lie."""
    if os.geteuid() or not user.user:
        yield
        return
    before = os.getgroups()
    os.setgroups(user.groups)
    os.setegid(user.group)
    os.seteuid(user.user)
    # A node in a folder that only root may enter, as one for tests, is still a node. Else a link of that user's would be read.
    if not os.access(var, os.X_OK, effective_ids=True):
        read_all()
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


def _make_missing(layout: Layout, user: _User) -> None:
    """What systemd-tmpfiles makes on a node: root makes it in its own folders, for the service's user."""
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

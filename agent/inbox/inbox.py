"""Delivery of orders and receipts from the centre: to the camera, or into the inbox if it does not run. Nothing is verified here.

The inbox is read by the camera at its start and every ten seconds, and by `lykta retention` while the camera is off. A file is
renamed before it is read, so that one which crashes its reader does so at most twice:

<number>.jws             put there by the uplink
.<number>.jws.first      being processed; if found at a start, the process before ended meanwhile, by a crash or a power cut
.<number>.jws.again      being processed for the second time
.<number>.jws.damaged    given up; journalled
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from agent.runtime.control import ask
from agent.runtime.foreign_input import handling
from agent.runtime.rate_limit import Limit
from agent.runtime.requests import Freed, GiveOrder, GiveReceipt, OrderAnswered
from privacy.errors import LyktaError, RecordError, StorageError, UnreachableError
from privacy.files import locked, make_folder, on_disk
from privacy.folders import Folder, opened
from provisioning.layout import Layout

What = Literal["receipt", "order"]
Note = Callable[..., None]
_PATIENCE_S = 10.0
_AT_ONCE = 20
"""Files processed in one pass, so that many of them do not delay other work."""
MOST_NOTES, _HOUR_S = 100, 3600.0
"""Journal entries on refused files in an hour, of each kind."""
_FIRST, _AGAIN, _DAMAGED, _PART = ".first", ".again", ".damaged", ".part"
_OURS = re.compile(r"[A-Za-z0-9-]{1,64}\.jws|\.[A-Za-z0-9-]{1,64}\.jws\.(first|again|damaged|part)")
MOST_FILES, MOST_BYTES = 512, 4 << 20
"""Limits of one folder of the inbox."""


def hand_over_order(layout: Layout, number: str, token: str) -> OrderAnswered | None:
    """The camera's answer, None if it does not run and the order is now in the inbox; a refusal as `LyktaError`."""
    found: OrderAnswered | None = _hand_over(layout, "order", number, GiveOrder(token))
    return found


def hand_over_receipt(layout: Layout, clip: str, token: str) -> Freed | None:
    """The same for the centre's receipt of a clip."""
    found: Freed | None = _hand_over(layout, "receipt", clip, GiveReceipt(token))
    return found


def _hand_over(layout: Layout, what: What, name: str, request: GiveOrder | GiveReceipt) -> Any:
    token = request.jws
    try:
        return ask(layout.socket("camera", "uplink"), request, timeout=_PATIENCE_S)  # type: ignore[misc]
    except UnreachableError:
        with on_disk(f"inbox: {what} {name}"):
            make_folder(layout.inbox)
            with opened(layout.var, "inbox") as inbox:
                inbox.make(f"{what}s")
                with inbox.folder(f"{what}s") as folder:
                    _check_room(folder, what, name, len(token))
                    folder.place(f"{name}.jws", token.encode())
        return None


def _check_room(folder: Folder, what: What, name: str, size: int) -> None:
    """`StorageError` if the folder is at its limit: the camera will empty it, or the centre sends the file again."""
    others = [folder.facts(other).st_size for other in folder.names(MOST_FILES + 1) if other != f"{name}.jws"]
    if len(others) >= MOST_FILES or sum(others) + size > MOST_BYTES:
        raise StorageError(f"inbox: {what}s: {len(others)} wait, no more are taken", "is the camera or its timer running?")


def folder_of(layout: Layout, what: What) -> Path:
    return layout.inbox / f"{what}s"


class Inbox:
    """One folder of the inbox, for the process that keeps the clips. note: writes a journal entry."""

    def __init__(self, layout: Layout, what: What, note: Note) -> None:
        self._layout, self._what, self._note = layout, what, note
        self._noted: deque[str] = deque(maxlen=MOST_FILES)
        self._refused = Limit(MOST_NOTES, _HOUR_S)

    def empty(self, take: Callable[[bytes], object]) -> None:
        """Pass the oldest files to `take`. Those it refuses are journalled and deleted; after `StorageError` they stay.

        The folder is the uplink's: no link in it is followed, only short regular files are read, other names are removed.
        """
        try:
            make_folder(self._layout.camera)
            with (
                locked(self._layout.camera, "inbox.lock", wait=False),
                opened(self._layout.var, "inbox", f"{self._what}s") as folder,
            ):
                self._clear(folder)
                self._give_up(folder)
                for name in self._waiting(folder):
                    self._take(folder, name, take)
        except (FileNotFoundError, BlockingIOError):
            return  # nothing was put there yet, or another process empties it
        except (OSError, RecordError) as problem:
            self._note_once("folder", f"{self._what}s_unreadable", str(problem))

    def _clear(self, folder: Folder) -> None:
        """Remove unknown names and files given up long ago: they would use up the limits of the folder."""
        names = folder.names()
        for name in [name for name in names if not _OURS.fullmatch(name)]:
            folder.remove(name)
        for end in (_DAMAGED, _PART):
            for name in [name for name in names if name.endswith(end)][:-_AT_ONCE]:
                folder.remove(name)

    def _waiting(self, folder: Folder) -> list[str]:
        names = [name for name in folder.names() if _OURS.fullmatch(name)]
        left = [name for name in names if name.endswith(_FIRST)]
        return [*left, *(name for name in names if not name.startswith("."))][:_AT_ONCE]

    def _give_up(self, folder: Folder) -> None:
        for name in [name for name in folder.names() if _OURS.fullmatch(name) and name.endswith(_AGAIN)][:_AT_ONCE]:
            folder.rename(name, name.removesuffix(_AGAIN) + _DAMAGED)
            self._note_some("damaged", name.removesuffix(_AGAIN).removeprefix("."), "ended twice the process that read it")

    def _take(self, folder: Folder, name: str, take: Callable[[bytes], object]) -> None:
        plain = name.removeprefix(".").removesuffix(_FIRST)
        taken = f".{plain}{_AGAIN if name.endswith(_FIRST) else _FIRST}"
        folder.rename(name, taken)
        try:
            with handling(self._what):
                take(folder.read(taken, self._what))
        except OSError as problem:
            folder.rename(taken, plain)
            # Once per file: on a full disk the entries themselves are queued, and must not displace one another.
            self._note_once(plain, f"{self._what}_waits", str(problem))
        except LyktaError as problem:
            self._note_some("refused", plain, str(problem))
            folder.remove(taken)
        else:
            folder.remove(taken)

    def _note_some(self, end: str, name: str, reason: str) -> None:
        """A limited number in an hour, each with how many were omitted before it: each is signed and synced."""
        unnoted = self._refused.take(time.monotonic())
        if unnoted is not None:
            facts: dict[str, Any] = {"unnoted": unnoted} if unnoted else {}
            self._note(f"{self._what}_{end}", file=name, reason=reason, **facts)

    def _note_once(self, name: str, kind: str, reason: str) -> None:
        if name not in self._noted:
            self._noted.append(name)
            self._note(kind, file=name, reason=reason)

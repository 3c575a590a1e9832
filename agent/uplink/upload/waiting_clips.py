"""The clips that wait in the spool to be uploaded, most urgent first. It reads; it changes nothing.

Each manifest is read once, unverified, to sort the clips. With ten thousand clips on the node a scan costs a few system
calls: the spool folder's mtime shows when clips were added or deleted, and only running ones are examined by name.
"""

from __future__ import annotations

import os
from bisect import bisect_left, insort
from itertools import islice

from msgspec import Struct

from agent.inbox.inbox import folder_of
from agent.uplink.upload.parts import Item
from agent.uplink.upload.policy import Rank, What, rank_of_clip
from privacy.errors import RecordError
from privacy.files import on_disk, read
from privacy.ids import time_of
from privacy.records.jws import peek
from privacy.records.manifest import MANIFEST, MANIFEST_FILE, Manifest
from provisioning.layout import Layout

Key = tuple[Rank, str]
"""Rank and id; in sorted order the oldest of the most urgent come first."""
_AGAIN_S = 3600.0
_MOST_AT_ONCE = 500


class _Triggered(Struct, frozen=True):
    trigger: str


class WaitingClips:
    """Call `look` often, `look_through` periodically: only the latter finds orders that were stored with clips."""

    def __init__(self, layout: Layout, what: What) -> None:
        self._spool, self._receipts, self._what = layout.spool, folder_of(layout, "receipt"), what
        self.waiting: list[Key] = []
        self._ranks: dict[str, Rank | None] = {}
        self._running: set[str] = set()
        self._requested: set[str] = set()
        self._handed: dict[str, float] = {}
        self._seen = self._seen_before = -1

    def oldest_ms(self) -> int | None:
        """When the oldest waiting clip began, milliseconds since 1970, by its id; None if none waits."""
        oldest = min((clip for _, clip in self.waiting), default=None)
        return None if oldest is None else time_of(oldest)

    def look(self) -> None:
        """Find new and deleted clips."""
        changed = self._changed()
        # Once more after a change: two changes within one tick of the file system's clock have the same mtime.
        if changed != self._seen or self._seen != self._seen_before:
            self._scan()
        self._seen_before, self._seen = self._seen, changed
        # The newest first: in a long list the clip of a press just now comes first.
        complete = (clip for clip in sorted(self._running, reverse=True) if self._complete(clip))
        for clip in list(islice(complete, _MOST_AT_ONCE)):
            self._running.discard(clip)
            self._place(clip)

    def look_through(self, now_s: float) -> None:
        """Find also clips with an order to export, and clips still here after their receipt. now_s: monotonic."""
        for clip, rank in list(self._ranks.items()):
            if rank not in (Rank.HELP, Rank.EXPORT) and (self._spool / clip / "export.jws").exists():
                self._take(clip)
                self._place(clip)
        for clip, again_s in list(self._handed.items()):
            if now_s >= again_s and not self._in_inbox(clip):
                del self._handed[clip]
                # It may be listed already, by an order to export it that arrived meanwhile.
                self._take(clip)
                self._place(clip)

    def request(self, clip: str) -> None:
        """Send this clip also if the settings would leave it here, until this process ends."""
        self._requested.add(clip)
        if clip in self._ranks or self._handed.pop(clip, None) is not None:
            self._take(clip)
            self._place(clip)

    def is_complete(self, clip: str) -> bool:
        """Whether the node has that clip, finished. From any thread."""
        return self._complete(clip)

    def fetch(self, key: Key) -> Item:
        """A clip for upload; `StorageError` if it was deleted."""
        folder = self._spool / key[1]
        with on_disk(f"clip {key[1]}: manifest.jws", "it was freed or expired"):
            token = self._manifest(key[1])
        return Item(key[0], "clip", key[1], token.decode(), folder, peek(token, MANIFEST, Manifest).files)

    def handed_over(self, key: Key, now_s: float) -> None:
        """The camera or the inbox has the receipt. If the clip is still here in an hour, it is offered again."""
        self._take(key[1])
        self._handed[key[1]] = now_s + _AGAIN_S

    def gone(self, key: Key) -> bool:
        """Whether the clip no longer waits with this rank: it was deleted, has expired, or became more urgent."""
        if not self._complete(key[1]):
            self._take(key[1])
        place = bisect_left(self.waiting, key)
        return self.waiting[place : place + 1] != [key]

    def _changed(self) -> int:
        try:
            return self._spool.stat().st_mtime_ns
        except OSError:
            return -1  # there is no spool before the first clip

    def _scan(self) -> None:
        try:
            with os.scandir(self._spool) as entries:
                # A name with a dot is a clip that is being deleted.
                found = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")}
        except OSError:
            found = set()
        known = self._ranks.keys() | self._running | self._handed.keys()
        for clip in known - found:
            self._take(clip)
            self._running.discard(clip)
            self._handed.pop(clip, None)
            self._requested.discard(clip)
        self._running |= found - known

    def _place(self, clip: str) -> None:
        """Sort in a complete clip; it waits unless its receipt is in the inbox already."""
        try:
            rank = self._rank(clip)
        except FileNotFoundError:
            return  # just deleted: the next scan removes it
        self._ranks[clip] = rank
        if rank is not None and not self._in_inbox(clip):
            insort(self.waiting, (rank, clip))
        elif rank is not None:
            self._handed[clip] = 0.0

    def _rank(self, clip: str) -> Rank | None:
        folder = self._spool / clip
        try:
            trigger = peek(self._manifest(clip), MANIFEST, _Triggered).trigger
        except FileNotFoundError:
            raise
        except (RecordError, OSError):
            trigger = "damaged"  # the ingest reports the damage, and the status shows it
        return rank_of_clip(trigger, clip in self._requested or (folder / "export.jws").exists(), self._what)

    def _manifest(self, clip: str) -> bytes:
        return read(self._spool / clip / MANIFEST_FILE, f"clip {clip}: manifest.jws")

    def _take(self, clip: str) -> None:
        rank = self._ranks.pop(clip, None)
        if rank is not None:
            place = bisect_left(self.waiting, (rank, clip))
            if self.waiting[place : place + 1] == [(rank, clip)]:
                del self.waiting[place]

    def _complete(self, clip: str) -> bool:
        return (self._spool / clip / MANIFEST_FILE).exists()

    def _in_inbox(self, clip: str) -> bool:
        return (self._receipts / f"{clip}.jws").exists()

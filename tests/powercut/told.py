"""What the store told others: every acknowledgement, and every deletion that was begun, written where no power cut reaches.

Each fact is a JSON list in whole sectors of a file that is not part of the store: the room behind the file system, so that
the block log has facts and writes in one order, or any file beside it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
Fact = list[str | int | list[str]]


class Marks:
    """Where one process writes its facts, from a byte offset on."""

    def __init__(self, path: Path, offset: int) -> None:
        self._descriptor, self._offset = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), offset

    def tell(self, *fact: str | int | list[str]) -> None:
        data = json.dumps(fact).encode()
        data += b" " * (-len(data) % SECTOR)
        # A system call of its own: one that injected faults and traces can tell from the store's.
        os.pwritev(self._descriptor, [data], self._offset)
        self._offset += len(data)


def facts(data: bytes) -> list[Fact]:
    """All facts in a file of marks."""
    words, decoder, found, at = data.decode("ascii", "replace").replace("\0", " "), json.JSONDecoder(), [], 0
    while (start := words.find("[", at)) >= 0:
        fact, at = decoder.raw_decode(words, start)
        found.append(fact)
    return found


@dataclass
class Told:
    """What must be so after a crash.

    heads     unit → its journal's head, as text
    stored    messages that `put` stored (by a key of their own) and nobody began to delete
    deleted   messages that are gone for good; `letting` ones may be either
    synced    running clip → bytes of video and masks that were fed before its last sync
    sealed    finished clip → hash of its manifest; `last` is that of the newest, `ever` are all that there were
    freed     clips that are gone for good; `freeing` ones may be either; `ending` ones were finished: none goes in silence
    obeyed    number of an order → hash of its answer; held: clips that were ordered to stay
    """

    heads: dict[str, str] = field(default_factory=dict)
    epoch: str = ""
    seq: int = 0
    stored: set[str] = field(default_factory=set)
    letting: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    synced: dict[str, tuple[int, int]] = field(default_factory=dict)
    sealed: dict[str, str] = field(default_factory=dict)
    last: str = ""
    ever: set[str] = field(default_factory=lambda: {""})
    freeing: set[str] = field(default_factory=set)
    ending: set[str] = field(default_factory=set)
    freed: set[str] = field(default_factory=set)
    obeyed: dict[int, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    refused: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, many: Iterable[Fact]) -> Told:
        told = cls()
        for fact in many:
            told.take(fact)
        return told

    def take(self, fact: Fact) -> None:
        match fact:
            case ["head", str(unit), str(text)]:
                self.heads[unit] = text
            case ["epoch", str(epoch)]:
                self.epoch = epoch
            case ["put", int(seq), list(keys)]:
                self.seq = max(self.seq, seq)
                self.stored |= set(keys) - self.letting
            case ["deleting", list(keys)]:
                self.letting |= set(keys)
                self.stored -= set(keys)
            case ["deleted", list(keys)]:
                self.deleted |= set(keys)
            case ["refused", str(act), str(error)]:
                self.refused.append((act, error))
            case _:
                self._take_clip(fact)

    def _take_clip(self, fact: Fact) -> None:
        match fact:
            case ["synced", str(clip), int(video), int(masks)]:
                self.synced[clip] = (video, masks)
            case ["sealed", str(clip), str(sha256)]:
                self.sealed[clip] = sha256
                # A recovery tells again what it finds.
                self.last = self.last if sha256 in self.ever else sha256
                self.ever.add(sha256)
                self.synced.pop(clip, None)
            case ["freeing", str(clip)]:
                self.freeing.add(clip)
                self.synced.pop(clip, None)
                if self.sealed.pop(clip, None):
                    self.ending.add(clip)
            case ["freed", str(clip)]:
                self.freed.add(clip)
            case ["obeyed", int(number), str(sha256)]:
                self.obeyed[number] = sha256
            case ["held", str(clip)]:
                self.held.add(clip)
            case _:
                raise ValueError(f"fact: not known (got {fact!r})")

"""A node's days in fast motion, on the real store.

usage: python -m tests.powercut.workload ROOT HOME MARKS OFFSET ROUNDS [recover] [stubborn] [ACTOR…]

Each round is three hours. The camera films, seals, frees on a receipt, lets expire, drops; its neighbours journal, store
messages and let go of those that the broker has. Every act is told as soon as the store has returned from it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from pathlib import Path

from agent.messages import Help
from privacy.records.jws import sha256_hex
from provisioning.identity import Unit
from tests.powercut.store import Film, Home, Store, opened_store
from tests.powercut.told import Marks

ROUND = timedelta(hours=3)


class Camera:
    """The clips' life. act: what it does now, in a word."""

    def __init__(self, store: Store, marks: Marks, first: int) -> None:
        self._store, self._marks, self._dice, self.act = store, marks, random.Random("camera"), ""
        self._waiting: list[str] = []
        self._orders = first
        # As the service starts: a new database is told what is there, once.
        if first == 0:
            store.keeper.recover()
            store.keeper.sweep()
        self._expiring: dict[str, datetime] = {}

    def round(self, number: int, *, last: bool) -> Iterator[None]:
        """Yields between two acts."""
        self._store.pass_time(ROUND)
        fate = "run on" if last else ("upload", "keep", "expire", "drop")[number % 4]
        self.act = "journal"
        self._store.journals["camera"].append("tick", round=number)
        self._marks.tell("head", "camera", str(self._store.journals["camera"].head))
        yield
        yield from self._film(fate)
        if self._waiting and fate == "keep":
            self._receipt(self._waiting.pop(0))
            yield
        self._sweep()
        yield

    def _film(self, fate: str) -> Iterator[None]:
        self.act = "clip"
        film = self._store.film(2 * ROUND if fate == "expire" else 100 * ROUND)
        try:
            film.begin()
            yield
            for _ in range(self._dice.randint(1, 3)):
                film.second(self._dice.randint(20_000, 160_000), self._dice.randint(200, 9_000))
                self._marks.tell("synced", film.clip, *film.fed)
                yield
            if fate == "run on":
                film.abandon()
                return
            if fate != "drop":
                self._finish(film, fate)
                yield
                if fate == "keep":
                    self._hold(film.clip)
                    yield
                return
        except OSError:
            self._drop(film)
            raise
        self._drop(film)

    def _finish(self, film: Film, fate: str) -> None:
        self._marks.tell("sealed", film.clip, film.finish())
        self._told(f"{film.clip}:recorded")
        if fate == "upload":
            self._waiting.append(film.clip)
        if fate == "expire":
            self._expiring[film.clip] = film.manifest.deadline

    def _hold(self, clip: str) -> None:
        self.act, self._orders = "order", self._orders + 1
        answer = self._store.orders.obey(self._store.hold(self._orders, clip))
        self._marks.tell("obeyed", self._orders, sha256_hex(answer))
        self._marks.tell("held", clip)

    def _drop(self, film: Film) -> None:
        self._marks.tell("freeing", film.clip)
        film.drop()
        if self._store.keeper.telling.trouble is None:
            self._marks.tell("freed", film.clip)

    def _receipt(self, clip: str) -> None:
        self.act = "receipt"
        self._marks.tell("freeing", clip)
        self._store.keeper.receipt(self._store.receipt(clip))
        self._ended(clip, "uploaded")

    def _sweep(self) -> None:
        self.act = "sweep"
        due = [clip for clip, deadline in self._expiring.items() if deadline <= self._store.now]
        for clip in due:
            self._marks.tell("freeing", clip)
        self._store.keeper.sweep()
        for clip in due:
            self._ended(clip, "expired")
            del self._expiring[clip]

    def _ended(self, clip: str, stage: str) -> None:
        if self._store.keeper.telling.trouble is None:
            self._marks.tell("freed", clip)
        self._told(f"{clip}:{stage}")

    def _told(self, key: str) -> None:
        """What the keeper journalled and put, unless it waits for a disk that refuses."""
        if self._store.keeper.telling.trouble is None:
            self._marks.tell("put", 0, [key])
            self._marks.tell("head", "camera", str(self._store.journals["camera"].head))


class Neighbours:
    """io and uplink: they journal, store messages, and let go of those that the broker has."""

    def __init__(self, store: Store, marks: Marks, _first: int) -> None:
        self._store, self._marks, self.act = store, marks, ""
        marks.tell("epoch", store.outbox.epoch)

    def round(self, number: int, *, last: bool) -> Iterator[None]:
        store, press = self._store, f"press-{number}"
        store.pass_time(ROUND)
        self._enter("io", "press", press=press)
        yield
        self.act = "put"
        store.outbox.put(Help(press, "pressed"), Help(f"{press}-taken", "taken"))
        keys = store.keys()
        self._marks.tell("put", keys[f"{press}-taken"].seq, [press, f"{press}-taken"])
        yield
        self._enter("uplink", "heads", io=str(store.journals["io"].head))
        yield
        if number % 3 == 2:
            some = list(keys)[:5]
            self.act = "delete"
            self._marks.tell("deleting", some)
            store.outbox.delete([keys[one] for one in some])
            self._marks.tell("deleted", some)
            yield

    def _enter(self, unit: Unit, kind: str, **facts: str) -> None:
        self.act = "journal"
        self._store.journals[unit].append(kind, **facts)
        self._marks.tell("head", unit, str(self._store.journals[unit].head))


Actor = Camera | Neighbours
ACTORS: dict[str, type[Actor]] = {"camera": Camera, "neighbours": Neighbours}


def run(store: Store, marks: Marks, rounds: int, names: Sequence[str], *, first: int = 0, stubborn: bool = False) -> None:
    """All acts of these actors, by turns. A stubborn one whose act the disk refuses tells so and goes on with its next round."""
    actors = [ACTORS[name](store, marks, first) for name in names]
    for number in range(first, first + rounds):
        turns = [_turns(actor, marks, number, last=number == first + rounds - 1, stubborn=stubborn) for actor in actors]
        for _ in zip_longest(*turns):
            pass


def _turns(actor: Actor, marks: Marks, number: int, *, last: bool, stubborn: bool) -> Iterator[None]:
    try:
        yield from actor.round(number, last=last)
    except OSError as problem:
        if not stubborn:
            raise
        marks.tell("refused", actor.act, type(problem).__name__)


def recover(store: Store, marks: Marks) -> None:
    """What the camera does at its start; every clip that is there afterwards is told."""
    store.keeper.recover()
    for clip in store.spool.clips():
        marks.tell("sealed", clip, sha256_hex((store.spool.folder / clip / "manifest.jws").read_bytes()))
    marks.tell("head", "camera", str(store.journals["camera"].head))


def main(root: str, home: str, marks: str, offset: str, rounds: str, *names: str) -> None:
    with opened_store(Path(root), Home.load(Path(home))) as store:
        told, actors = Marks(Path(marks), int(offset)), [name for name in names if name in ACTORS]
        if "recover" in names:
            recover(store, told)
        run(store, told, int(rounds), actors, stubborn="stubborn" in names)


if __name__ == "__main__":
    main(*sys.argv[1:])

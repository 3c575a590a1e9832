"""A node's days in fast motion, on the real store. usage: python -m tests.powercut.workload ROOT HOME MARKS OFFSET ROUNDS ACTOR…

Each round is three hours. The camera films, seals, frees on a receipt, lets expire, drops; its neighbours journal, store
messages and let go of those that the broker has. Every act is told as soon as the store has returned from it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path

from agent.messages import Help
from privacy.errors import StorageError
from tests.powercut.store import Film, Home, Marks, Store, opened_store

ROUND = timedelta(hours=3)
Actor = Callable[[Store, Marks, int], Iterator[None]]


def camera(store: Store, marks: Marks, rounds: int) -> Iterator[None]:
    """The clips' life. Yields between two acts."""
    dice, waiting, expiring = random.Random("camera"), [], {}
    for number in range(rounds):
        store.now += ROUND
        store.journals["camera"].append("tick", round=number)
        marks.tell("head", "camera", str(store.journals["camera"].head))
        fate = ("upload", "keep", "expire", "drop")[number % 4]
        film = store.film(2 * ROUND if fate == "expire" else 100 * ROUND)
        yield
        for _ in range(dice.randint(1, 3)):
            film.second(dice.randint(20_000, 160_000), dice.randint(200, 9_000))
            marks.tell("synced", film.clip, *film.fed)
            yield
        if number == rounds - 1:
            return
        if fate == "drop":
            marks.tell("freeing", film.clip)
            film.drop()
            marks.tell("freed", film.clip)
        else:
            _finish(store, marks, film)
            if fate == "upload":
                waiting.append(film.clip)
            if fate == "expire":
                expiring[film.clip] = film.manifest.deadline
        yield
        if waiting and fate == "keep":
            _receipt(store, marks, waiting.pop(0))
            yield
        due = [clip for clip, deadline in expiring.items() if deadline <= store.now]
        for clip in due:
            marks.tell("freeing", clip)
        store.keeper.sweep()
        for clip in due:
            _told_end(store, marks, clip, "expired")
            del expiring[clip]
        yield


def _finish(store: Store, marks: Marks, film: Film) -> None:
    sha256 = film.finish()
    marks.tell("sealed", film.clip, sha256)
    _told(store, marks, f"{film.clip}:recorded")


def _receipt(store: Store, marks: Marks, clip: str) -> None:
    marks.tell("freeing", clip)
    store.keeper.receipt(store.receipt(clip))
    _told_end(store, marks, clip, "uploaded")


def _told_end(store: Store, marks: Marks, clip: str, stage: str) -> None:
    marks.tell("freed", clip)
    _told(store, marks, f"{clip}:{stage}")


def _told(store: Store, marks: Marks, key: str) -> None:
    """What the keeper journalled and put, unless it waits for a disk that refuses."""
    if store.keeper.later.trouble is None:
        marks.tell("put", 0, [key])
        marks.tell("head", "camera", str(store.journals["camera"].head))


def neighbours(store: Store, marks: Marks, rounds: int) -> Iterator[None]:
    """io and uplink. Yields between two acts."""
    marks.tell("epoch", store.outbox.epoch)
    for number in range(rounds):
        store.now += ROUND
        press = f"press-{number}"
        store.journals["io"].append("press", press=press)
        marks.tell("head", "io", str(store.journals["io"].head))
        yield
        store.outbox.put(Help(press, "pressed"), Help(f"{press}-taken", "taken"))
        keys = store.keys()
        marks.tell("put", keys[f"{press}-taken"], [press, f"{press}-taken"])
        yield
        store.journals["uplink"].append("heads", io=str(store.journals["io"].head))
        marks.tell("head", "uplink", str(store.journals["uplink"].head))
        yield
        if number % 3 == 2:
            some = sorted(keys, key=keys.__getitem__)[:5]
            marks.tell("deleting", some)
            store.outbox.delete([keys[one] for one in some])
            marks.tell("deleted", some)
            yield


ACTORS: dict[str, Actor] = {"camera": camera, "neighbours": neighbours}


def run(store: Store, marks: Marks, rounds: int, *names: str) -> None:
    """All acts of these actors, by turns. A disk that refuses ends a turn, not the run."""
    for _ in zip_longest(*(ACTORS[name](store, marks, rounds) for name in names)):
        pass


def main(root: str, home: str, marks: str, offset: str, rounds: str, *names: str) -> None:
    with opened_store(Path(root), Home.load(Path(home))) as store:
        run(store, Marks(Path(marks), int(offset)), int(rounds), *names)


if __name__ == "__main__":
    main(*sys.argv[1:])

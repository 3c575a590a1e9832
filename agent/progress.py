"""Progress and notes on stderr: a bar where somebody watches, a line now and then where nobody does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from privacy.foreign import printable

_EVERY = 250


def note(text: str) -> None:
    """One line."""
    sys.stderr.write(f"note: {printable(text, len(text))}\n")
    sys.stderr.flush()


@contextmanager
def progress(what: str, total: int, every: int = _EVERY) -> Iterator[Callable[[], None]]:
    """A function to call after each step. total: 0 where it is not known."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what, total, every)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total or None)
        yield lambda: bar.advance(task)


def _lines(what: str, total: int, every: int) -> Callable[[], None]:
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if done % every == 0:
            sys.stderr.write(f"{what}: {done}{f' of {total}' if total else ''}\n")
            sys.stderr.flush()

    return step

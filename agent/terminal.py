"""What the command line prints: results on stdout, as a table or one JSON object; progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from drivers import stderr
from privacy.foreign import lines

_WIDE = 160
_EVERY = 250


def show(schema_name: str, facts: dict[str, Any], table: Table, as_json: bool) -> None:
    """Result on stdout: one versioned object, or a table."""
    if as_json:
        sys.stdout.write(json.dumps({"schema": f"lykta.{schema_name}/1", **facts}, default=str) + "\n")
    else:
        # Piped output has no width; 80 columns would break every line of a status.
        Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE).print(table)


class _Table(Table):
    """Cells are plain text: brackets are no markup, and control characters are removed."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*(Text(lines(str(cell))) for cell in cells), **options)


def table_of(*columns: str) -> Table:
    table = _Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


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
            stderr.line(f"{what}: {done}{f' of {total}' if total else ''}")

    return step

"""What both programs say on stderr: the only file that writes there. What is quoted of others makes no line and moves no cursor."""

from __future__ import annotations

import sys

from privacy.errors import LyktaError
from privacy.foreign import error_lines, printable, traceback_lines


def error(problem: LyktaError) -> None:
    """`error:` and, where there is one, `hint:`, a line each."""
    _write(error_lines(problem))


def unforeseen(problem: BaseException) -> None:
    """A fault of ours, with its traceback."""
    _write(traceback_lines(problem))
    error(LyktaError(f"{type(problem).__name__}: {problem}", "this should not happen; please report it"))


def traceback(problem: BaseException) -> None:
    """A fault of ours that ends nothing: its traceback alone."""
    _write(traceback_lines(problem))


def note(text: str) -> None:
    """What went otherwise than expected, in one line."""
    line(f"note: {text}")


def line(text: str) -> None:
    """Progress, or an event, in one line."""
    _write(f"{printable(text, len(text))}\n")


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()

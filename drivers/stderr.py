"""Output of both programs on stderr; no other file writes there. In quoted text line ends and control characters are replaced."""

from __future__ import annotations

import sys

from privacy.errors import LyktaError
from privacy.foreign import error_lines, printable, traceback_lines


def error(problem: LyktaError) -> None:
    """A line `error:` and, if there is a hint, a line `hint:`."""
    _write(error_lines(problem))


def unexpected(problem: BaseException) -> None:
    """An exception that is a fault of the program, with its traceback."""
    _write(traceback_lines(problem))
    error(LyktaError(f"{type(problem).__name__}: {problem}", "this should not happen; please report it"))


def traceback(problem: BaseException) -> None:
    """The traceback of a fault after which the program continues."""
    _write(traceback_lines(problem))


def note(text: str) -> None:
    """One line about something unexpected that is not an error."""
    line(f"note: {text}")


def line(text: str) -> None:
    """One line of progress, or about an event."""
    _write(f"{printable(text, len(text))}\n")


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()

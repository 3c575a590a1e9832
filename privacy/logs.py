"""Formats the log of a library, e.g. of a web server, like Lykta's own log lines; control characters are replaced."""

from __future__ import annotations

import logging
from typing import Any

from privacy.foreign import printable, traceback_lines


class PlainFormatter(logging.Formatter):
    """One line per entry, followed by the indented traceback of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        said = f"{record.levelname.lower()}: {printable(record.getMessage())}"
        fault = record.exc_info[1] if record.exc_info else None
        return f"{said}\n{traceback_lines(fault)}".rstrip("\n") if fault else said


def log_of(name: str) -> dict[str, Any]:
    """Settings for `logging.config.dictConfig`: this logger's warnings and errors on stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"()": PlainFormatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
        "loggers": {name: {"handlers": ["stderr"], "level": "WARNING", "propagate": False}},
    }

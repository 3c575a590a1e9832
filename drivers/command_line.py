"""How a command ends: whatever goes wrong is an error and its hint on stderr, and an exit code. Both command lines end here."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer
from typer.exceptions import TyperException

from privacy.errors import AccessError, LyktaError, StorageError
from privacy.foreign import error_lines


def ended(app: Callable[..., object]) -> int:
    """Run a command line to its end; its exit code. app: called as typer's, with `standalone_mode`."""
    try:
        code = app(standalone_mode=False)
    except TyperException as problem:
        return _misused(problem)
    except typer.Abort:
        return _failed(LyktaError("stopped", "nothing was answered"))
    except LyktaError as problem:
        return _failed(problem)
    except OSError as problem:
        return _failed(_of_system(problem))
    return code if isinstance(code, int) else 0


def _failed(problem: LyktaError) -> int:
    sys.stderr.write(error_lines(problem))
    return problem.exit_code


def _misused(problem: TyperException) -> int:
    """Words that are no command, or not all that one needs. Without any words the help was shown, and nothing is wrong."""
    message, context = problem.format_message(), getattr(problem, "ctx", None)
    if not message.strip():
        return problem.exit_code
    name = context.command_path if context else ""
    wrong = LyktaError(message[:1].lower() + message[1:].rstrip("."), f"{name} --help".strip())
    sys.stderr.write(error_lines(wrong))
    return problem.exit_code


def _of_system(problem: OSError) -> LyktaError:
    """What the system refused, and nobody foresaw."""
    what = ": ".join(str(part) for part in (problem.filename, problem.strerror or problem) if part)
    if isinstance(problem, PermissionError):
        return AccessError(what, "may this user read or write it? use sudo, or the user whose it is")
    return StorageError(what, "is it the right file, and is the disk well?")

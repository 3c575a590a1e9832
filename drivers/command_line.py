"""The frame of both command lines: commands that are loaded when they are asked for, and how each ends.

Whatever goes wrong is an error and its hint on stderr, and an exit code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from drivers import stderr
from privacy.errors import AccessError, LyktaError, StorageError


class Verb(NamedTuple):
    """A command: the module whose `app` it is or has, and the panel of the help that shows it."""

    module: str
    panel: str


def program(verbs: Mapping[str, Verb], what: str) -> typer.Typer:
    """A command line. verbs: in the order of the help; what: its first sentence."""

    class Verbs(TyperGroup):
        def list_commands(self, _ctx: Any) -> list[str]:
            return list(verbs)

        def get_command(self, _ctx: Any, cmd_name: str) -> Any:
            return load(verbs[cmd_name], cmd_name) if cmd_name in verbs else None

    return typer.Typer(
        cls=Verbs,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help=what,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def load(verb: Verb, name: str) -> Any:
    """The command of that name, or the group of commands, as typer made it of the module's `app`."""
    app: typer.Typer = import_module(verb.module).app
    found: Any = get_command(app)
    command = getattr(found, "commands", {}).get(name, found)
    command.name, command.rich_help_panel = name, verb.panel
    return command


def print_version(wanted: bool) -> None:
    """--version."""
    if wanted:
        sys.stdout.write(f"lykta {version('lykta')}\n")
        raise typer.Exit


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
    stderr.error(problem)
    return problem.exit_code


def _misused(problem: TyperException) -> int:
    """Words that are no command, or not all that one needs. Without any words the help was shown, and nothing is wrong."""
    message, context = problem.format_message(), getattr(problem, "ctx", None)
    if not message.strip():
        return problem.exit_code
    name = context.command_path if context else ""
    wrong = LyktaError(message[:1].lower() + message[1:].rstrip("."), f"{name} --help".strip())
    stderr.error(wrong)
    return problem.exit_code


def _of_system(problem: OSError) -> LyktaError:
    """What the system refused, and nobody foresaw."""
    what = ": ".join(str(part) for part in (problem.filename, problem.strerror or problem) if part)
    if isinstance(problem, PermissionError):
        return AccessError(what, "may this user read or write it? use sudo, or the user whose it is")
    return StorageError(what, "is it the right file, and is the disk well?")

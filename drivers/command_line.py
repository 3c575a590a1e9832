"""Shared by both command lines: commands whose modules are imported on demand, and the exit code of each.

Every failure is printed as an error and a hint on stderr and sets the exit code.
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
    """A command of the command line.

    module   the module whose `app` is the command, or a group that contains it
    panel    the heading under which `--help` lists it
    """

    module: str
    panel: str


def program(verbs: Mapping[str, Verb], what: str) -> typer.Typer:
    """A command line. verbs: commands by name, in the order of `--help`; what: the first sentence of `--help`."""

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
    """Import the module and return its command, or group of commands, as click's object."""
    app: typer.Typer = import_module(verb.module).app
    found: Any = get_command(app)
    command = getattr(found, "commands", {}).get(name, found)
    command.name, command.rich_help_panel = name, verb.panel
    return command


def version_of(distribution: str) -> Callable[[bool], None]:
    """What the option `--version` calls: it prints name and version of this distribution, and ends the command."""

    def show(wanted: bool) -> None:
        if wanted:
            sys.stdout.write(f"{distribution} {version(distribution)}\n")
            raise typer.Exit

    return show


def exit_code_of(app: Callable[..., object]) -> int:
    """Run a command line and return its exit code. app: a typer app; it is called with `standalone_mode=False`."""
    try:
        code = app(standalone_mode=False)
    except TyperException as problem:
        return _misused(problem)
    except typer.Abort:
        return _failed(LyktaError("cancelled", "the question was not answered"))
    except LyktaError as problem:
        return _failed(problem)
    except OSError as problem:
        return _failed(_of_system(problem))
    return code if isinstance(code, int) else 0


def _failed(problem: LyktaError) -> int:
    stderr.error(problem)
    return problem.exit_code


def _misused(problem: TyperException) -> int:
    """Print a usage error of click: an unknown command or a missing argument. Called without arguments, click has already printed
    the help, and no error is printed."""
    message, context = problem.format_message(), getattr(problem, "ctx", None)
    if not message.strip():
        return problem.exit_code
    name = context.command_path if context else ""
    wrong = LyktaError(message[:1].lower() + message[1:].rstrip("."), f"{name} --help".strip())
    stderr.error(wrong)
    return problem.exit_code


def _of_system(problem: OSError) -> LyktaError:
    """An OSError of the operating system as an error with a hint."""
    what = ": ".join(str(part) for part in (problem.filename, problem.strerror or problem) if part)
    if isinstance(problem, PermissionError):
        return AccessError(what, "may this user read or write it? use sudo, or run as its owner")
    return StorageError(what, "is it the right file, and does the disk work?")

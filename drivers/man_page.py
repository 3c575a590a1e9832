"""Generates the manual page of a command line from its commands, in the man macros (groff_man(7))."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import typer
from typer.main import get_command


def man_page(app: typer.Typer, name: str) -> str:
    """The page, section 1: every command that is not hidden, with the arguments and options that `--help` shows."""
    group: Any = get_command(app)
    context = group.make_context(name, [], resilient_parsing=True)
    out = [
        f'.TH {name.upper()} 1 "" "lykta {version("lykta")}" "Lykta"',
        ".SH NAME",
        f"{_plain(name)} \\- {_plain(_first(group.help))}",
        ".SH SYNOPSIS",
        f".B {_plain(name)}\n[OPTIONS] COMMAND [ARGS]...",
        ".SH OPTIONS",
        *_options(group.params),
        ".SH COMMANDS",
        *_commands(group, context, name),
        ".SH EXIT STATUS",
        "0 done; 1 failed; 2 usage; 3 warnings, with \\-\\-strict; 4 not reachable; 5 not valid; 6 not allowed; 7 not enrolled.",
    ]
    return "\n".join(out) + "\n"


def _commands(group: Any, context: Any, words: str) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command.hidden:
            continue
        if hasattr(command, "list_commands"):
            yield from _commands(command, context, f"{words} {name}")
            continue
        yield f".SS {_plain(f'{words} {name}')} {_plain(' '.join(_words(command.params)))}"
        yield from (f".PP\n{_plain(part)}" for part in _paragraphs(command.help))
        yield from _options(command.params)


def _words(params: list[Any]) -> list[str]:
    """The arguments of a command; optional ones in brackets."""
    words = [(one.metavar or one.name.upper(), one.required) for one in params if one.param_type_name == "argument"]
    return [word if required or word.startswith("[") else f"[{word}]" for word, required in words]


def _options(params: list[Any]) -> Iterator[str]:
    for one in params:
        if one.hidden or not getattr(one, "help", None):
            continue
        option = one.param_type_name == "option"
        names = ", ".join(one.opts) if option else one.metavar or one.name.upper()
        takes = "" if not option or one.is_flag else f" {one.metavar or one.name.upper()}"
        yield f".TP\n.B {_plain(names + takes)}\n{_plain(one.help)}"


def _paragraphs(text: str | None) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text or "") if part.strip()]


def _first(text: str | None) -> str:
    return (_paragraphs(text) or [""])[0].rstrip(".")


def _plain(text: str) -> str:
    """Text with every character escaped that roff would interpret."""
    shown = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    shown = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in shown)
    return f"\\&{shown}" if shown.startswith(".") else shown

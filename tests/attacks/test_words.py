"""14.F: however a command is called, and whatever the system refuses it, it ends with an error and a hint."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from agent.commands.main import VERBS as NODE_VERBS
from agent.commands.main import app as node_app
from central.commands.main import app as centre_app
from tests.support.clip_node import ClipNode
from tests.support.clip_node_commands import lykta, trust_host
from tests.support.clips import central
from tests.support.nodes import BIN, Node


def test_a_command_without_its_words_says_so_as_others_do(clip_node: ClipNode) -> None:
    """Error and hint, on a line each, in a log or a pipe too."""
    for words in (["clips", "show"], ["mask"], ["nonsense"], ["outbox", "show", "x"], ["status", "--nonsense"]):
        done = lykta(clip_node, *words)
        assert done.returncode == 2
        error, hint = done.stderr.splitlines()
        assert (error[:7], hint[:6]) == ("error: ", "hint: ")
        assert hint.endswith("--help")
    for words in (["sign"], ["nonsense"], ["open", "x"], ["ingest", "--port", "99999"]):
        done = central(*words)
        assert (done.returncode, [line.partition(": ")[0] for line in done.stderr.splitlines()]) == (2, ["error", "hint"])


def test_what_the_system_refuses_is_an_error_with_a_hint(clip_node: ClipNode) -> None:
    """A loop of links stands for what nobody foresaw."""
    trust_host(clip_node)
    clip_node.layout.spool.rename(clip_node.layout.root / "spool")
    clip_node.layout.spool.symlink_to("spool")
    for words in (["clips", "list"], ["retention"], ["check", "--json"], ["clips", "verify"]):
        done = lykta(clip_node, *words)
        assert "Traceback" not in done.stderr, done.stderr
        if words == ["check", "--json"]:
            assert json.loads(done.stdout)
        else:
            assert (done.returncode, "hint: " in done.stderr) == (1, True) or done.returncode == 0, (words, done.stderr)
    assert os.path.lexists(clip_node.layout.spool)


@pytest.mark.parametrize("app", [node_app, centre_app], ids=["lykta", "lykta-central"])
def test_every_command_has_its_help(app: typer.Typer) -> None:
    """A bracket in a help text was taken for markup, and ended `lykta-central ingest --help` with a traceback."""
    commands = list(commands_of(typer.main.get_command(app)))
    named = {" ".join(words) for words, _ in commands}
    assert named >= ({*NODE_VERBS, "clips copy", "order apply"} if app is node_app else {"keygen", "export", "man"})
    for words, summary in commands:
        for asked in ("--help", "-h"):
            found = CliRunner().invoke(app, [*words, asked])
            assert (found.exit_code, found.exception) == (0, None), words
            assert f" {words[-1] if words else ''}" in found.output
            assert summary in " ".join(found.output.split()), words


def commands_of(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each command and group, with the first words of its help."""
    yield words, " ".join(command.help.split()[:4])
    if hasattr(command, "list_commands"):
        context = command.make_context("lykta", [], resilient_parsing=True)
        for name in command.list_commands(context):
            yield from commands_of(command.get_command(context, name), (*words, name))


def test_help_is_in_panels_and_names_every_command() -> None:
    """16.8: what to look at, what acts, and what systemd starts, each in a box of its own."""
    said = CliRunner().invoke(node_app, ["--help"]).output
    places = [said.index(f"─ {panel} ─") for panel in ("Look", "Act", "Services and helpers")]
    assert places == sorted(places)
    for name, verb in NODE_VERBS.items():
        assert (re.search(rf"│ {name} ", said) is not None) == (name != "last-word"), verb


@pytest.mark.parametrize("name", ["lykta", "lykta-central"])
def test_version_completion_and_manual_page(name: str) -> None:
    """16.8: what a stranger tries first. groff finds nothing to warn of, and the page has each command that help has."""
    ran = partial(subprocess.run, capture_output=True, text=True, check=True)
    assert ran([BIN / name, "--version"]).stdout == f"{name} {version(name)}\n"
    done = ran([BIN / name], env=os.environ | {f"_{name.upper().replace('-', '_')}_COMPLETE": "source_bash"})
    assert "complete -o default" in done.stdout
    page = ran([BIN / name, "man"]).stdout
    shown = ran(["groff", "-man", "-Tutf8", "-ww", "-P-cbou"], input=page)
    assert shown.stderr == ""
    app = node_app if name == "lykta" else centre_app
    commands = [words for words, _ in commands_of(typer.main.get_command(app)) if words and words != ("last-word",)]
    leaves = [words for words in commands if not any(other[: len(words)] == words != other for other in commands)]
    assert [" ".join(words) for words in leaves if f"{name} {' '.join(words)}" not in shown.stdout] == []


def test_a_spool_that_cannot_be_looked_at_ends_no_rescue_of_the_link(node: Node) -> None:
    """It is taken for a hold, which forbids the reboot alone."""
    node.layout.spool.parent.mkdir(parents=True, exist_ok=True)
    node.layout.spool.symlink_to("spool")
    done = node.run("link", "--dry-run")
    assert done.returncode == 0, done.stderr

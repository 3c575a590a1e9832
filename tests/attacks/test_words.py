"""14.F: however a command is called, and whatever the system refuses it, it ends with an error and a hint."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from agent.commands.main import app as node_app
from central.commands.main import app as centre_app
from tests.attacks.test_paths import lykta, trust_host
from tests.clips import central
from tests.nodes import Node
from tests.shelf import Shelf


def test_a_command_without_its_words_says_so_as_others_do(shelf: Shelf) -> None:
    """Error and hint, on a line each, in a log or a pipe too."""
    for words in (["clips", "show"], ["mask"], ["nonsense"], ["outbox", "show", "x"], ["status", "--nonsense"]):
        done = lykta(shelf, *words)
        assert done.returncode == 2
        error, hint = done.stderr.splitlines()
        assert (error[:7], hint[:6]) == ("error: ", "hint: ")
        assert hint.endswith("--help")
    for words in (["sign"], ["nonsense"], ["open", "x"], ["ingest", "--port", "99999"]):
        done = central(*words)
        assert (done.returncode, [line.partition(": ")[0] for line in done.stderr.splitlines()]) == (2, ["error", "hint"])


def test_what_the_system_refuses_is_an_error_with_a_hint(shelf: Shelf) -> None:
    """A loop of links stands for what nobody foresaw."""
    trust_host(shelf)
    shelf.layout.spool.rename(shelf.layout.root / "spool")
    shelf.layout.spool.symlink_to("spool")
    for words in (["clips", "list"], ["retention"], ["check", "--json"], ["clips", "verify"]):
        done = lykta(shelf, *words)
        assert "Traceback" not in done.stderr, done.stderr
        if words == ["check", "--json"]:
            assert json.loads(done.stdout)
        else:
            assert (done.returncode, "hint: " in done.stderr) == (1, True) or done.returncode == 0, (words, done.stderr)
    assert os.path.lexists(shelf.layout.spool)


@pytest.mark.parametrize("app", [node_app, centre_app], ids=["lykta", "lykta-central"])
def test_every_command_has_its_help(app: typer.Typer) -> None:
    """A bracket in a help text was taken for markup, and ended `lykta-central ingest --help` with a traceback."""
    for words in commands_of(typer.main.get_command(app)):
        found = CliRunner().invoke(app, [*words, "--help"])
        assert (found.exit_code, found.exception) == (0, None), words
        assert found.output.strip(), words


def commands_of(command: Any, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = getattr(command, "commands", {})
    return [words, *(found for name, one in below.items() for found in commands_of(one, (*words, name)))]


def test_a_spool_that_cannot_be_looked_at_ends_no_rescue_of_the_link(node: Node) -> None:
    """It is taken for a hold, which forbids the reboot alone."""
    node.layout.spool.parent.mkdir(parents=True, exist_ok=True)
    node.layout.spool.symlink_to("spool")
    done = node.run("link", "--dry-run")
    assert done.returncode == 0, done.stderr

"""14.F: however a command is called, and whatever the system refuses it, it ends with an error and a hint."""

from __future__ import annotations

import json
import os

from tests.attacks.test_paths import lykta, trust_host
from tests.clips import central
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

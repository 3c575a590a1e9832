"""14.A1, 14.F: what lies where a file of the node's own, or of the centre's, should lie is no file: no command waits for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clips import central, example, made
from tests.support.odd_files import a_folder, a_giant, a_pipe
from tests.support.shelf import Shelf
from tests.support.shelf_commands import lykta, trust_host

ODD: list[Callable[[Path], None]] = [a_pipe, a_giant, a_folder]
odd = pytest.mark.parametrize("odd", ODD, ids=lambda one: one.__name__)


def enrolled(shelf: Shelf) -> None:
    """With records in force."""
    trust_host(shelf)
    for record in ("basis", "view"):
        source = shelf.layout.root / f"{record}.json"
        source.write_text(example(record))
        made("sign", record, source, "--keys", shelf.keys, "-o", getattr(shelf.layout, record), "--yes")


@odd
def test_what_is_no_file_below_etc_hangs_no_command(shelf: Shelf, odd: Callable[[Path], None]) -> None:
    """A pipe kept `status`, `check` and every `order apply` waiting for ever; a sparse file took all memory."""
    enrolled(shelf)
    for name, words in (
        ("basis.jws", ["status"]),
        ("config.jws", ["check", "config", "keys", "records"]),
        ("trust/ca.pem", ["basis", "verify"]),
        ("credentials/retention.pem", ["retention"]),
        ("credentials/retention.key", ["retention"]),
        ("lykta.toml", ["config", "validate"]),
    ):
        path = shelf.layout.etc / name
        path.unlink(missing_ok=True)
        odd(path)
        done = lykta(shelf, *words)
        assert "Traceback" not in done.stderr
        assert done.returncode == 0 or "error: " in done.stderr or "fail" in done.stdout, (words, done.stderr)


@odd
def test_a_new_record_takes_the_place_of_what_is_no_file(shelf: Shelf, odd: Callable[[Path], None]) -> None:
    enrolled(shelf)
    token, path = shelf.layout.basis.read_bytes(), shelf.layout.basis
    (shelf.layout.root / "signed.jws").write_bytes(token)
    path.unlink()
    odd(path)
    done = lykta(shelf, "apply", shelf.layout.root / "signed.jws")
    assert "Traceback" not in done.stderr
    if not path.is_dir():
        assert (done.returncode, path.read_bytes()) == (0, token), done.stderr


@odd
def test_what_is_no_file_in_the_cameras_folder_hangs_no_order(shelf: Shelf, odd: Callable[[Path], None]) -> None:
    """Root obeys an order by hand, in a folder where another user chooses what lies there."""
    clip = shelf.clip()
    trust_host(shelf)
    order = shelf.layout.root / "an.order"
    order.write_bytes(shelf.order("hold", clip))
    (shelf.layout.camera / "orders").mkdir(parents=True, exist_ok=True)
    odd(shelf.layout.camera / "orders/00000001.jws")
    done = lykta(shelf, "order", "apply", order)
    assert (done.returncode, "Traceback" in done.stderr) == (5, False), done.stderr
    assert "error: " in done.stderr


@odd
def test_what_is_no_file_is_refused_by_name(shelf: Shelf, tmp_path: Path, odd: Callable[[Path], None]) -> None:
    """Files that a command is given by hand."""
    enrolled(shelf)
    given = tmp_path / "tls.pem"
    odd(given)
    for words in (["apply", given], ["renew", given], ["order", "apply", given], ["config", "validate", given]):
        done = lykta(shelf, *words)
        assert (done.returncode in (2, 5), "Traceback" in done.stderr) == (True, False), (words, done.stderr)
        assert f"{given.name}" in done.stderr
        assert "hint: " in done.stderr


@odd
def test_what_is_no_file_among_the_centres_keys_hangs_no_command(shelf: Shelf, odd: Callable[[Path], None]) -> None:
    keys, stick, clip = shelf.keys, shelf.layout.root / "stick", shelf.clip()
    assert lykta(shelf, "clips", "copy", stick).returncode == 0
    for name, words in (
        ("crl.pem", ["revoke", keys, "city/stop-1"]),
        ("issued.jsonl", ["revoke", keys, "city/stop-1"]),
        ("recipients.txt", ["verify", stick / clip, "--keys", keys]),
        ("command.key", ["ingest", stick, "--keys", keys, "--store", shelf.layout.root / "store"]),
        ("ca.pem", ["bundle", keys, "--trust-only", shelf.layout.root / "other"]),
    ):
        (keys / name).unlink(missing_ok=True)
        odd(keys / name)
        done = central(*words)
        assert (done.returncode > 0, "Traceback" in done.stderr, "error: " in done.stderr) == (True, False, True), (
            words,
            done.stderr,
        )


@odd
def test_what_is_to_be_signed_is_a_file(shelf: Shelf, tmp_path: Path, odd: Callable[[Path], None]) -> None:
    odd(tmp_path / "basis.json")
    done = central("sign", "basis", tmp_path / "basis.json", "--keys", shelf.keys, "-o", tmp_path / "basis.jws")
    assert (done.returncode, "Traceback" in done.stderr) == (5, False), done.stderr
    (tmp_path / "good.json").write_text(example("basis"))
    odd(tmp_path / "out.jws")
    done = central("sign", "basis", tmp_path / "good.json", "--keys", shelf.keys, "-o", tmp_path / "out.jws", "--yes")
    assert done.returncode == 2, done.stderr
    assert "is no signed basis" in done.stderr

"""14.A1, 14.F: what lies where a file of the node's own, or of the centre's, should lie is no file: no command waits for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clip_node import ClipNode
from tests.support.clip_node_commands import lykta, trust_host
from tests.support.clips import central, example, made
from tests.support.odd_files import a_folder, a_giant, a_pipe

ODD: list[Callable[[Path], None]] = [a_pipe, a_giant, a_folder]
odd = pytest.mark.parametrize("odd", ODD, ids=lambda one: one.__name__)


def enrolled(clip_node: ClipNode) -> None:
    """With records in force."""
    trust_host(clip_node)
    for record in ("basis", "view"):
        source = clip_node.layout.root / f"{record}.json"
        source.write_text(example(record))
        made("sign", record, source, "--keys", clip_node.keys, "-o", getattr(clip_node.layout, record), "--yes")


@odd
def test_what_is_no_file_below_etc_hangs_no_command(clip_node: ClipNode, odd: Callable[[Path], None]) -> None:
    """A pipe kept `status`, `check` and every `order apply` waiting for ever; a sparse file took all memory."""
    enrolled(clip_node)
    for name, words in (
        ("basis.jws", ["status"]),
        ("config.jws", ["check", "config", "keys", "records"]),
        ("trust/ca.pem", ["basis", "verify"]),
        ("credentials/retention.pem", ["retention"]),
        ("credentials/retention.key", ["retention"]),
        ("lykta.toml", ["config", "validate"]),
    ):
        path = clip_node.layout.etc / name
        path.unlink(missing_ok=True)
        odd(path)
        done = lykta(clip_node, *words)
        assert "Traceback" not in done.stderr
        assert done.returncode == 0 or "error: " in done.stderr or "fail" in done.stdout, (words, done.stderr)


@odd
def test_a_new_record_takes_the_place_of_what_is_no_file(clip_node: ClipNode, odd: Callable[[Path], None]) -> None:
    enrolled(clip_node)
    token, path = clip_node.layout.basis.read_bytes(), clip_node.layout.basis
    (clip_node.layout.root / "signed.jws").write_bytes(token)
    path.unlink()
    odd(path)
    done = lykta(clip_node, "apply", clip_node.layout.root / "signed.jws")
    assert "Traceback" not in done.stderr
    if not path.is_dir():
        assert (done.returncode, path.read_bytes()) == (0, token), done.stderr


@odd
def test_what_is_no_file_in_the_cameras_folder_hangs_no_order(clip_node: ClipNode, odd: Callable[[Path], None]) -> None:
    """Root obeys an order by hand, in a folder where another user chooses what lies there."""
    clip = clip_node.clip()
    trust_host(clip_node)
    order = clip_node.layout.root / "an.order"
    order.write_bytes(clip_node.order("hold", clip))
    (clip_node.layout.camera / "orders").mkdir(parents=True, exist_ok=True)
    odd(clip_node.layout.camera / "orders/00000001.jws")
    done = lykta(clip_node, "order", "apply", order)
    assert (done.returncode, "Traceback" in done.stderr) == (5, False), done.stderr
    assert "error: " in done.stderr


@odd
def test_what_is_no_file_is_refused_by_name(clip_node: ClipNode, tmp_path: Path, odd: Callable[[Path], None]) -> None:
    """Files that a command is given by hand."""
    enrolled(clip_node)
    given = tmp_path / "tls.pem"
    odd(given)
    for words in (["apply", given], ["renew", given], ["order", "apply", given], ["config", "validate", given]):
        done = lykta(clip_node, *words)
        assert (done.returncode in (2, 5), "Traceback" in done.stderr) == (True, False), (words, done.stderr)
        assert f"{given.name}" in done.stderr
        assert "hint: " in done.stderr


@odd
def test_what_is_no_file_among_the_centres_keys_hangs_no_command(clip_node: ClipNode, odd: Callable[[Path], None]) -> None:
    keys, stick, clip = clip_node.keys, clip_node.layout.root / "stick", clip_node.clip()
    assert lykta(clip_node, "clips", "copy", stick).returncode == 0
    for name, words in (
        ("crl.pem", ["revoke", keys, "city/stop-1"]),
        ("issued.jsonl", ["revoke", keys, "city/stop-1"]),
        ("recipients.txt", ["verify", stick / clip, "--keys", keys]),
        ("command.key", ["ingest", stick, "--keys", keys, "--store", clip_node.layout.root / "store"]),
        ("ca.pem", ["bundle", keys, "--trust-only", clip_node.layout.root / "other"]),
    ):
        (keys / name).unlink(missing_ok=True)
        odd(keys / name)
        done = central(*words)
        assert (done.returncode > 0, "Traceback" in done.stderr, "error: " in done.stderr) == (True, False, True), (
            words,
            done.stderr,
        )


@odd
def test_what_is_to_be_signed_is_a_file(clip_node: ClipNode, tmp_path: Path, odd: Callable[[Path], None]) -> None:
    odd(tmp_path / "basis.json")
    done = central("sign", "basis", tmp_path / "basis.json", "--keys", clip_node.keys, "-o", tmp_path / "basis.jws")
    assert (done.returncode, "Traceback" in done.stderr) == (5, False), done.stderr
    (tmp_path / "good.json").write_text(example("basis"))
    odd(tmp_path / "out.jws")
    done = central("sign", "basis", tmp_path / "good.json", "--keys", clip_node.keys, "-o", tmp_path / "out.jws", "--yes")
    assert done.returncode == 2, done.stderr
    assert "is no signed basis" in done.stderr

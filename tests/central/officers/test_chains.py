"""`lykta-central verify` over journals: a cut, a rewrite and a swap are found (R32)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from privacy.records.journal import Journal, last_line, segments
from provisioning.identity import Unit, load_signer
from tests.support.clips import Node, central, made, refused


@pytest.fixture
def journals(node: Node, tmp_path: Path) -> Path:
    """A node's journals as they lie in the centre's store: camera and io, which noted the camera's head."""
    root, now = tmp_path / "store/city/stop-1/journal", datetime.now(UTC)
    made_by: dict[Unit, Journal] = {}
    for unit in ("camera", "io"):
        made_by[unit] = Journal(root / unit, unit, load_signer(node.layout, unit), lambda: now)
    for number in range(4):
        made_by["camera"].append("capture", number=number)
    made_by["io"].append("heads", camera=last_line(root / "camera"))
    (root / "camera/0000000000.receipt.jws").write_text("beside it")
    return root


def spoil(folder: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    [path] = segments(folder)
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))


def test_whole_journals_are_whole(keys: Path, journals: Path) -> None:
    said = json.loads(made("verify", journals, "--keys", keys, "--node", "city/stop-1", "--json"))
    assert (said["signers"], said["crossed"], said["heard"]) == (["city/stop-1"], 1, 0)
    assert {unit: facts["entries"] for unit, facts in said["units"].items()} == {"camera": 4, "io": 1}
    words = [f"--head={unit}={facts['head']}" for unit, facts in said["units"].items()]
    assert json.loads(made("verify", journals, "--keys", keys, *words, "--json"))["heard"] == 2
    assert "camera: 4 entries" in made("verify", journals / "camera", "--keys", keys)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[:1] + lines[2:], "camera: entry 1"),
        (lambda lines: lines[1:], "camera: entry 0"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "camera: entry 0"),
        (lambda lines: [*lines, lines[3]], "camera: entry 4"),
        (lambda lines: lines[:3], "ends after 3 entries, io entry 0 saw 4"),
        (lambda lines: [*lines[:2], lines[2][:-4] + b"AAAA", lines[3]], "camera: entry 2: lykta-journal: bad signature"),
        (lambda lines: [*lines[:2], b"", *lines[2:]], "camera: entry 2"),
    ],
)
def test_a_cut_is_found(keys: Path, journals: Path, change: Callable[[list[bytes]], list[bytes]], said: str) -> None:
    """R32: with the number of the first entry that does not hold."""
    spoil(journals / "camera", change)
    refused(5, said, "verify", journals, "--keys", keys)


def test_gaps_of_all_units_are_named_and_what_lies_beside_them_is_checked(keys: Path, node: Node, tmp_path: Path) -> None:
    """Whole segments that are missing; a head that was noted inside of one is not held, one after it is."""
    root, days = tmp_path / "journal", [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3)]
    for day in days:
        camera = Journal(root / "camera", "camera", load_signer(node.layout, "camera"), lambda day=day: day)  # type: ignore[misc]
        io = Journal(root / "io", "io", load_signer(node.layout, "io"), lambda day=day: day)  # type: ignore[misc]
        camera.append("capture")
        camera.append("capture")
        io.append("heads", camera=last_line(root / "camera"))
    made("verify", root, "--keys", keys)
    whole = {path: path.read_bytes() for unit in ("camera", "io") for path in segments(root / unit)}
    segments(root / "camera")[1].unlink()
    refused(5, "camera: entries 2 to 3 are missing", "verify", root, "--keys", keys)
    refused(5, "camera: entries 2 to 3 are missing", "verify", root / "camera", "--keys", keys)
    refused(5, "camera: entry 5 is not the one", "verify", root, "--keys", keys, "--head", f"camera=6:{'0' * 64}")
    segments(root / "io")[0].unlink()
    refused(5, "camera: entries 2 to 3 are missing; io: entry 0 is missing", "verify", root, "--keys", keys)
    path = segments(root / "camera")[-1]
    path.write_bytes(path.read_bytes()[:-9] + b"AAAAAAAA\n")
    refused(5, "camera: entry 5: lykta-journal: bad signature", "verify", root, "--keys", keys)
    path.write_bytes(whole[path].splitlines(keepends=True)[1])
    refused(5, "camera: entry 4", "verify", root, "--keys", keys)


def test_a_journal_written_anew_by_the_node_itself_is_found(keys: Path, journals: Path, node: Node) -> None:
    """R32: with the node's own key; by io's note, and by a head that the centre heard."""
    head = json.loads(made("verify", journals, "--keys", keys, "--json"))["units"]["camera"]["head"]
    shutil.rmtree(journals / "camera")
    again = Journal(journals / "camera", "camera", load_signer(node.layout, "camera"), lambda: datetime.now(UTC))
    for number in range(5):
        again.append("capture", number=number)
    refused(5, "camera: entry 3 is not the one that io entry 0 saw", "verify", journals, "--keys", keys)
    shutil.rmtree(journals / "io")
    made("verify", journals, "--keys", keys)
    refused(5, "camera: entry 3 is not the one that the centre saw", "verify", journals, "--keys", keys, "--head", f"camera={head}")
    shutil.rmtree(journals / "camera")
    refused(5, "no journal found, but its head is known", "verify", journals, "--keys", keys, "--head", f"camera={head}")


def test_swapped_journals_are_found(keys: Path, journals: Path, tmp_path: Path) -> None:
    """R32: another node's chain in this one's place, or one unit's in another's."""
    other = Node(keys, "city/stop-2", tmp_path / "stop-2")
    shutil.rmtree(journals / "camera")
    for number in range(4):
        again = Journal(journals / "camera", "camera", load_signer(other.layout, "camera"), lambda: datetime.now(UTC))
        again.append("capture", number=number)
    refused(5, "signed by city/stop-1, city/stop-2, not all by one node", "verify", journals, "--keys", keys)
    refused(5, "not all by city/stop-1", "verify", journals / "camera", "--keys", keys, "--node", "city/stop-1")
    (journals / "camera").rename(journals / "x")
    (journals / "io").rename(journals / "camera")
    refused(5, "camera: entry 0", "verify", journals, "--keys", keys)


@pytest.mark.parametrize("head", ["camera", "camera=x", "camera=3:12"])
def test_a_head_that_is_none_is_refused(keys: Path, journals: Path, head: str) -> None:
    done = central("verify", journals, "--keys", keys, "--head", head)
    assert done.returncode in (2, 5)
    assert "head: must be" in done.stderr


def test_no_journal_is_no_whole_one(keys: Path, tmp_path: Path) -> None:
    """An empty folder, or one of something else, was called whole, by nobody."""
    refused(5, "there is no journal", "verify", tmp_path, "--keys", keys, "--node", "city/stop-1")

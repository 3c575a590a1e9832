"""R32: what the camera itself signed is no journal of its if it does not count on, or speaks in another unit's name."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from privacy.errors import RecordError
from privacy.records.journal import ENTRY, Entry, segments
from privacy.records.jws import peek, sha256_hex, sign
from tests.support.journals import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    for number in range(2):
        desk.journal().append("tick", number=number)
    return desk


def go_on(desk: Desk, **changes: object) -> None:
    """A third line that follows by its hash, with the camera's own signature."""
    [path] = segments(desk.place())
    last = path.read_bytes().splitlines()[-1]
    entry = msgspec.structs.replace(peek(last, ENTRY, Entry), **{"number": 2, "previous": sha256_hex(last)} | changes)
    with path.open("ab") as file:
        file.write(sign(entry, desk.signer("camera"), ENTRY) + b"\n")


def test_a_line_that_follows_is_taken(desk: Desk) -> None:
    go_on(desk)
    assert len(desk.chain().entries) == 3


@pytest.mark.parametrize("changes", [{"number": 3}, {"number": 1}, {"unit": "io"}, {"previous": "0" * 64}])
def test_a_line_that_does_not_is_found(desk: Desk, changes: dict[str, object]) -> None:
    go_on(desk, **changes)
    with pytest.raises(RecordError, match="does not follow"):
        desk.chain()

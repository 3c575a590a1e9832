"""The journal of a unit (R32): what was touched is found, what was acknowledged stays, and several chains vouch for each other."""

from __future__ import annotations

import multiprocessing
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from central.keys.keygen import signer
from privacy.errors import RecordError
from privacy.records.chains import Chain, CrossCheck, check_head, cross_check, read_heads
from privacy.records.journal import Head, Journal, head_of, last_line, segment, segments
from tests.support.broker import PATIENCE
from tests.support.journals import NOON, Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def numbers(chain: Chain) -> list[object]:
    return [entry.facts["number"] for entry in chain.entries]


def test_a_journal_that_was_touched_is_found(desk: Desk) -> None:
    """R32: a cut, reordered, rewritten or repeated chain is found; an untouched one is whole across restarts."""
    for number in range(4):
        desk.journal().append("tick", number=number)
    [path] = segments(desk.place())
    lines = path.read_bytes().splitlines(keepends=True)
    assert numbers(desk.chain()) == [0, 1, 2, 3]
    for wrong in (lines[1:], [lines[0], *lines[2:]], [lines[1], lines[0], *lines[2:]], [*lines, lines[3]]):
        path.write_bytes(b"".join(wrong))
        with pytest.raises(RecordError, match="does not follow"):
            desk.chain()


def test_a_line_that_another_unit_signed_is_found(desk: Desk) -> None:
    desk.journal("io").append("tick")
    desk.place().mkdir(parents=True)
    segment(desk.place(), 0).write_bytes(segment(desk.place("io"), 0).read_bytes())
    with pytest.raises(RecordError, match="role 'io'"):
        desk.chain()


def test_a_journal_torn_by_a_power_cut_goes_on(desk: Desk) -> None:
    """R32: the last line was never acknowledged; what was stays, and the chain goes on from there."""
    for number in range(2):
        desk.journal().append("tick", number=number)
    [path] = segments(desk.place())
    with path.open("ab") as file:
        file.write(b"eyJhbGciOi")
    assert numbers(desk.chain()) == [0, 1]
    assert head_of(desk.place()) == desk.chain().head
    desk.journal().append("tick", number=2)
    assert numbers(desk.chain()) == [0, 1, 2]


def test_each_day_has_a_segment_and_the_chain_goes_through(desk: Desk) -> None:
    """Closed segments are what the centre takes; a clock set back closes one too and breaks nothing."""
    journal = desk.journal()
    for hours in (0, 1, 24, -48, 0):
        desk.now = NOON + timedelta(hours=hours)
        journal.append("tick", number=hours)
    assert [path.name for path in segments(desk.place())] == [f"{n:010}.jws" for n in (0, 2, 3, 4)]
    assert numbers(desk.chain()) == [0, 1, 24, -48, 0]
    desk.now = NOON + timedelta(hours=1)
    desk.journal().append("tick", number=1)
    assert len(segments(desk.place())) == 4, "the same day goes on in its segment after a restart"


def test_a_damaged_last_line_stops_no_service(desk: Desk) -> None:
    """Promise 5: a bad spot in a journal must not put the help button out; `verify` finds it, and the next entry goes elsewhere."""
    desk.journal().append("tick", number=0)
    [path] = segments(desk.place())
    path.write_bytes(path.read_bytes() + b"no entry at all\n")
    desk.journal().append("tick", number=2)
    assert len(segments(desk.place())) == 2
    with pytest.raises(RecordError, match="not a signed record"):
        desk.chain()


def test_power_lost_between_a_segments_name_and_its_first_line_breaks_nothing(desk: Desk) -> None:
    desk.journal().append("tick", number=0)
    segment(desk.place(), 1).touch()
    desk.journal().append("tick", number=1)
    assert numbers(desk.chain()) == [0, 1]


def test_a_missing_or_renamed_segment_is_found(desk: Desk) -> None:
    journal = desk.journal()
    for days in range(3):
        desk.now = NOON + timedelta(days=days)
        journal.append("tick", number=days)
    middle = segments(desk.place())[1]
    kept = middle.read_bytes()
    middle.unlink()
    with pytest.raises(RecordError, match="does not follow"):
        desk.chain()
    segment(desk.place(), 7).write_bytes(b"")
    middle.write_bytes(kept)
    with pytest.raises(RecordError, match="does not begin at its number"):
        desk.chain()


def _append(desk: Desk, unit: str, count: int) -> None:
    journal = desk.journal(unit)
    for number in range(count):
        journal.append("tick", number=number)


def test_two_processes_append_to_one_chain(desk: Desk) -> None:
    """R32: the centre's replicas, or a technician's command beside a service, share a chain without breaking it."""
    desk.signer("camera")
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_append, args=(desk, "camera", 25)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE * 60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted(map(int, map(str, numbers(desk.chain())))) == sorted([*range(25), *range(25)])


# -- several chains vouch for each other -----------------------------------------------------------------------------------


def linked(desk: Desk) -> dict[str, Chain]:
    """The camera writes three entries; the uplink notes its head after each."""
    camera, uplink = desk.journal(), desk.journal("uplink")
    for number in range(3):
        camera.append("tick", number=number)
        uplink.append("heads", camera=last_line(desk.place()))
    return {unit: desk.chain(unit) for unit in ("camera", "uplink")}


def test_linked_chains_hold_each_other(desk: Desk) -> None:
    assert cross_check(linked(desk), desk.authority) == CrossCheck(3, ())


def test_false_heads_of_a_neighbour_fail_no_honest_chain(desk: Desk) -> None:
    """14.A3: a number and a hash are a claim; a line is one only if that very unit of this node signed it."""
    linked(desk)
    uplink, line = desk.journal("uplink"), last_line(desk.place())
    head, _, rest = line.partition(".")
    for said in ("900:" + "a" * 64, "2:" + "b" * 64, "x", f"{head}.{rest[4:]}", last_line(desk.place("uplink"))):
        uplink.append("heads", camera=said)
    crossed = cross_check({unit: desk.chain(unit) for unit in ("camera", "uplink")}, desk.authority)
    assert (crossed.held, len(crossed.claims)) == (3, 5)
    assert "uplink entry 3 claims: journal: camera: ends after 3 entries" in crossed.claims[0]


@pytest.mark.parametrize("rewrite", [False, True])
def test_a_chain_cut_or_written_anew_with_its_own_key_is_found(desk: Desk, rewrite: bool) -> None:
    """R32: whoever has the camera's key can make a chain that holds in itself; the uplink's chain tells another story."""
    linked(desk)
    [path] = segments(desk.place())
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))
    if rewrite:
        desk.journal().append("tick", number="another")
    chains = {unit: desk.chain(unit) for unit in ("camera", "uplink")}
    with pytest.raises(RecordError, match="uplink entry 2 saw"):
        cross_check(chains, desk.authority)


def test_a_head_that_the_centre_heard_is_held_against_the_chain(desk: Desk) -> None:
    chain = linked(desk)["camera"]
    check_head(chain, chain.head, "the centre")
    check_head(chain, Head(0, ""), "the centre")
    with pytest.raises(RecordError, match=r"the centre saw 4"):
        check_head(chain, Head(4, "0" * 64), "the centre")
    with pytest.raises(RecordError, match="not the one that the centre saw"):
        check_head(chain, msgspec.structs.replace(chain.head, sha256="0" * 64), "the centre")


@pytest.mark.parametrize("text", ["", "5", "0:" + "0" * 64, "-1:" + "0" * 64, "x:" + "0" * 64, "5:abc"])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(RecordError, match="head"):
        Head.parse(text)


def test_what_the_uplink_says_of_other_chains_is_read_with_care() -> None:
    assert read_heads({"uplink": "1:" + "a" * 64, "retention": "0:"}) == {"uplink": Head(1, "a" * 64), "retention": Head(0, "")}
    for wrong in (None, [], {}, {"UP": "0:"}, {"uplink": 7}, {f"unit{chr(97 + n)}": "0:" for n in range(9)}):
        with pytest.raises(RecordError, match="head"):
            read_heads(wrong)


def test_the_centre_signs_its_own_chain(desk: Desk) -> None:
    """The receipt key's role is the unit of the centre's chain."""
    journal = Journal(desk.place("receipt"), "receipt", signer(desk.folder / "keys", "receipt"), lambda: NOON)
    journal.append("tick", number=0)
    assert numbers(desk.chain("receipt")) == [0]

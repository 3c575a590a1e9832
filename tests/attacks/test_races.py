"""14.B5, 14.B6: a folder and a link change places while our code works there. What the link leads to is never opened or changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from agent.commands import clips_copy
from agent.inbox.inbox import folder_of, hand_over_order
from agent.root import apply, wipe
from central.ingest.run import IngestService
from privacy.errors import LyktaError
from privacy.files import place
from privacy.folders import opened, remove
from tests.support.clip_node import ClipNode
from tests.support.swapper import FILES
from tests.support.swapping import swapping, untouched, victim


def worked(act: Callable[[], object]) -> None:
    """Do it; that it fails where somebody works against it is right, and a `LyktaError` or one of the disk says so."""
    with suppress(LyktaError, OSError):
        act()


def test_what_a_link_leads_to_is_watched(tmp_path: Path) -> None:
    """The tests below see what they say they see."""
    target = victim(tmp_path / "victim")
    junk = target / "junk"
    for act in (junk.read_bytes, lambda: list(target.iterdir()), (target / "new").touch, lambda: junk.chmod(0o644), junk.unlink):
        with pytest.raises(AssertionError, match="somebody was there"), untouched(target):
            act()


# -- the inbox -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["order", "receipt"])
def test_an_inbox_that_becomes_a_link_deletes_nothing(clip_node: ClipNode, tmp_path: Path, what: str) -> None:
    custody, target = clip_node.custody(), victim(tmp_path / "victim")
    clip_node.layout.inbox.mkdir(exist_ok=True)
    with untouched(target), swapping(clip_node.layout.inbox, f"{what}s", target, "folder") as swapper:
        for _ in swapper.rounds():
            custody.attend()


def test_a_folder_above_the_inbox_that_becomes_a_link_deletes_nothing(clip_node: ClipNode, tmp_path: Path) -> None:
    custody, target = clip_node.custody(), tmp_path / "victim"
    target.mkdir()
    folders = [victim(target / name) for name in ("orders", "receipts")]
    with untouched(*folders), swapping(clip_node.layout.var, "inbox", target, "folder") as swapper:
        for _ in swapper.rounds():
            custody.attend()


def test_a_file_of_the_inbox_that_becomes_a_link_is_not_read(clip_node: ClipNode, tmp_path: Path) -> None:
    """An order lies where the link leads: it would be obeyed."""
    clip, custody = clip_node.clip(), clip_node.custody()
    target = victim(tmp_path / "victim", "an.order")
    (target / "an.order").write_bytes(clip_node.order("erase", clip))
    folder = folder_of(clip_node.layout, "order")
    folder.mkdir(parents=True)
    with untouched(target), swapping(folder, "1.jws", target / "an.order", "file", other="2.jws") as swapper:
        for _ in swapper.rounds():
            custody.attend()
    assert clip_node.there() == [clip]


def test_what_the_uplink_leaves_is_written_through_no_link(clip_node: ClipNode, tmp_path: Path) -> None:
    target = victim(tmp_path / "victim")
    clip_node.layout.inbox.mkdir(exist_ok=True)
    with untouched(target), swapping(clip_node.layout.inbox, "orders", target, "folder") as swapper:
        for number in swapper.rounds():
            worked(lambda number=number: hand_over_order(clip_node.layout, f"{number % 9:08}", "token"))  # type: ignore[misc]


# -- what root takes, and places -------------------------------------------------------------------------------------------


def test_what_is_desired_is_taken_through_no_link(clip_node: ClipNode, tmp_path: Path) -> None:
    target = victim(tmp_path / "victim", *FILES, "basis.jws", "tls.pem")
    clip_node.layout.inbox.mkdir(exist_ok=True)
    with untouched(target), swapping(clip_node.layout.inbox, "desired", target, "folder") as swapper:
        for _ in swapper.rounds():
            worked(lambda: apply.command(clip_node.layout, [], None, True))


def test_a_record_that_becomes_a_link_is_not_read(clip_node: ClipNode, tmp_path: Path) -> None:
    target = victim(tmp_path / "victim", "secret")
    clip_node.layout.desired.mkdir(parents=True)
    with (
        untouched(target),
        swapping(clip_node.layout.desired, "basis.jws", target / "secret", "file", other=".basis.jws.taken") as swapper,
    ):
        for _ in swapper.rounds():
            worked(lambda: apply.command(clip_node.layout, [], None, True))


@pytest.mark.parametrize("name", ["file", ".file.part"])
def test_placing_writes_through_no_link_that_comes_meanwhile(tmp_path: Path, name: str) -> None:
    target, folder = victim(tmp_path / "victim", "secret"), tmp_path / "folder"
    folder.mkdir()
    with untouched(target), swapping(folder, name, target / "secret", "file") as swapper:
        for _ in swapper.rounds(200):
            worked(lambda: place(folder / "file", b"ours"))


# -- what is removed -------------------------------------------------------------------------------------------------------


def test_removing_a_tree_leads_nowhere_else(tmp_path: Path) -> None:
    """As retention removes a clip, and a wipe the inbox: whoever may write there makes the tree anew meanwhile."""
    target, top = victim(tmp_path / "victim"), tmp_path / "top"
    (top / "tree/a").mkdir(parents=True)
    with untouched(target), opened(top, "tree", "a") as here:
        with swapping(top / "tree/a", "b", target, "folder") as swapper:
            for _ in swapper.rounds(200):
                remove(top / "tree/a/b")
                remove(top / "tree/a/.other")
                worked(lambda: here.remove("b"))
        assert remove(top) == []


def test_a_wipe_leads_nowhere_else(clip_node: ClipNode, tmp_path: Path) -> None:
    target = victim(tmp_path / "victim")
    clip_node.layout.inbox.mkdir(exist_ok=True)
    with untouched(target), swapping(clip_node.layout.var, "inbox", target, "folder") as swapper:
        for _ in swapper.rounds(5):
            worked(lambda: wipe.decommission(clip_node.layout, "Anna", "Bo", "K-9", True, True))


def test_a_clip_with_a_link_in_it_is_deleted_and_nothing_else(clip_node: ClipNode, tmp_path: Path) -> None:
    target, keeper = victim(tmp_path / "victim"), clip_node.custody().keeper
    swaps = 0
    with untouched(target):
        for _ in range(3):
            clip = clip_node.clip()
            folder = clip_node.layout.spool / clip
            with swapping(folder, "inner", target, "folder") as swapper:
                next(swapper.rounds())
                worked(lambda clip=clip: keeper.receipt(clip_node.receipt(clip)))  # type: ignore[misc]
                swaps += swapper.exchanges
            assert clip not in clip_node.there()
    assert swaps


# -- sticks ----------------------------------------------------------------------------------------------------------------


def test_a_copy_goes_into_no_folder_that_becomes_a_link(clip_node: ClipNode, tmp_path: Path) -> None:
    target, stick, clip = victim(tmp_path / "victim"), tmp_path / "stick", clip_node.clip()
    stick.mkdir()
    with untouched(target), swapping(stick, clip, target, "folder") as swapper:
        for _ in swapper.rounds():
            worked(lambda: clips_copy.command(clip_node.layout, stick, True))


@pytest.mark.parametrize("name", ["clip.age", ".clip.age.part", "manifest.jws", ".manifest.jws.part"])
def test_a_copy_writes_into_no_file_that_becomes_a_link(clip_node: ClipNode, tmp_path: Path, name: str) -> None:
    target, stick, clip = victim(tmp_path / "victim", "secret"), tmp_path / "stick", clip_node.clip()
    (stick / clip).mkdir(parents=True)
    with untouched(target), swapping(stick / clip, name, target / "secret", "file") as swapper:
        for _ in swapper.rounds():
            worked(lambda: clips_copy.command(clip_node.layout, stick, True))


def test_a_clip_that_becomes_a_link_is_not_copied(clip_node: ClipNode, tmp_path: Path) -> None:
    """The camera's user may write into the spool, and a technician copies it, as root perhaps."""
    clip = clip_node.clip()
    manifest = (clip_node.layout.spool / clip / "manifest.jws").read_bytes()
    target, stick = victim(tmp_path / "victim", *FILES, "manifest.jws", "clip.age", "masks.age"), tmp_path / "stick"
    (target / "manifest.jws").write_bytes(manifest)
    (clip_node.layout.spool / clip).rename(tmp_path / "clip")
    with untouched(target), swapping(clip_node.layout.spool, clip, target, "folder") as swapper:
        for _ in swapper.rounds():
            worked(lambda: clips_copy.command(clip_node.layout, stick, True))
    assert not (stick / clip / "clip.age").exists()


@pytest.mark.parametrize("name", ["receipt.jws", ".receipt.jws.part", "manifest.jws", "clip.age"])
def test_the_centre_follows_no_link_that_comes_meanwhile(clip_node: ClipNode, tmp_path: Path, name: str) -> None:
    target, stick, clip = victim(tmp_path / "victim", "secret"), tmp_path / "stick", clip_node.clip()
    assert clips_copy.command(clip_node.layout, stick, True) == 0
    serving = IngestService.create(str(tmp_path / "store"), clip_node.keys, tmp_path / "journal")
    with untouched(target), swapping(stick / clip, name, target / "secret", "file") as swapper:
        for _ in swapper.rounds():
            worked(lambda: serving.import_folder(stick))


def test_the_centre_goes_into_no_folder_that_becomes_a_link(clip_node: ClipNode, tmp_path: Path) -> None:
    stick, clip, target = tmp_path / "stick", clip_node.clip(), tmp_path / "victim"
    assert clips_copy.command(clip_node.layout, stick, True) == 0
    (stick / clip).rename(target)
    serving = IngestService.create(str(tmp_path / "store"), clip_node.keys, tmp_path / "journal")
    with untouched(target), swapping(stick, clip, target, "folder") as swapper:
        for _ in swapper.rounds():
            worked(lambda: serving.import_folder(stick))

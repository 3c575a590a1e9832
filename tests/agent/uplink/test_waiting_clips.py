"""The clips that wait for upload: the list and its order are right, whatever clips are added and deleted, however quickly."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.inbox.inbox import folder_of
from agent.uplink.upload.policy import Rank, rank_of_clip
from agent.uplink.upload.waiting_clips import WaitingClips
from privacy.records.jws import Signer, sign
from privacy.records.manifest import MANIFEST
from provisioning.layout import Layout
from tests.support.manifests import manifest

SIGNER = Signer(ec.generate_private_key(ec.SECP256R1()))
TRIGGERS = ("help", "presence", "routine", "damaged")
TOKENS = {
    trigger: sign(manifest(f"01890000-0000-7000-8000-{0:012x}", trigger=trigger), SIGNER, MANIFEST) for trigger in TRIGGERS[:3]
} | {"damaged": b"torn"}
ONE = st.tuples(
    st.sampled_from(["begin", "finish", "export", "free", "hand", "take", "look", "restart"]),
    st.integers(0, 2),
    st.sampled_from(TRIGGERS),
)
# What a clip's life mostly is; random acts alone seldom come so far.
LIFE = st.tuples(st.integers(0, 2), st.sampled_from(TRIGGERS), st.integers(1, 7)).map(
    lambda life: [(act, life[0], life[1]) for act in ("begin", "finish", "look", "hand", "restart", "look", "take")[: life[2]]]
)
ACTS = st.lists(ONE.map(lambda one: [one]) | LIFE, max_size=20).map(lambda parts: [act for part in parts for act in part])


@dataclass
class World:
    """A spool and an inbox as camera and uplink leave them, and a plain reading of what should wait."""

    layout: Layout
    freed: set[Path] = field(default_factory=set)

    def folder(self, number: int) -> Path:
        return self.layout.spool / f"01890000-0000-7000-8000-{number:012x}"

    def expected(self, what: str) -> list[tuple[Rank, str]]:
        found = []
        for folder in self.layout.spool.glob("*"):
            token = folder / "manifest.jws"
            receipt = folder_of(self.layout, "receipt") / f"{folder.name}.jws"
            if token.exists() and not receipt.exists():
                trigger = next(name for name, one in TOKENS.items() if one == token.read_bytes())
                rank = rank_of_clip(trigger, (folder / "export.jws").exists(), what)  # type: ignore[arg-type]
                found += [(rank, folder.name)] if rank is not None else []
        return sorted(found)

    def do(self, act: str, number: int, trigger: str, waiting: WaitingClips) -> None:
        folder, receipt = self.folder(number), folder_of(self.layout, "receipt") / f"{self.folder(number).name}.jws"
        waits = [key for key in waiting.waiting if key[1] == folder.name]
        match act:
            case "begin" if folder not in self.freed:  # an id is never used again
                folder.mkdir(exist_ok=True)
            case "finish" if folder.exists() and not (folder / "manifest.jws").exists():
                (folder / "manifest.jws").write_bytes(TOKENS[trigger])
            case "export" if (folder / "manifest.jws").exists():
                (folder / "export.jws").write_text("an order")
            case "free" if folder.exists():
                for path in folder.iterdir():
                    path.unlink()
                folder.rmdir()
                self.freed.add(folder)
                receipt.unlink(missing_ok=True)
            case "hand" if waits and folder.exists():
                receipt.parent.mkdir(parents=True, exist_ok=True)
                receipt.write_text("a receipt")
                waiting.handed_over(waits[0], 0.0)
            case "take":
                receipt.unlink(missing_ok=True)
            case "look":
                waiting.look()


@given(ACTS, st.sampled_from(["events", "all", "help", "nothing"]))
@settings(max_examples=150)
def test_it_knows_what_waits(acts: list[tuple[str, int, str]], what: str) -> None:
    """Against a plain reading of the folders, after any history of clips, exports, receipts and looks, all within moments."""
    with tempfile.TemporaryDirectory() as root:
        world = World(Layout(Path(root)))
        world.layout.spool.mkdir(parents=True)
        waiting = WaitingClips(world.layout, what)  # type: ignore[arg-type]
        for act, number, trigger in acts:
            waiting = WaitingClips(world.layout, what) if act == "restart" else waiting  # type: ignore[arg-type]
            world.do(act, number, trigger, waiting)
        waiting.look()
        waiting.look()
        waiting.look_through(10_000.0)
        assert waiting.waiting == world.expected(what)


def test_two_changes_in_one_tick_of_the_file_system_are_both_seen(tmp_path: Path) -> None:
    """The folder's time then tells of the first only."""
    world = World(Layout(tmp_path))
    world.layout.spool.mkdir(parents=True)
    waiting = WaitingClips(world.layout, "events")
    for number in (1, 2):
        world.folder(number).mkdir()
        (world.folder(number) / "manifest.jws").write_bytes(TOKENS["help"])
        os.utime(world.layout.spool, ns=(10**18, 10**18))
        waiting.look()
    assert [clip for _, clip in waiting.waiting] == [world.folder(number).name for number in (1, 2)]


def test_each_manifest_is_opened_once(tmp_path: Path) -> None:
    """A thousand that stay on the node: after the first looks not one of them is opened or asked for again."""
    layout = Layout(tmp_path)
    layout.spool.mkdir(parents=True)
    for number in range(1000):
        folder = layout.spool / f"01890000-0000-7000-8000-{number:012x}"
        folder.mkdir()
        (folder / "manifest.jws").write_bytes(TOKENS["routine"])
    waiting = WaitingClips(layout, "events")
    for _ in range(5):
        waiting.look()
    opened: list[str] = []
    _listen(opened)
    for _ in range(10):
        waiting.look()
    assert [path for path in opened if str(tmp_path) in path] == []
    pressed = layout.spool / f"01890000-0000-7000-8000-{5000:012x}"
    pressed.mkdir()
    (pressed / "manifest.jws").write_bytes(TOKENS["help"])
    waiting.look()
    assert waiting.waiting == [(Rank.HELP, pressed.name)]
    assert [path for path in opened if path.endswith("manifest.jws") and path != str(pressed / "manifest.jws")] == []


def _listen(opened: list[str]) -> None:
    """Write down every file that this process opens from now on (Python's own audit events)."""
    sys.addaudithook(
        lambda event, args: opened.append(os.fspath(args[0])) if event == "open" and isinstance(args[0], str | Path) else None
    )

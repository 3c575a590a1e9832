"""What storing costs: sealing, its memory, a torn gigabyte, ten thousand clips. One run, CPU time; `make bench` prints it.

python -m tests.bench.storage [FOLDER]      FOLDER: where the big files go, on the disk that is to be measured
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from agent.clips.index import IndexEntry, rewrite
from privacy.ids import new_clip_id
from privacy.records.jws import sign
from privacy.records.seal import Recipient, Seal
from provisioning.identity import load_signer, recipients
from tests.support.clip_node import ClipNode
from tests.support.clips import Node
from tests.support.manifests import manifest
from tests.support.nodes import BIN

MBIT = 4_000_000
SECONDS = 120
CLIPS = 10_000


class Nowhere:
    """A sink that keeps nothing: sealing alone."""

    def write(self, data: bytes, /) -> int:
        return len(data)


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def seal_share(node: Node) -> float:
    """Share of one core that sealing four megabits a second takes, hash included, in frames of 1/15 s."""
    frame, seal = bytes(MBIT // 8 // 15), Seal(Nowhere(), [Recipient.parse(one) for one in recipients(node.layout)])
    begin = cpu()
    for _ in range(15 * SECONDS):
        seal.write(frame)
    return (cpu() - begin) / SECONDS


def seal_memory(node: Node) -> float:
    """Most megabytes that sealing a gigabyte holds at once."""
    block, seal = bytes(1 << 16), Seal(Nowhere(), [Recipient.parse(one) for one in recipients(node.layout)])
    tracemalloc.start()
    for _ in range(1 << 14):
        seal.write(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def torn_gigabyte(node: Node) -> tuple[float, float]:
    """Seconds, and CPU seconds, to trim, hash and sign a torn clip of a gigabyte."""
    spool = node.spool
    opened = manifest(new_clip_id(time.time_ns()), node.name, recipients(node.layout))
    video, masks = spool.begin(opened, [Recipient.parse(one) for one in opened.recipients])
    block = bytes(1 << 20)
    for _ in range(1 << 10):
        video.feed(block)
    masks.feed(b"masks")
    spool.sync(opened.clip, video, masks)
    for sink in (video, masks):
        sink.abandon()
    after = node.spool_of("camera")
    begin, used = time.monotonic(), cpu()
    after.recover(opened.clip, datetime.now(UTC))
    return time.monotonic() - begin, cpu() - used


def store_clips(node: Node, count: int) -> None:
    """So many small complete clips, signed, without waiting for the disk."""
    signer, folder, entries = load_signer(node.layout, "camera"), node.layout.spool, []
    for number in range(count):
        clip = new_clip_id(time.time_ns() + number * 1_000_000)
        one = manifest(clip, node.name, recipients(node.layout), state="complete")
        (folder / clip).mkdir()
        (folder / clip / "clip.age").write_bytes(b"x")
        (folder / clip / "masks.age").write_bytes(b"x")
        (folder / clip / "manifest.jws").write_bytes(sign(one, signer, "lykta-manifest"))
        entries.append(IndexEntry.of(one))
    rewrite(folder / "index", entries)


@contextmanager
def timed(rows: list[tuple[str, str]], name: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    rows.append((name, f"{time.monotonic() - begin:.2f} s"))


def listed(node: Node, *words: str) -> Callable[[], object]:
    return lambda: subprocess.run([BIN / "lykta", "--root", node.layout.root, *words], stdout=subprocess.DEVNULL, check=True)


def main(folder: Path) -> None:
    clip_node = ClipNode(folder)
    node, rows = clip_node.node, []
    rows.append(("sealing 4 Mbit/s", f"{seal_share(node):.2%} of a core (aim: 1 %)"))
    rows.append(("memory of sealing 1 GiB", f"{seal_memory(node):.2f} MB (aim: 4 MB)"))
    seconds, used = torn_gigabyte(node)
    rows.append(("a torn clip of 1 GiB", f"finished after {seconds:.2f} s, {used:.2f} s CPU (aim: 5 s)"))
    clip_node.custody().keeper.recover()
    store_clips(node, CLIPS)
    listing = listed(node, "clips", "list")
    listing()
    with timed(rows, f"lykta clips list, {CLIPS} clips (aim: 0.5 s)"):
        listing()
    with timed(rows, "  of that, a lykta that lists none"):
        listed(Node(clip_node.keys, "city/stop-2", folder / "other"), "clips", "list")()
    keeper = clip_node.custody().keeper
    with timed(rows, f"start-up: repair and recover, {CLIPS} clips (aim: 2 s)"):
        keeper.recover()
    with timed(rows, "the first sweep"):
        keeper.sweep()
    used = cpu()
    for _ in range(10):
        keeper.sweep()
    rows.append(("a later sweep", f"{(cpu() - used) * 100:.0f} ms CPU"))
    (node.layout.spool / "index").unlink()
    with timed(rows, "the first sweep without an index"):
        clip_node.custody().keeper.sweep()
    clip_node.close()
    wide = max(len(name) for name, _ in rows)
    sys.stdout.write("".join(f"{name:{wide}}  {value}\n" for name, value in rows))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="lykta-bench-", dir=sys.argv[1] if len(sys.argv) > 1 else None) as place:
        main(Path(place))

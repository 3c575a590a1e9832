"""The result of `lykta mask` for a file: the report (schema lykta.mask/1) and its two lines of text."""

from __future__ import annotations

import hashlib
import os
import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from agent.commands.mask.plan import Job
from drivers.media.upright import UPRIGHT
from drivers.media.video import VideoFile, plain
from privacy.errors import MediaError
from privacy.files import PUBLIC, place
from privacy.masking.background.learned import LearnedBackground
from privacy.masking.delay import GAP_NS
from privacy.masking.detection import Detector
from privacy.masking.frames import MaskedFrame
from privacy.masking.masker import Tally
from privacy.records.basis import Profile
from provisioning.version import VERSION

SCHEMA, BATCH = "lykta.mask/1", "lykta.mask.batch/1"
NOT_MEASURED = (
    "how many people stayed visible was not measured here: that needs labels (make evaluate). Measured elsewhere: of 19 people who "
    "were upright, lit, tall enough and in view for longer than a look nobody's head was bare (at most 15 % of such people, 95 %); "
    "people who are small or far, lie, sit or are seen from above are missed more often (docs/MASKING.md)"
)
"""Part of every report; the figures are those of docs/MASKING.md."""


@dataclass
class Account:
    """Counts while a file is masked: detections, frames by `Tally`, painted boxes by part, wall-clock and processor time.

    constant   share of each picture that is always masked, 0..1
    seen       share of the picture that `strict` saw without people by the end, 0..1; None in other profiles
    """

    looks: int = 0
    constant: float = 0.0
    seen: float | None = None
    tally: Tally = field(default_factory=Tally)
    boxes: Counter[str] = field(default_factory=Counter)
    begin: tuple[float, float] = field(default_factory=lambda: (time.perf_counter(), _cpu()))

    def count(self, picture: MaskedFrame) -> None:
        self.tally.count(picture)
        self.boxes.update(str(box[0]) for box in picture.record.boxes)

    def painted(self) -> float:
        """Upper bound of the mean masked share of a picture, as overlaps count twice."""
        boxed = self.tally.painted + self.constant * (self.tally.frames - self.tally.full.total())
        return min(1.0, boxed / self.tally.frames)

    def spent(self) -> tuple[float, float]:
        return time.perf_counter() - self.begin[0], _cpu() - self.begin[1]


@dataclass(frozen=True)
class Settings:
    """The settings a file was masked with. far: the line above which all is masked, 0..1 from the top, or None.

    background   what `strict` knew of the empty place at the start, or None
    """

    detector: Detector
    profile: Profile
    threads: int
    fps: float
    far: float | None
    background: LearnedBackground | None = None


def report_of(job: Job, video: VideoFile, settings: Settings, account: Account) -> dict[str, Any]:
    tally, (wall, cpu) = account.tally, account.spent()
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "source": printable(job.source),
        "target": printable(job.target),
        "target_sha256": _sha256(job.parts[0]),
        "width": video.width,
        "height": video.height,
        "fps": round(settings.fps, 3),
        "frames": tally.frames,
        "masked": tally.masked,
        "full": tally.full.total(),
        "full_share": round(tally.full.total() / tally.frames, 4),
        "full_by_cause": dict(tally.full),
        "painted_share_at_most": round(account.painted(), 4),
        "boxes": dict(account.boxes),
        "profile": settings.profile,
        "far": settings.far,
        "background": settings.background is not None,
        "background_seen": None if account.seen is None else round(account.seen, 4),
        "stack": settings.detector.name,
        "models": settings.detector.models,
        "threads": settings.threads,
        "looks": account.looks,
        "detect_every": round(tally.frames / account.looks, 1),
        "seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "cpu_ms_per_frame": round(cpu / tally.frames * 1000, 2),
        "audio": "dropped" if video.facts.audio else "none",
        "dropped": video.facts.dropped,
        "dropped_tags": video.facts.tags,
        "input": _input(video),
        "notes": [*video.notes(), *_gaps(tally)],
        "not_measured": NOT_MEASURED,
    }


def _input(video: VideoFile) -> dict[str, Any]:
    facts = video.facts
    return {
        "codec": facts.codec,
        "pixels": facts.pixels,
        "width": facts.stored[0],
        "height": facts.stored[1],
        "pixel_aspect": f"{facts.aspect.numerator}:{facts.aspect.denominator}",
        "turned": str(facts.turn) if facts.turn != UPRIGHT else "",
        "interlaced": video.interlaced,
        "rescaled": video.rescaled,
        **video.faults,
    }


def _gaps(tally: Tally) -> list[str]:
    """A note if long gaps between pictures caused full masks: --fps tells that they were intended."""
    alone = tally.full["gap"]
    if not alone:
        return []
    why = f"{alone} frames are fully masked because more than {GAP_NS / 1e9:g} s lie between them and the picture before"
    return [f"{why}; --fps N takes them as N a second"]


def write_report(path: Path, facts: dict[str, Any]) -> None:
    try:
        place(path, msgspec.json.format(msgspec.json.encode(facts)) + b"\n", mode=PUBLIC)
    except OSError as problem:
        raise MediaError(f"{path}: cannot be written: {problem.strerror}", "choose a folder you may write to") from problem


def text(facts: dict[str, Any]) -> str:
    causes = ", ".join(f"{cause} {number}" for cause, number in facts["full_by_cause"].items()) or "none"
    far = f"; above {facts['far']:g} of the height all is masked" if facts["far"] is not None else ""
    return (
        f"{facts['target']}: {facts['frames']} frames, {facts['masked']} with people masked, "
        f"{facts['full']} fully masked ({causes}){far}\n"
        f"{facts['seconds']} s, {facts['cpu_ms_per_frame']} ms CPU a frame; {facts['stack']}\n"
    )


def printable(path: Path) -> str:
    """A file's name as text that can be encoded and is safe on a terminal, whatever its bytes are."""
    return plain(os.fsencode(path.name).decode(errors="replace"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

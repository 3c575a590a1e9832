"""What `lykta mask` says of a file when it is done: the report (schema lykta.mask/1) and its two lines of text."""

from __future__ import annotations

import hashlib
import os
import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from drivers.upright import UPRIGHT
from drivers.video import VideoFile
from privacy.basis import Profile
from privacy.delay import GAP_NS
from privacy.detection import Detector
from privacy.errors import MediaError
from privacy.files import place
from privacy.frames import MaskedFrame
from privacy.masking import Tally

SCHEMA, BATCH = "lykta.mask/1", "lykta.mask.batch/1"
NOT_MEASURED = "how many people stayed visible was not measured here: that needs labels (make evaluate)"


@dataclass
class Account:
    """What is counted while a file is masked: frames by `Tally`, painted boxes by part, seconds by clock and of processor."""

    tally: Tally = field(default_factory=Tally)
    boxes: Counter[str] = field(default_factory=Counter)
    begin: tuple[float, float] = field(default_factory=lambda: (time.perf_counter(), _cpu()))

    def count(self, picture: MaskedFrame) -> None:
        self.tally.count(picture)
        self.boxes.update(str(box[0]) for box in picture.record.boxes)

    def spent(self) -> tuple[float, float]:
        return time.perf_counter() - self.begin[0], _cpu() - self.begin[1]


@dataclass(frozen=True)
class Settings:
    """What a file was masked with; `every`: frames from one look to the next."""

    detector: Detector
    profile: Profile
    threads: int
    fps: float
    every: int


def report(source: Path, target: Path, video: VideoFile, settings: Settings, account: Account) -> dict[str, Any]:
    tally, (wall, cpu) = account.tally, account.spent()
    return {
        "schema": SCHEMA,
        "version": version("lykta"),
        "source": printable(source),
        "target": printable(target),
        "target_sha256": _sha256(target),
        "width": video.width,
        "height": video.height,
        "fps": round(settings.fps, 3),
        "frames": tally.frames,
        "masked": tally.masked,
        "full": tally.full.total(),
        "full_share": round(tally.full.total() / tally.frames, 4),
        "full_by_cause": dict(tally.full),
        "painted_share_at_most": round(tally.painted / tally.frames, 4),
        "boxes": dict(account.boxes),
        "profile": settings.profile,
        "stack": settings.detector.name,
        "models": settings.detector.models,
        "threads": settings.threads,
        "detect_every": settings.every,
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
    """A film of stills is masked whole; whoever meant it can say so."""
    alone = tally.full["gap"] + tally.full["late"]
    if alone * 2 <= tally.frames:
        return []
    return [
        f"{alone} frames are fully masked because more than {GAP_NS / 1e9:g} s lie between pictures; "
        "--fps N takes them as N a second"
    ]


def write_report(path: Path, facts: dict[str, Any]) -> None:
    try:
        place(path, msgspec.json.format(msgspec.json.encode(facts)) + b"\n")
    except OSError as problem:
        raise MediaError(f"{path}: cannot be written: {problem.strerror}", "choose a folder you may write to") from problem


def text(facts: dict[str, Any]) -> str:
    causes = ", ".join(f"{cause} {number}" for cause, number in facts["full_by_cause"].items()) or "none"
    return (
        f"{facts['target']}: {facts['frames']} frames, {facts['masked']} with people masked, "
        f"{facts['full']} fully masked ({causes})\n"
        f"{facts['seconds']} s, {facts['cpu_ms_per_frame']} ms CPU a frame; {facts['stack']}; {NOT_MEASURED}\n"
    )


def printable(path: Path) -> str:
    """A file's name as text that every encoder takes, whatever its bytes are."""
    return os.fsencode(path.name).decode(errors="replace")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

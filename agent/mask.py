"""`lykta mask`: the node's own engine over files, with a fixed cadence and no threads of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import msgspec

from agent.mask_report import BATCH, Account, Settings, printable, report, text, write_report
from agent.progress import note, progress
from drivers.encoder import H264Encoder, MaskWriter, Mp4Writer
from drivers.video import VideoFile
from privacy.basis import PROFILES, Profile
from privacy.detection import Detection, Detector
from privacy.engine import Engine, cadence
from privacy.errors import DetectorError, LyktaError, MediaError, UsageError
from privacy.files import sync_folder
from privacy.frames import Frame, MaskedFrame
from privacy.masking import Masker
from privacy.models import installed
from privacy.stacks import open_stack
from provisioning.layout import Layout

# Bytes of pictures that wait in the delay line, at most: an 8K picture is looked at more often than cadence asks.
_WAITING = 512 << 20


@dataclass(frozen=True)
class Job:
    """One file to mask; `masks`: where its masks go, or None."""

    source: Path
    target: Path
    masks: Path | None

    @property
    def outputs(self) -> tuple[Path, ...]:
        return (self.target, self.masks) if self.masks else (self.target,)


class _OnlySound:
    """A detector that gives no answer about damaged pictures, which are blacked out: nobody found there says nothing."""

    def __init__(self, detector: Detector, damaged: set[int]) -> None:
        self.name, self.models = detector.name, detector.models
        self._detector, self._damaged = detector, damaged

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        if frame.index in self._damaged:
            raise DetectorError("the picture is damaged", "it is fully masked")
        return self._detector.detect(frame)


class _Outputs:
    """The masked video and, if wanted, its masks; both appear only when they are complete."""

    def __init__(self, job: Job) -> None:
        self._finals = job.outputs
        self._parts = [path.with_name(f".{path.name}.part") for path in self._finals]

    def open(self, video: VideoFile, fps: float, threads: int, masker: Masker) -> None:
        self._masker = masker
        self._encoder = H264Encoder(video.width, video.height, fps, threads=threads, aspect=video.facts.aspect)
        self._writer = Mp4Writer(self._parts[0], fps)
        self._rasters = MaskWriter(self._parts[1], video.width, video.height, fps) if len(self._parts) > 1 else None

    def take(self, picture: MaskedFrame) -> None:
        for packet in self._encoder.encode(picture):
            self._writer.write(packet)
        if self._rasters:
            self._rasters.write(self._masker.raster(picture.record))
        picture.release()

    def finish(self) -> None:
        for packet in self._encoder.end():
            self._writer.write(packet)
        self._writer.close()
        if self._rasters:
            self._rasters.close()
        for part, final in zip(self._parts, self._finals, strict=True):
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(final)
            sync_folder(final.parent)

    def discard(self) -> None:
        for part in self._parts:
            part.unlink(missing_ok=True)


def mask_file(
    source: Path,
    target: Path,
    *,
    detector: Detector,
    masks: Path | None = None,
    profile: Profile = "standard",
    threads: int = 1,
    fps: float | None = None,
    title: str = "masking",
) -> dict[str, Any]:
    """Mask a whole file; returns the report. Raises `MediaError` for what cannot be read or written."""
    job = Job(source, target, masks)
    _refuse_overwriting([job], None)
    video = VideoFile(source, fps=fps, threads=threads)
    video.open()
    rate = fps or video.facts.fps
    settings = Settings(detector, profile, threads, rate, _every(rate, video.width, video.height))
    account = Account()
    try:
        _run(video, settings, _Outputs(job), account, title)
    except LyktaError:
        raise
    except OSError as problem:
        raise MediaError(
            f"{target}: cannot be written: {problem.strerror}", "check the folder, its rights and its space"
        ) from problem
    facts = report(source, target, video, settings, account)
    for line in facts["notes"]:
        note(f"{printable(source)}: {line}")
    return facts


def _engine(settings: Settings, video: VideoFile, masker: Masker) -> Engine:
    return Engine(_OnlySound(settings.detector, video.damaged), masker, settings.every)


def _every(rate: float, width: int, height: int) -> int:
    return max(1, min(cadence(rate), _WAITING // (width * height * 3 // 2)))


def _run(video: VideoFile, settings: Settings, outputs: _Outputs, account: Account, title: str) -> None:
    masker = Masker(video.width, video.height, None, settings.profile)
    engine = _engine(settings, video, masker)
    try:
        outputs.open(video, settings.fps, settings.threads, masker)
        with progress(title, video.facts.frames) as advance:
            while frame := video.capture():
                _take(engine.feed(frame), outputs, account)
                advance()
            _take(engine.end(), outputs, account)
        outputs.finish()
    except BaseException:
        with suppress(OSError):
            outputs.discard()
        raise
    finally:
        video.close()


def _take(pictures: Iterable[MaskedFrame], outputs: _Outputs, account: Account) -> None:
    for picture in pictures:
        account.count(picture)
        outputs.take(picture)


def model_folder(given: Path | None) -> Path:
    """The folder given, the node's own, or the one `make setup` fills."""
    if given:
        return given
    own = Layout.from_environment().models
    return own if own.is_dir() else Path(__file__).resolve().parent.parent / "out/models"


def plan(words: Sequence[str], masks: Path | None, into_folder: bool) -> list[Job]:
    """Which file becomes which: NAME.mp4, and NAME.mkv for its masks, where OUT is a folder."""
    *sources, target = map(Path, words)
    if not into_folder:
        return [Job(sources[0], target, masks)]
    if target.exists() and not target.is_dir():
        raise UsageError(f"mask: OUT is a file ({target}) and there are {len(sources)} of IN", "name a folder as the last one")
    return [Job(path, target / f"{path.stem}.mp4", masks / f"{path.stem}.mkv" if masks else None) for path in sources]


def _refuse_overwriting(jobs: Sequence[Job], extra: Path | None) -> None:
    """No output may be an input or another output."""
    outputs = [*chain.from_iterable(job.outputs for job in jobs), *([extra] if extra else [])]
    for job in jobs:
        for path in outputs:
            if path.exists() and job.source.exists() and path.samefile(job.source):
                raise UsageError(f"mask: OUT is IN ({job.source})", "name another file: the original is never overwritten")
    for one, other in combinations(outputs, 2):
        if one.resolve() == other.resolve():
            raise UsageError(f"mask: {one} would be written twice", "give each a name of its own")


def command(
    words: Sequence[str],
    masks: Path | None,
    report: Path | None,
    profile: str,
    threads: int,
    fps: float | None,
    models: Path | None,
    as_json: bool,
) -> int:
    """`lykta mask`; the exit code."""
    if len(words) < 2:
        raise UsageError("mask: IN and OUT are needed", "lykta mask IN OUT, or lykta mask IN… FOLDER/")
    if profile not in PROFILES:
        raise UsageError(f"mask: --profile: must be one of {', '.join(PROFILES)} (got {profile!r})", "standard is the default")
    into_folder = len(words) > 2 or words[-1].endswith("/") or Path(words[-1]).is_dir()
    jobs = plan(words, masks, into_folder)
    _refuse_overwriting(jobs, report)
    folder = model_folder(models)
    detector = open_stack(installed(folder), folder, threads)
    mask = partial(mask_file, detector=detector, profile=profile, threads=threads, fps=fps)
    if into_folder:
        facts = _batch(jobs, mask, [Path(words[-1]), *([masks] if masks else [])])
    else:
        facts = mask(jobs[0].source, jobs[0].target, masks=masks, title=f"masking {printable(jobs[0].source)}")
    if report:
        write_report(report, facts)
    sys.stdout.write(msgspec.json.encode(facts).decode() + "\n" if as_json else _text(facts))
    return 1 if facts.get("failed") else 0


def _batch(jobs: Sequence[Job], mask: Callable[..., dict[str, Any]], folders: Sequence[Path]) -> dict[str, Any]:
    """Each file in turn; one that fails is told and does not stop the others."""
    for folder in folders:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as problem:
            raise MediaError(f"{folder}: cannot be made: {problem.strerror}", "check the folder and its rights") from problem
    files: list[dict[str, Any]] = []
    for number, job in enumerate(jobs, 1):
        title = f"masking {printable(job.source)} ({number} of {len(jobs)})"
        try:
            files.append(mask(job.source, job.target, masks=job.masks, title=title))
        except LyktaError as problem:
            sys.stderr.write(f"error: {problem}\nhint: {problem.hint}\n")
            files.append({"source": printable(job.source), "error": str(problem), "hint": problem.hint})
    failed = sum("error" in facts for facts in files)
    return {"schema": BATCH, "version": version("lykta"), "done": len(files) - failed, "failed": failed, "files": files}


def _text(facts: dict[str, Any]) -> str:
    if facts["schema"] != BATCH:
        return text(facts)
    lines = [text(one) for one in facts["files"] if "error" not in one]
    return "".join(lines) + f"{facts['done']} files masked, {facts['failed']} failed\n"

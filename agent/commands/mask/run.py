"""`lykta mask`: the node's own engine over files. Detections follow the file's time stamps; it has no threads of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from agent.commands.mask.plan import Job, Plan, plan, with_background
from agent.commands.mask.process import Progress, apart, stop_on
from agent.commands.mask.report import BATCH, NOT_MEASURED, Account, Settings, printable, report_of, text, write_report
from agent.terminal import progress
from drivers import stderr
from drivers.media.encoder import H264Encoder, MaskWriter, Mp4Writer
from drivers.media.picture import PICTURES, PictureWriter
from drivers.media.video import VideoFile
from privacy.errors import DetectorError, LyktaError, MediaError, UsageError
from privacy.masking.background.learned import LearnedBackground, encode, read_background
from privacy.masking.detection import Detection, Detector
from privacy.masking.frame_path import CADENCE_NS, Engine
from privacy.masking.frames import Frame, MaskedFrame
from privacy.masking.masker import Masker
from privacy.masking.networks.detectors import open_stack
from privacy.masking.networks.inference import runtime
from privacy.masking.networks.models import installed
from privacy.records.basis import PROFILES, Profile
from privacy.records.far_zone import FarLine
from provisioning.layout import CODE, Layout
from provisioning.version import VERSION

# Limit of the delay line, bytes: with 8K pictures the detector therefore runs more often than its interval asks.
_WAITING = 512 << 20
GIVE_UP_S = 300
"""An 8K picture in JPEG 2000 takes 20 s on a desktop, and six times as long on a Raspberry Pi 4."""


@dataclass(frozen=True)
class Options:
    """How files are masked.

    fps         frames a second instead of the time stamps, or None
    far         line above which all is masked, 0..1 from the top, or None
    give_up_s   see `apart`
    background  what `strict` knows of the empty place at the start, or None
    """

    profile: Profile = "standard"
    threads: int = 1
    fps: float | None = None
    models: Path | None = None
    far: float | None = None
    give_up_s: int = GIVE_UP_S
    background: LearnedBackground | None = None


class _OnlySound:
    """A detector that refuses damaged pictures, which are blacked out: finding nobody there proves nothing."""

    def __init__(self, detector: Detector, damaged: set[int]) -> None:
        self.name, self.models, self.parts = detector.name, detector.models, detector.parts
        self._detector, self._damaged = detector, damaged

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        if frame.index in self._damaged:
            raise DetectorError("the picture is damaged", "it is fully masked")
        return self._detector.detect(frame)


class _Film:
    """The masked video."""

    def __init__(self, part: Path, video: VideoFile, fps: float, threads: int) -> None:
        self._encoder = H264Encoder(video.width, video.height, fps, threads=threads, aspect=video.facts.aspect)
        self._writer = Mp4Writer(part, fps)

    def write(self, picture: MaskedFrame) -> None:
        for packet in self._encoder.encode(picture):
            self._writer.write(packet)

    def close(self) -> None:
        for packet in self._encoder.end():
            self._writer.write(packet)
        self._writer.close()


class _Outputs:
    """The masked video or picture and, if wanted, its masks, as temporary files."""

    def __init__(self, job: Job, video: VideoFile, settings: Settings, masker: Masker) -> None:
        self._masker, ending = masker, job.target.suffix.lower()
        self._film = None if ending in PICTURES else _Film(job.parts[0], video, settings.fps, settings.threads)
        self._still = PictureWriter(job.parts[0], ending) if ending in PICTURES else None
        self._rasters = MaskWriter(job.parts[1], video.width, video.height, settings.fps) if job.masks else None

    def take(self, picture: MaskedFrame) -> None:
        if self._film:
            self._film.write(picture)
        if self._still:
            self._still.write(picture)
        if self._rasters:
            self._rasters.write(self._masker.raster(picture.record))
        picture.release()

    def close(self) -> None:
        for part in (self._film, self._rasters):
            if part:
                part.close()


def mask_file(
    source: Path,
    target: Path,
    *,
    detector: Detector,
    masks: Path | None = None,
    profile: Profile = "standard",
    fps: float | None = None,
) -> dict[str, Any]:
    """Mask a whole file in this process and replace an existing target; returns the report.

    Raises `UsageError` for a target that may not be replaced, `MediaError` for files that cannot be read or written.
    """
    job = Job(source, target, masks, force=True)
    Plan((job,), force=True).check()
    return mask_job(job, Options(profile, fps=fps), detector, "masking", Progress())


def mask_job(job: Job, options: Options, detector: Detector, title: str, come: Progress) -> dict[str, Any]:
    """Mask one file of a plan; on failure its outputs are removed. Returns the report; raises `MediaError`."""
    video = VideoFile(job.source, fps=options.fps, threads=options.threads)
    video.open()
    _refuse_other_size(options.background, video, job)
    rate = options.fps or video.facts.fps
    settings = Settings(detector, options.profile, options.threads, rate, options.far, options.background)
    account = Account()
    try:
        job.begin()
        _run(video, settings, job, account, title, come)
        facts = report_of(job, video, settings, account)
        job.publish()
    except LyktaError:
        raise
    except OSError as problem:
        why = problem.strerror or str(problem)
        raise MediaError(f"{job.target}: cannot be written: {why}", "check the folder, its rights and its space") from problem
    finally:
        video.close()
        job.discard()
    for line in facts["notes"]:
        stderr.note(f"{printable(job.source)}: {line}")
    return facts


def _run(video: VideoFile, settings: Settings, job: Job, account: Account, title: str, come: Progress) -> None:
    far = UNSET if settings.far is None else FarLine(settings.far, settings.far)
    masker = Masker(video.width, video.height, None, settings.profile, far)
    account.constant = float(masker.outside.mean()) / 255
    every = max(1, _WAITING // (video.width * video.height * 3 // 2))
    engine = Engine(_OnlySound(settings.detector, video.damaged), masker, every, CADENCE_NS, settings.background)
    outputs = _Outputs(job, video, settings, masker)
    with progress(title, video.facts.frames) as advance:
        while frame := video.capture():
            _take(engine.feed(frame), outputs, account)
            advance()
            come.picture()
        come.read()
        _take(engine.end(), outputs, account)
    outputs.close()
    account.looks = engine.looks
    _keep_background(engine.background(), job, account)


def _keep_background(learned: LearnedBackground | None, job: Job, account: Account) -> None:
    if learned:
        account.seen = learned.share
        if job.learn:
            job.parts[-1].write_bytes(encode(learned))


def _refuse_other_size(background: LearnedBackground | None, video: VideoFile, job: Job) -> None:
    if background and (background.width, background.height) != (video.width, video.height):
        sizes = f"{background.width}x{background.height}, the pictures are {video.width}x{video.height}"
        raise MediaError(f"{job.source}: --background: was learned from pictures of {sizes}", "learn one from the same camera")


def _take(pictures: Iterable[MaskedFrame], outputs: _Outputs, account: Account) -> None:
    for picture in pictures:
        account.count(picture)
        outputs.take(picture)


def model_folder(given: Path | None) -> Path:
    """The folder given, else the node's, else the one that `make setup` fills."""
    if given:
        return given
    own = Layout.from_environment().models
    return own if own.is_dir() else CODE / "out/models"


def command(
    words: Sequence[str],
    out: str,
    masks: Path | None,
    report: Path | None,
    options: Options,
    force: bool,
    as_json: bool,
    background: Path | None = None,
    learn: Path | None = None,
) -> int:
    """`lykta mask`; the exit code. Everything that can be refused is refused before the first file is read."""
    if options.profile not in PROFILES:
        raise UsageError(
            f"mask: --profile: must be one of {', '.join(PROFILES)} (got {options.profile!r})", "standard is the default"
        )
    if options.far is not None and not 0 <= options.far <= 1:
        raise UsageError(f"mask: --far: must be 0 to 1 of the height, from the top (got {options.far})", "0.3 masks the top 30 %")
    if options.profile != "strict" and (background or learn):
        option = "--background" if background else "--learn-background"
        raise UsageError(f"mask: {option}: has no meaning with the profile {options.profile}", "add --profile strict")
    wanted = with_background(plan(words, out, masks, report, force), background, learn)
    wanted.check()
    if options.fps and all(job.target.suffix.lower() in PICTURES and not job.masks for job in wanted.jobs):
        raise UsageError("mask: --fps: has no meaning with one picture", "leave it out")
    if background:
        options = replace(options, background=read_background(background))
    installed(model_folder(options.models))
    _make(wanted.folders)
    runtime()  # once, not in the process of each file
    stop_on(signal.SIGTERM, signal.SIGHUP)
    results = Results(wanted)
    try:
        results.work(options)
    except KeyboardInterrupt:
        stderr.note(f"interrupted: {results.left()}")
        raise
    finally:
        results.show(as_json)
    return 1 if results.failed else 0


def _make(folders: Sequence[Path]) -> None:
    for folder in folders:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as problem:
            raise MediaError(f"{folder}: cannot be made: {problem.strerror}", "check the folder and its rights") from problem


class Results:
    """The results of the files of a plan so far."""

    def __init__(self, wanted: Plan) -> None:
        self._plan, self._files = wanted, list[dict[str, Any]]()

    @property
    def failed(self) -> int:
        return sum("error" in facts for facts in self._files)

    def work(self, options: Options) -> None:
        """Mask each file in turn; a failure is printed and does not stop the others."""
        jobs = self._plan.jobs
        for number, job in enumerate(jobs, 1):
            count = f" ({number} of {len(jobs)})" if self._plan.folders else ""
            title = f"masking {printable(job.source)}{count}"
            try:
                self._files.append(apart(str(job.source), partial(_job, job, options, title), options.give_up_s))
            except MediaError as problem:
                if not self._plan.folders:
                    raise
                stderr.error(problem)
                self._files.append({"source": printable(job.source), "error": str(problem), "hint": problem.hint})
            finally:
                job.discard()

    def left(self) -> str:
        """A text on which outputs exist after an interruption."""
        done, jobs = len(self._files) - self.failed, self._plan.jobs
        next_ = jobs[len(self._files)].target if len(self._files) < len(jobs) else None
        before = f"{done} of {len(jobs)} files are masked; " if self._plan.folders else ""
        return f"{before}nothing is left of {next_}" if next_ else f"{before}nothing else was begun"

    def show(self, as_json: bool) -> None:
        """Print the report of the finished files, also after an interruption."""
        facts = self._facts()
        if facts:
            sys.stdout.write(msgspec.json.encode(facts).decode() + "\n" if as_json else self._text())
            if self._plan.report:
                write_report(self._plan.report, facts)

    def _facts(self) -> dict[str, Any]:
        if not self._plan.folders:
            return self._files[0] if self._files else {}
        counts = {"done": len(self._files) - self.failed, "failed": self.failed, "left": len(self._plan.jobs) - len(self._files)}
        return {"schema": BATCH, "version": VERSION, **counts, "files": self._files}

    def _text(self) -> str:
        lines = [text(one) for one in self._files if "error" not in one]
        if self._plan.folders:
            lines.append(f"{len(self._files) - self.failed} files masked, {self.failed} failed\n")
        return "".join(lines) + f"{NOT_MEASURED}\n"


def _job(job: Job, options: Options, title: str, come: Progress) -> dict[str, Any]:
    """One file, in its own process: the networks are loaded there, where what a file does to them ends with it."""
    folder = model_folder(options.models)
    return mask_job(job, options, open_stack(installed(folder), folder, options.threads), title, come)

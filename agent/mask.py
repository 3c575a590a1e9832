"""`lykta mask IN OUT`: the node's own engine over a file, with a fixed cadence and no threads of its own."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from agent.progress import note, progress
from drivers.encoder import H264Encoder, MaskWriter, Mp4Writer
from drivers.video import VideoFile
from privacy.basis import PROFILES, Profile
from privacy.detection import Detector
from privacy.engine import Engine, cadence
from privacy.errors import LyktaError, MediaError, UsageError
from privacy.frames import MaskedFrame
from privacy.masking import Masker, Tally
from privacy.models import installed
from privacy.stacks import open_stack
from provisioning.layout import Layout

NOT_MEASURED = "how many people stayed visible was not measured here: that needs labels (make evaluate)"


class _Outputs:
    """The masked video and, if wanted, its masks; both appear only when they are complete."""

    def __init__(self, target: Path, masks: Path | None, video: VideoFile, fps: float, threads: int, masker: Masker) -> None:
        self._masker = masker
        self._finals = [path for path in (target, masks) if path]
        self._parts = [path.with_name(f".{path.name}.part") for path in self._finals]
        self._encoder = H264Encoder(video.width, video.height, fps, threads=threads)
        self._writer = Mp4Writer(self._parts[0], fps)
        self._rasters = MaskWriter(self._parts[1], video.width, video.height, fps) if masks else None

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
            part.replace(final)

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
) -> dict[str, Any]:
    """Mask a whole file; returns the report. Raises `MediaError` for what cannot be read or written."""
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError(f"mask: OUT is IN ({source})", "name another file: the original is never overwritten")
    video = VideoFile(source, fps=fps, threads=threads)
    video.open()
    rate = fps or video.facts.fps
    if video.facts.audio:
        note("the audio track is dropped: Lykta keeps no sound")
    masker = Masker(video.width, video.height, None, profile)
    engine = Engine(detector, masker, cadence(rate))
    tally, begin = Tally(), (time.perf_counter(), _cpu())
    try:
        _run(video, engine, _Outputs(target, masks, video, rate, threads, masker), tally)
    except LyktaError:
        raise
    except OSError as problem:
        raise MediaError(
            f"{target}: cannot be written: {problem.strerror}", "check the folder, its rights and its space"
        ) from problem
    return _report(source, target, video, rate, tally, begin, detector, profile, threads)


def _run(video: VideoFile, engine: Engine, outputs: _Outputs, tally: Tally) -> None:
    try:
        with progress("masking", video.facts.frames) as advance:
            while frame := video.capture():
                for picture in engine.feed(frame):
                    tally.count(picture)
                    outputs.take(picture)
                advance()
            for picture in engine.end():
                tally.count(picture)
                outputs.take(picture)
        if not tally.frames:
            raise MediaError("mask: no frame in the file", "nothing was written")
        outputs.finish()
    except BaseException:
        with suppress(OSError):
            outputs.discard()
        raise
    finally:
        video.close()


def _report(
    source: Path,
    target: Path,
    video: VideoFile,
    rate: float,
    tally: Tally,
    begin: tuple[float, float],
    detector: Detector,
    profile: Profile,
    threads: int,
) -> dict[str, Any]:
    wall, cpu = time.perf_counter() - begin[0], _cpu() - begin[1]
    return {
        "schema": "lykta.mask/1",
        "source": source.name,
        "target": target.name,
        "width": video.width,
        "height": video.height,
        "fps": round(rate, 3),
        "frames": tally.frames,
        "masked": tally.masked,
        "full": tally.full.total(),
        "full_by_cause": dict(tally.full),
        "painted_share_at_most": round(tally.painted / tally.frames, 4),
        "profile": profile,
        "stack": detector.name,
        "models": detector.models,
        "threads": threads,
        "detect_every": cadence(rate),
        "seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "cpu_ms_per_frame": round(cpu / tally.frames * 1000, 2),
        "audio": "dropped" if video.facts.audio else "none",
        "not_measured": NOT_MEASURED,
    }


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def write_report(path: Path, report: dict[str, Any]) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def model_folder(given: Path | None) -> Path:
    """The folder given, the node's own, or the one `make setup` fills."""
    if given:
        return given
    own = Layout.from_environment().models
    return own if own.is_dir() else Path(__file__).resolve().parent.parent / "out/models"


def command(
    source: Path,
    target: Path,
    masks: Path | None,
    report: Path | None,
    profile: str,
    threads: int,
    fps: float | None,
    models: Path | None,
    as_json: bool,
) -> None:
    """`lykta mask`."""
    if profile not in PROFILES:
        raise UsageError(f"mask: --profile: must be one of {', '.join(PROFILES)} (got {profile!r})", "standard is the default")
    folder = model_folder(models)
    detector = open_stack(installed(folder), folder, threads)
    facts = mask_file(source, target, detector=detector, masks=masks, profile=profile, threads=threads, fps=fps)
    if report:
        write_report(report, facts)
    sys.stdout.write(msgspec.json.encode(facts).decode() + "\n" if as_json else _text(facts))


def _text(facts: dict[str, Any]) -> str:
    causes = ", ".join(f"{cause} {number}" for cause, number in facts["full_by_cause"].items()) or "none"
    return (
        f"{facts['target']}: {facts['frames']} frames, {facts['masked']} with people masked, "
        f"{facts['full']} fully masked ({causes})\n"
        f"{facts['seconds']} s, {facts['cpu_ms_per_frame']} ms CPU a frame; {facts['stack']}; {NOT_MEASURED}\n"
    )

"""`make evaluate`: how many people leave unmasked, and at what price in picture, on labelled video.

    python -m tests.bench.evaluate --video V --labels L [--fps N] [--profile P] [--frames N] [--json]
    python -m tests.bench.evaluate [--clips DIR]
                the tables of the pedestrian video, its labels in ../shared beside the project; with DIR, in which the surveillance
                clips of ../shared/data/surveillance are laid out, also who of those stayed bare

Runs `lykta mask` as shipped, one process at a time, and scores the masks it writes (`tests.bench.score`). Night is a
simulation and is reported apart; so is what lies outside of the condition that the first table holds for: people upright, lit, in
the picture for longer than a look. Everything made is left in out/evaluate for a person to look at: inputs, masked videos,
masks, reports, evaluate.json and contact sheets, which are drawn on masked video only. No later run reads any of it.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import av
import cv2
import numpy as np

from agent.commands.mask.run import mask_file, write_report
from privacy.errors import LyktaError, MediaError, UsageError
from privacy.masking.detection import Detection, Detector
from privacy.masking.frames import Frame
from privacy.records.basis import Profile
from tests.bench import home
from tests.bench.harder import away, brief, fog, make
from tests.bench.score import NOBODY, Labels, Plane, Score, Share, read_labels, score
from tests.support.nodes import BIN, MODELS, PROJECT, VIDEO

SHARED = PROJECT.parent / "shared"
OUT = PROJECT / "out/evaluate"
# The pedestrian video was taken at 7 pictures a second; its container says 10.
PEDESTRIAN_FPS = 7.0
# Shake and night are made of so many frames from the start.
VARIANT_FRAMES = 250

# What the engine must reach, and what it aims at: recalls at least, the others at most.
Bounds = dict[str, tuple[float, float]]
BOUNDS: dict[str, Bounds] = {
    name: {"head_recall": head, "person_recall": person, "leaking_tracks": tracks, "over_masking": over}
    for name, head, person, tracks, over in (
        ("standard day", (0.999, 1), (0.99, 0.997), (0, 0), (0.085, 0.06)),
        ("standard shake", (0.995, 0.999), (0.99, 0.995), (0, 0), (0.16, 0.09)),
        ("standard night", (0.985, 0.997), (0.985, 0.99), (0, 0), (0.22, 0.16)),
    )
}
BOUNDS["standard 25 fps"] = BOUNDS["standard brief"] = {"leaking_tracks": (0, 0)}
BOUNDS["standard 50 fps"] = {"leaking_tracks": (1, 0)}
# Outside of the condition: upright, lit, in the picture for longer than a look.
OUTSIDE = ("25 fps", "50 fps", "brief", "away", "turned", "fog", "night rain")
BOUNDS["strict day"] = {"leaking_tracks": (0, 0), "over_masking": (0.16, 0.11)}
BOUNDS["second gate alone"] = {"head_recall": (0.5, 0.85)}
MODES = {"nightrain": "night rain"}
SHEET_COLUMNS, STILLS, STILL_WIDTH = 3, 12, 512
RED, WHITE = (0, 0, 255), (255, 255, 255)


@dataclass(frozen=True)
class Footage:
    """A labelled video. fps: None = the file's own time stamps. turned: by 90 degrees, its masks are turned back to the labels."""

    name: str
    video: Path
    labels: Path
    fps: float | None
    turned: bool = False


@dataclass(frozen=True)
class Case:
    """One row of the tables.

    alone    the detector answers "nobody" in time, so that only the second gate masks
    held_to  whose bounds count, where it is not its own name
    """

    name: str
    footage: Footage
    profile: Profile
    alone: bool = False
    held_to: str = ""

    @property
    def bounds(self) -> Bounds:
        return BOUNDS.get(self.held_to or self.name, {})


@dataclass(frozen=True)
class Outcome:
    case: Case
    score: Score
    report: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        figures = self.score.figures()
        kept = ("profile", "stack", "fps", "detect_every", "full", "full_by_cause", "cpu_ms_per_frame")
        heights = [
            {"least": row.least, "people": _share_json(row.person), "heads": _share_json(row.head)} for row in self.score.heights
        ]
        return {
            "name": self.case.name,
            **{key: self.report[key] for key in kept},
            "figures": figures,
            "bounds": {key: _verdict(key, figures[key], *pair) for key, pair in self.case.bounds.items()},
            "heights": heights,
            "bare": self.score.bare,
        }


def _share_json(share: Share) -> dict[str, Any]:
    return {"hits": share.hits, "of": share.of, "interval_95": [round(end, 5) for end in share.interval]}


def _verdict(figure: str, here: float, must: float, aim: float) -> dict[str, Any]:
    return {"here": here, "must": must, "aim": aim, "must_met": met(figure, here, must), "aim_met": met(figure, here, aim)}


def met(figure: str, here: float, bound: float) -> bool:
    return here >= bound if figure.endswith("recall") else here <= bound


class Nobody:
    """A detector that always answers in time that nobody is there."""

    name = "nobody"
    parts: tuple[Detector, ...] = ()

    def __init__(self) -> None:
        self.models: dict[str, str] = {}

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        return ()


def say(text: str) -> None:
    sys.stderr.write(f"evaluate: {text}\n")
    sys.stderr.flush()


def run(words: list[str | Path]) -> None:
    """Run a program; if it fails, say why in its own words."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        last, _, hint = done.stderr.strip().partition("\nhint: ")
        said = last.rpartition("error: ")[2].strip()[-500:]
        raise MediaError(f"{Path(words[0]).name}: {said or f'exit code {done.returncode}'}", hint or "run it by hand to see more")


def evaluate(case: Case, out: Path) -> Outcome:
    """Mask the footage of a case, score the masks, draw a contact sheet; all files in `out`."""
    say(f"{case.name} …")
    stem = case.name.removeprefix("standard ").replace(" ", "-")
    target, masks, report = out / f"{stem}.mp4", out / f"{stem}-masks.mkv", out / f"{stem}-report.json"
    if case.alone:
        facts = mask_file(case.footage.video, target, detector=Nobody(), masks=masks, profile=case.profile, fps=case.footage.fps)
        write_report(report, facts)
    else:
        run(mask_words(case, target, masks, report))
        facts = json.loads(report.read_text())
    if case.footage.turned:
        target, masks = (turn(path, "transpose=2", path.with_name(f"back-{path.stem}.mkv")) for path in (target, masks))
    outcome = Outcome(case, score(masks, case.footage.labels), facts)
    draw_sheet(target, outcome, out / f"sheet-{stem}.png")
    return outcome


def mask_words(case: Case, target: Path, masks: Path, report: Path) -> list[str | Path]:
    rate = ["--fps", f"{case.footage.fps:g}"] if case.footage.fps else []
    return [BIN / "lykta", "mask", case.footage.video, target, "--profile", case.profile, *rate,
            "--masks", masks, "--report", report, "--force", "--models", MODELS, "--threads", "1"]  # fmt: skip


def cut(footage: Footage, frames: int, out: Path) -> Footage:
    """The first frames of a footage, without loss, and their labels."""
    short = replace(footage, video=out / f"in-{footage.name}-{frames}.mkv", labels=out / f"in-{footage.name}-{frames}.csv")
    keep = ["-map", "0:v:0", "-frames:v", str(frames), "-fps_mode", "passthrough", "-c:v", "ffv1"]
    run(["ffmpeg", "-v", "error", "-y", "-i", footage.video, *keep, short.video])
    with footage.labels.open(newline="") as before, short.labels.open("w", newline="") as after:
        rows = csv.DictReader(before)
        kept = csv.DictWriter(after, rows.fieldnames or [])
        kept.writeheader()
        kept.writerows(row for row in rows if int(row["frame"]) <= frames)
    return short


def degraded(footage: Footage, mode: str, out: Path) -> Footage:
    """A harder variant of a footage, made by the shared program; it writes nothing and is content where OpenCV has no MPEG-4."""
    say(f"making {mode} of {footage.video.name} …")
    worse = Footage(MODES.get(mode, mode), out / f"in-{mode}.mp4", out / f"in-{mode}.csv", footage.fps)
    worse.video.unlink(missing_ok=True)
    run([sys.executable, SHARED / "tools/degrade.py", footage.video, worse.video, mode, footage.labels, worse.labels])
    if not worse.video.exists():
        raise MediaError(f"degrade.py: no {mode} video was made", "OpenCV needs an MPEG-4 writer")
    return worse


def turn(video: Path, how: str, target: Path) -> Path:
    """The video through a filter of ffmpeg, without loss."""
    run(["ffmpeg", "-v", "error", "-y", "-i", video, "-vf", how, "-fps_mode", "passthrough", "-c:v", "ffv1", target])
    return target


def harder(day: Footage, start: Footage, out: Path) -> Iterator[Footage]:
    """What lies outside of the condition: day is the whole clip, start its first pictures."""
    yield from (replace(day, name=f"{fps} fps", fps=float(fps)) for fps in (25, 50))
    for variant in (brief, away, fog):
        name = variant.__name__
        say(f"making {name} …")
        made = Footage(name, out / f"in-{name}.mkv", out / f"in-{name}.csv", None)
        make(variant, start.video, start.labels, made.video, made.labels)
        yield replace(made, fps=start.fps) if variant is fog else made
    yield replace(start, name="turned", video=turn(start.video, "transpose=1", out / "in-turned.mkv"), turned=True)
    yield degraded(start, "nightrain", out)


def surveillance(clips: Path, out: Path) -> str:
    """Who of those whom the engine of 2026-11-27 left bare in clips of real cameras stays bare, by the shared scorer's rule."""
    say(f"the clips in {clips} …")
    data = SHARED / "data/surveillance"
    words = [SHARED / "tools/score_bare.py", clips, data / "bare.csv", data / "control.txt", "--lykta", BIN / "lykta", "--json"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise MediaError(f"score_bare.py: {done.stderr.strip()[-300:]}", f"lay the clips out as {data / 'README.md'} says")
    (out / "surveillance.json").write_text(done.stdout)
    found = json.loads(done.stdout)
    low, high = (bound * 100 for bound in Share(found["covered"], found["people"]).interval)
    missed = ", ".join(f"{kind} {number}" for kind, number in found["missed"].items())
    return "\n".join((
        f"Surveillance clips: of {found['people']} people whom the engine of 2026-11-27 left bare {found['covered']} are masked "
        f"({low:.0f} to {high:.0f} %)",
        f"  painted: {percent(found['painted'])} of {found['control_clips']} control clips; median {percent(found['bare_median'])} "
        f"of the clips with bare people, of which {found['bare_full']} pictures whole",
        f"  still bare: {missed or 'nobody'}\n",
    ))  # fmt: skip


def shared_cases(frames: int | None, profile: Profile | None, out: Path) -> list[Case]:
    """The columns of the tables, or those of one profile."""
    day = Footage("day", VIDEO, SHARED / "data/pets09-s2l1.csv", PEDESTRIAN_FPS)
    if not day.labels.exists():
        raise UsageError(f"evaluate: no labels at {day.labels}", "give VIDEO=… LABELS=…, or place ../shared beside the project")
    if not day.video.exists():
        raise UsageError(f"evaluate: no pedestrian video at {day.video}", "make setup fetches it")
    whole = cut(day, frames, out) if frames else day
    cases = [Case("standard day", whole, "standard"), Case("strict day", whole, "strict")]
    cases.append(Case("second gate alone", whole, "strict", alone=True))
    if profile in (None, "standard"):
        start = cut(day, min(frames or VARIANT_FRAMES, VARIANT_FRAMES), out)
        cases += [Case(f"standard {one.name}", one, "standard") for one in harder(whole, start, out)]
        cases[1:1] = [Case(f"standard {mode}", degraded(start, mode, out), "standard") for mode in ("shake", "night")]
    chosen = [case for case in cases if profile in (None, case.profile)]
    if not chosen:
        raise UsageError(f"evaluate: no table has the profile {profile}", "give VIDEO=… LABELS=… with it")
    return chosen


def given_case(options: argparse.Namespace, out: Path) -> Case:
    if not (options.video and options.labels):
        raise UsageError("evaluate: a video needs labels and labels need a video", "give both: VIDEO=… LABELS=…")
    read_labels(options.labels)
    footage = Footage("video", options.video, options.labels, options.fps)
    profile: Profile = options.profile or "standard"
    footage = cut(footage, options.frames, out) if options.frames else footage
    return Case(f"{profile} video", footage, profile, held_to=f"{profile} day")


def draw_sheet(video: Path, outcome: Outcome, target: Path) -> None:
    """Stills of the masked video: labelled boxes thin white, bare heads red."""
    labels, wanted = read_labels(outcome.case.footage.labels), set(choose(outcome.score))
    with av.open(str(video)) as container:
        pictures = enumerate(container.decode(video=0), start=1)
        chosen = [(number, np.asarray(p.to_ndarray(format="bgr24"), np.uint8)) for number, p in pictures if number in wanted]
    stills = [still(number, picture, labels, outcome.score) for number, picture in chosen]
    stills += [np.zeros_like(stills[0])] * (-len(stills) % SHEET_COLUMNS)
    rows = [np.hstack(stills[at : at + SHEET_COLUMNS]) for at in range(0, len(stills), SHEET_COLUMNS)]
    target.write_bytes(cv2.imencode(".png", np.vstack(rows))[1].tobytes())


def choose(counted: Score) -> list[int]:
    """Frames for the sheet: half of it those with bare heads, if there are so many, the rest spread evenly."""
    leaky = sorted({number for numbers in counted.bare.values() for number in numbers})
    chosen = set(spread(leaky, STILLS // 2))
    others = [number for number in range(1, counted.frames + 1) if number not in chosen]
    return sorted(chosen.union(spread(others, STILLS - len(chosen))))


def spread(numbers: list[int], most: int) -> list[int]:
    """At most so many of the numbers, evenly spread over them."""
    if len(numbers) <= most:
        return numbers
    return [numbers[round((at + 0.5) * len(numbers) / most - 0.5)] for at in range(most)]


def still(number: int, picture: Plane, labels: Labels, counted: Score) -> Plane:
    scale = STILL_WIDTH / picture.shape[1]
    small = cv2.resize(picture, (STILL_WIDTH, round(picture.shape[0] * scale)), interpolation=cv2.INTER_AREA)
    known = labels.get(number, NOBODY)
    for name, (x, y, w, h) in zip(known.names, known.people * scale, strict=True):
        cv2.rectangle(small, (round(x), round(y)), (round(x + w), round(y + h)), WHITE, 1)
        if number in counted.bare.get(name, ()):
            cv2.rectangle(small, (round(x + w / 4), round(y)), (round(x + w * 0.75), round(y + h * 0.16)), RED, 2)
    cv2.putText(small, f"{number}", (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, WHITE, 1, cv2.LINE_AA)
    return np.asarray(small, np.uint8)


def percent(share: float) -> str:
    return f"{share * 100:.2f} %"


def overview(outcomes: list[Outcome]) -> Iterator[str]:
    """Recall, and what it costs in picture and CPU, a line a case."""
    yield (f"{'':19}{'frames':>7}{'tracks':>7}{'heads':>10}{'people':>10}{'leaking':>9}{'up to':>9}{'bare':>6}{'longest':>8}"
           f"{'over-mask':>11}{'all masked':>11}{'CPU ms':>8}")  # fmt: skip
    for outcome in outcomes:
        counted, report = outcome.score, outcome.report
        yield (f"{outcome.case.name:19}{counted.frames:7}{counted.tracks:7}{percent(counted.head.value):>10}"
               f"{percent(counted.person.value):>10}{len(counted.bare):9}{percent(counted.leak_bound):>9}{counted.bare_heads:6}"
               f"{counted.longest_bare:8}{percent(counted.over_masking):>11}{percent(report['full'] / report['frames']):>11}"
               f"{report['cpu_ms_per_frame']:8.2f}")  # fmt: skip


def bounds(outcomes: list[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        name = outcome.case.held_to or outcome.case.name
        for figure, (must, aim) in outcome.case.bounds.items():
            here = outcome.score.figures()[figure]
            judged = "".join(_bound(figure, here, bound) for bound in (must, aim))
            yield f"{name:19}{figure.replace('_', ' '):16}{_value(figure, here):>9}{judged}".rstrip()


def _bound(figure: str, here: float, bound: float) -> str:
    sign = "≥" if figure.endswith("recall") else "≤"
    return f"{sign + ' ' + _value(figure, bound):>12} {'met' if met(figure, here, bound) else 'MISSED':6}"


def _value(figure: str, value: float) -> str:
    return f"{value:.0f}" if figure == "leaking_tracks" else percent(value)


def causes(outcomes: list[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        frames, counts = outcome.report["frames"], sorted(outcome.report["full_by_cause"].items())
        text = ", ".join(f"{cause} {percent(number / frames)}" for cause, number in counts)
        yield f"{outcome.case.name:19}{text or 'never'}"


def heights(outcomes: list[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        for row in outcome.score.heights:
            ends = f"{row.least} to {row.below:g} px" if np.isfinite(row.below) else f"from {row.least} px"
            yield f"{outcome.case.name:19}{ends:14}heads {_interval(row.head)}   people {_interval(row.person)}"


def _interval(share: Share) -> str:
    low, high = share.interval
    return f"{percent(share.value):>9} of {share.of:5} ({low * 100:6.2f} to {high * 100:6.2f})"


def leaks(outcomes: list[Outcome], most: int = 10) -> Iterator[str]:
    """Who was bare and when; of many tracks the worst."""
    for outcome in outcomes:
        worst = sorted(outcome.score.bare.items(), key=lambda item: -len(item[1]))
        for name, numbers in worst[:most]:
            yield f"{outcome.case.name:19}id {name:6}{len(numbers):5} frames: {_runs(numbers)}"
        if len(worst) > most:
            yield f"{outcome.case.name:19}and {len(worst) - most} more, in evaluate.json"


def _runs(numbers: tuple[int, ...], most: int = 8) -> str:
    """Numbers as runs: 3-5, 9."""
    parts = np.split(np.array(numbers), np.flatnonzero(np.diff(numbers) != 1) + 1)
    runs = [f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts]
    return ", ".join(runs[:most]) + (f" and {len(runs) - most} more runs" if len(runs) > most else "")


def section(title: str, outcomes: list[Outcome]) -> str:
    """All there is to say of some cases."""
    parts: tuple[tuple[str, Iterable[str]], ...] = (
        (title, overview(outcomes)),
        (f"  {'held to':35}{'here':>9}{'must':>12}{'aim':>19}", bounds(outcomes)),
        ("Fully masked, by cause", causes(outcomes)),
        ("By height of the person, 95 % intervals (Wilson; boxes of one track are alike: the truth is wider)", heights(outcomes)),
        ("Bare heads", leaks(outcomes)),
    )
    filled = [(head, lines) for head, lines in ((head, list(lines)) for head, lines in parts) if lines]
    return "\n\n".join("\n".join([head, *(f"  {line}" for line in lines)]) for head, lines in filled) + "\n"


def tables(outcomes: list[Outcome]) -> str:
    """The day, and what was made of it by day; then the night by itself."""
    report = outcomes[0].report
    looks = f"a look every {report['detect_every']} frames at {report['fps']:g} a second"
    note = f"{report['stack']}, {looks}; up to: 95 % bound of leaking tracks; CPU with the writing of masks"
    night = [outcome for outcome in outcomes if outcome.case.footage.name == "night"]
    outside = [outcome for outcome in outcomes if outcome.case.footage.name in OUTSIDE]
    day = [outcome for outcome in outcomes if outcome not in night and outcome not in outside]
    parts = (("Labelled video", day), ("Night, simulated", night), ("Outside of the condition", outside))
    texts = [section(f"{name} ({note})", some) for name, some in parts if some]
    return "\n\n".join(texts)


def options_of(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--labels", type=Path, help="CSV: frame,id,x,y,w,h,conf,class")
    parser.add_argument("--fps", type=float, help="of the video given, if its time stamps are wrong")
    parser.add_argument("--profile", choices=get_args(Profile))
    parser.add_argument("--frames", type=_frames, help="only so many frames from the start")
    parser.add_argument("--clips", type=Path, help="folder of the surveillance clips that ../shared/data/surveillance names")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--json", action="store_true", help="print evaluate.json instead of the tables")
    return parser.parse_args(words)


def _frames(word: str) -> int:
    if not word.isdecimal() or not int(word):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0 (got {word!r})")
    return int(word)


def main(words: list[str] | None = None) -> int:
    options = options_of(words)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        single = options.video or options.labels
        cases = [given_case(options, options.out)] if single else shared_cases(options.frames, options.profile, options.out)
        outcomes = [evaluate(case, options.out) for case in cases]
        others = surveillance(options.clips, options.out) if options.clips else ""
    except LyktaError as problem:
        sys.stderr.write(f"error: {problem}\n" + (f"hint: {problem.hint}\n" if problem.hint else ""))
        return problem.exit_code
    record = {"schema": "lykta.evaluate/1", "cases": [outcome.as_json() for outcome in outcomes]}
    text = json.dumps(record, indent=1) + "\n"
    (options.out / "evaluate.json").write_text(text)
    sys.stdout.write(text if options.json else tables(outcomes))
    sys.stdout.write("" if options.json or not others else f"\n{others}")
    if not (options.json or single or options.frames):
        sys.stdout.write("\n" + "\n".join(home.lines()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`make attack`: how often an attacker who trains on masked pictures names the people behind each kind of mask.

Two numbers for every mask: from the masked pixels alone, scaled to one size; and with the box's place, size and time, which
no fill can hide. Writes out/bench/attack.json and attack.svg, prints the tables of docs/ATTACK.md, which has the method.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2

from privacy.errors import LyktaError
from tests.bench.attacker import PICTURES, SPLITS, TEST, TRAIN, Rate, Split, attack, luck
from tests.bench.gallery import SIGHTS, gather, read_labels
from tests.support.nodes import PROJECT, VIDEO

OUT = PROJECT / "out/bench"
LABELS = PROJECT.parent / "shared/data/pets09-s2l1.csv"
MOST = max(PICTURES)
TITLES: dict[Split, str] = {
    "later": "trained on the first part of each track, tested on the last",
    "alternating": "trained and tested on alternating seconds of each track",
}


def say(text: str) -> None:
    sys.stderr.write(f"attack: {text}\n")
    sys.stderr.flush()


def measure(video: Path, labels: Path) -> dict[str, Any]:
    """Everything, as one object: schema `lykta.attack/1`."""
    say("masking and coding the clip in every way …")
    gallery = gather(video, read_labels(labels))
    rates: list[Rate] = []
    for sight in SIGHTS:
        say(f"{sight.name} …")
        rates += [rate for split in SPLITS for box in (False, True) for rate in attack(gallery, sight.name, split, box)]
    say("random noise …")
    lucks = [asdict(one) for split in SPLITS for one in luck(gallery, split)]
    return {
        "schema": "lykta.attack/1", "people": gallery.people, "boxes": len(gallery.tracks), "chance": 1 / gallery.people,
        "training_pictures": TRAIN, "test_pictures": TEST, "rates": [asdict(rate) for rate in rates],
        "noise": lucks, "cpu_s": round(time.process_time(), 1),
    }  # fmt: skip


def chosen(found: dict[str, Any], mask: str, split: Split, learner: str, box: bool, pictures: int) -> Rate:
    wanted = (mask, split, learner, box, pictures)
    rates = (Rate(**rate) for rate in found["rates"])
    return next(rate for rate in rates if (rate.mask, rate.split, rate.learner, rate.box, rate.pictures) == wanted)


def table(found: dict[str, Any], split: Split) -> Iterator[str]:
    """Lines of a Markdown table: per cent of tries that name the right person, 95 % interval in brackets."""
    heads = [f"{n} picture{'s' * (n > 1)}" for n in PICTURES]
    yield f"| mask | {' | '.join(heads)} | neighbours, {MOST} | with the box, {MOST} | neighbours, with the box, {MOST} |"
    yield "|---" * (len(PICTURES) + 4) + "|"
    for sight in SIGHTS:
        alone = [chosen(found, sight.name, split, "logistic", False, n) for n in PICTURES]
        others = [chosen(found, sight.name, split, learner, box, MOST)
                  for learner, box in (("neighbours", False), ("logistic", True), ("neighbours", True))]  # fmt: skip
        yield f"| {sight.name} | {' | '.join(cell(rate) for rate in (*alone, *others))} |"


def noise(found: dict[str, Any], split: Split) -> str:
    said = [f"{one['learner']}, {one['pictures']}: {100 * one['mean']:.1f}, highest {100 * one['highest']:.1f}"
            for one in found["noise"] if one["split"] == split]  # fmt: skip
    return f"random noise for pictures, 12 draws: {'; '.join(said)}"


def cell(rate: Rate) -> str:
    return f"{100 * rate.rate:.1f} [{100 * rate.low:.0f}–{100 * rate.high:.0f}]"


def plot(found: dict[str, Any]) -> str:
    """Two panels, one a split; for each mask a bar from the pixels alone and one with the box; whiskers are intervals."""
    parts = ['<rect width="1180" height="610" fill="#ffffff"/>',
             f'<text x="12" y="26" font-size="16" font-weight="bold">People named from {MOST} masked pictures, logistic '
             f'regression, {found["people"]} people, 95 % intervals</text>']  # fmt: skip
    for index, split in enumerate(SPLITS):
        parts += panel(found, split, 250 + index * 470, 400)
    for row, sight in enumerate(SIGHTS):
        parts.append(f'<text x="236" y="{101 + row * 36}" text-anchor="end">{sight.name}</text>')
    for x, colour, words in ((250, YELLOW, "masked pixels alone"), (470, SLATE, "with place, size and time of the box")):
        parts.append(f'<rect x="{x}" y="578" width="14" height="14" fill="{colour}"/><text x="{x + 20}" y="590">{words}</text>')
    parts.append('<path d="M790 585h22" stroke="#b3261e" stroke-dasharray="4 3"/>')
    parts.append(f'<text x="818" y="590">chance, {100 * found["chance"]:.1f} %</text>')
    style = 'font-family="sans-serif" font-size="13" fill="#1c2430"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="1180" height="610" {style}>{"".join(parts)}</svg>\n'


YELLOW, SLATE = "#d8a520", "#5b7083"


def panel(found: dict[str, Any], split: Split, left: int, width: int) -> Iterator[str]:
    yield f'<text x="{left}" y="52">{TITLES[split]}</text>'
    for percent in range(0, 101, 20):
        x = left + percent / 100 * width
        yield f'<path d="M{x:.1f} 76V548" stroke="#d5dae0"/><text x="{x:.1f}" y="564" text-anchor="middle">{percent} %</text>'
    for row, sight in enumerate(SIGHTS):
        for box, colour in ((False, YELLOW), (True, SLATE)):
            rate = chosen(found, sight.name, split, "logistic", box, MOST)
            yield bar(rate, left, width, 82 + row * 36 + 15 * box, colour)
    x = left + found["chance"] * width
    yield f'<path d="M{x:.1f} 76V548" stroke="#b3261e" stroke-dasharray="4 3"/>'


def bar(rate: Rate, left: int, width: int, top: int, colour: str) -> str:
    end, low, high = (left + share * width for share in (rate.rate, rate.low, rate.high))
    return (
        f'<rect x="{left}" y="{top}" width="{end - left:.1f}" height="13" fill="{colour}"/>'
        f'<path d="M{low:.1f} {top + 6.5}H{high:.1f}M{low:.1f} {top + 3}v7M{high:.1f} {top + 3}v7" stroke="#1c2430" fill="none"/>'
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="attack", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--video", type=Path, default=VIDEO, help="the labelled clip (default: %(default)s)")
    parser.add_argument("--labels", type=Path, default=LABELS, help="its people: frame,id,x,y,w,h,… (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        found = measure(options.video, options.labels)
    except LyktaError as problem:
        sys.stderr.write(f"error: {problem}\nhint: {problem.hint}\n")
        return problem.exit_code
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "attack.json").write_text(json.dumps(found, indent=1) + "\n")
    (OUT / "attack.svg").write_text(plot(found))
    sys.stdout.write(json.dumps(found) + "\n" if options.json else report(found))
    return 0


def report(found: dict[str, Any]) -> str:
    lines = [f"chance {100 * found['chance']:.1f} %; logistic regression on the pixels alone unless the column says more"]
    for split in SPLITS:
        lines += ["", f"{split}: {TITLES[split]}", "", *table(found, split), "", noise(found, split)]
    return "\n".join([*lines, "", f"cpu {found['cpu_s']} s; wrote {OUT / 'attack.json'} and attack.svg", ""])


if __name__ == "__main__":
    sys.exit(main())

"""The page, in Swedish and English, and the text printed at the end of a demo: what was measured, and what was not."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from privacy.masking.mask_record import NOTHING, PERSON, VEHICLE, Tone
from privacy.records.basis import Basis
from privacy.records.manifest import Manifest
from privacy.records.zone import stockholm

STILL_AT = 0.6
"""Share of a clip's length at which its still is taken."""
_TRIGGERS = {
    "presence": ("någon vistades i bilden", "somebody stayed in the picture"),
    "help": ("hjälpknappen trycktes in", "the help button was pressed"),
}
_TONES = (
    (PERSON, "person eller ansikte", "person or face"),
    (VEHICLE, "fordon", "vehicle"),
    (NOTHING, "utanför det som får visas, för mörkt eller osäkert", "outside what may be shown, too dark or unsure"),
)
_FIGURES = (
    "bilder in", "bilder med maskade personer", "helt maskade bilder",
    "klipp förseglade / uppladdade / öppnade", "processortid per bild",
    "största minne", "från start till första förseglade byte", "från närvaro i bilden till meddelande, median", "hjälpknappen",
)  # fmt: skip
"""The names of `facts_of` in Swedish."""
_STYLE = """
*{box-sizing:border-box}
body{font:17px/1.55 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:1.5rem 1rem 4rem;color:#1c2430;background:#fbfaf7}
h1{margin:.2rem 0 0;font-size:2rem;line-height:1.2}h2{margin:2.4rem 0 .6rem;font-size:1.3rem}
.en{color:#56606e}[lang=en]{color:#56606e}h1+p{margin-top:.4rem}p{max-width:46rem;margin:.4rem 0}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:.8rem 2rem}
article{background:#fff;border:1px solid #e4dfd2;border-radius:8px;padding:1rem;margin:1rem 0}
figure{margin:0}img{width:100%;display:block;border-radius:4px}figcaption{font-size:.88rem;padding-top:.25rem}
table{border-collapse:collapse;width:100%;margin-top:.5rem}
td:last-child{min-width:4rem}
td{padding:.25rem .8rem .25rem 0;vertical-align:top;overflow-wrap:anywhere}
ul{padding-left:1.2rem;margin:.4rem 0}
.tone{display:inline-block;width:1.1em;height:1.1em;border-radius:3px;vertical-align:-.2em;margin-right:.5em}
pre{background:#1c2430;color:#f4e9c8;padding:.8rem;border-radius:6px;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.88rem}
code{overflow-wrap:anywhere}
"""


@dataclass(frozen=True)
class ClipShown:
    """An opened clip. proved: pictures that `verify` compared with their mask records; held: share (0..1) of the masked pixels that
    have the fill's tone."""

    manifest: Manifest
    proved: int
    held: float


def facts_of(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """The summary as pairs of name and text."""
    clips, peak = summary["clips"], summary["peak_mb"]
    return [
        ("frames in", str(summary["frames"])),
        ("with people masked", str(summary["masked"])),
        ("fully masked", str(summary["full"])),
        ("clips sealed / uploaded / opened", f"{clips['sealed']} / {clips['uploaded']} / {clips['opened']}"),
        ("CPU a frame", f"{summary['cpu_ms_per_frame']} ms"),
        ("peak memory", ", ".join(f"{name} {mb} MB" for name, mb in peak.items())),
        ("start to first sealed byte", f"{summary['first_sealed_byte_s']} s"),
        ("presence in the picture to message at the broker, median", f"{summary['presence_to_broker_median_s']} s"),
        ("help button", "; ".join(summary["help"]) or "not pressed"),
    ]


def commands(summary: dict[str, Any], clips: list[ClipShown]) -> str:
    """How to open a clip by hand."""
    store, identity = summary["store_dir"], summary["identity"]
    clip = clips[0].manifest.clip if clips else "<clip id>"
    central = Path(sys.executable).with_name("lykta-central")
    return (
        f"cd {store}/*/*/{clip}\n"
        f"age -d -i {identity} clip.age > /tmp/clip.mp4\n"
        "ffprobe -hide_banner /tmp/clip.mp4\n"
        f"{central} verify . --keys {Path(identity).parent}\n"
        f"{central} open . --keys {Path(identity).parent} -o /tmp/clip-opened.mp4"
    )


def text(summary: dict[str, Any]) -> str:
    rows = facts_of(summary)
    wide = max(len(name) for name, _ in rows)
    lines = [f"{name:{wide}}  {value}" for name, value in rows]
    lines += ["", "messages by topic"]
    lines += [f"  {number:5}  {topic}" for topic, number in summary["messages"].items()]
    lines += ["", f"page      {summary['page']}", f"clips     {summary['clips_dir']}", f"identity  {summary['identity']}"]
    return "\n".join(lines) + "\n"


def write(folder: Path, summary: dict[str, Any], clips: list[ClipShown], video: str, basis: Basis) -> None:
    """index.html in that folder; video: name of the public input file."""
    parts = [
        '<!doctype html><html lang="sv"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>Lykta: noden har körts</title><style>{_STYLE}</style>",
        *_lead(clips, video),
        *[_clip(clip, basis) for clip in clips],
        _measured(clips),
        _legend(),
        f"<h2>{_both('Körningen i siffror', 'The run in figures')}</h2>{_table(_figures(summary))}",
        f"<h2>{_both('Öppna ett klipp själv', 'Open a clip yourself')}</h2><pre>{escape(commands(summary, clips))}</pre>",
        f"<h2>{_both('Meddelanden över MQTT', 'Messages at the broker')}</h2>",
        _table([(topic, str(number)) for topic, number in summary["messages"].items()]),
        "</html>\n",
    ]
    (folder / "index.html").write_text("\n".join(parts), encoding="utf-8")


def _lead(clips: list[ClipShown], video: str) -> list[str]:
    stack = clips[0].manifest.stack if clips else ""
    swedish = (
        f"Den offentliga filmen {video} spelade kamera. Noden målade över de personer, ansikten och fordon som den hittade, "
        "innan något kodades. Den förseglade klippen och sände dem till en liten central på samma dator; bara centralens nyckel "
        f"öppnar dem. Detektorerna var {stack}. Ingenting lämnade datorn."
    )
    english = (
        f"The public video {video} played the camera. The node painted over the people, faces and vehicles that it found, before "
        "anything was encoded. It sealed the clips and sent them to a small centre on the same machine; only the centre's key "
        f"opens them. The detectors were {stack}. Nothing left this machine."
    )
    return [f"<h1>{_both('Lykta: noden har körts', 'Lykta: the node ran')}</h1>", _paragraphs(swedish, english),
            f"<h2>{_both('Före och efter', 'Before and after')}</h2>"]  # fmt: skip


def _clip(clip: ClipShown, basis: Basis) -> str:
    manifest, local = clip.manifest, stockholm()
    begin, until = manifest.begin.astimezone(local), manifest.deadline.astimezone(local)
    why = _TRIGGERS.get(manifest.trigger, (manifest.trigger, manifest.trigger))
    seconds = (manifest.end - manifest.begin).total_seconds()
    rows = [
        ("när / when", f"{begin:%Y-%m-%d %H:%M:%S}"),
        ("varför / why", f"{why[0]} / {why[1]}"),
        ("längd / length", f"{seconds:.1f} s, {manifest.frames} bilder / pictures, {manifest.width}×{manifest.height}"),
        ("sparas till / kept until", f"{until:%Y-%m-%d %H:%M} ({basis.retention_hours} h)"),
        ("beslut (exempel) / decision (example)", f"{manifest.basis}: {basis.assessment}"),
        ("detektorer / detectors", f"{manifest.stack}, {manifest.profile}"),
    ]
    name = escape(manifest.clip)
    before = _both(
        "Före: ur den offentliga filmen, vid ungefär samma ögonblick", "Before: from the public file, at about the same moment"
    )
    after = _both("Efter: ur det öppnade klippet", "After: from the opened clip")
    return (
        '<article><div class="two">'
        f'<figure><img src="stills/{name}-before.jpg" alt="The public input file"><figcaption>{before}</figcaption></figure>'
        f'<figure><a href="clips/{name}.mp4"><img src="stills/{name}.jpg" alt="The masked clip"></a>'
        f"<figcaption>{after}</figcaption></figure></div>{_table(rows)}</article>"
    )


def _measured(clips: list[ClipShown]) -> str:
    proved, held = sum(clip.proved for clip in clips), min((clip.held for clip in clips), default=0.0)
    swedish = (
        f"{proved} bilder i {len(clips)} klipp har var sin maskpost i ett undertecknat klipp. Minst {held:.0%} av de maskade "
        "bildpunkterna jämfördes med sin mask och har dess färg; resten är maskernas kanter, som kodningen blandar med det som "
        "ligger intill. Underskrifter, certifikat och kontrollsummor stämmer. Inte mätt: om någon syns vid sidan av maskerna. "
        "Detektorer missar människor, särskilt små, skymda och sittande. Titta själv på bilderna. Det finns inget facit till "
        "den här körningen, så ingen träffsäkerhet anges. Mätt på annat håll: av 19 personer som stod upp i dagsljus, var stora "
        "nog och syntes längre än mellan två blickar hade ingen sitt huvud bart (högst 15 % av sådana personer, med 95 % "
        "säkerhet); av 30 svåra fall i verkliga övervakningskameror är 9 fortfarande synliga med båda nätverken, 18 med "
        "ett (docs/MASKING.md)."
    )
    english = (
        f"{proved} pictures in {len(clips)} clips have a mask record each, in a signed clip. At least {held:.0%} of the masked "
        "pixels were held against their mask and have its tone; the others are the masks' borders, which the coder mixes with what "
        "lies beside them. Signatures, certificates and hashes hold. Not measured: whether somebody stayed visible beside the "
        "masks. Detectors miss people, small, covered and seated ones above all. Look at the pictures yourself. This run has no "
        "ground truth, so no recall is stated. Measured elsewhere: of 19 people who were upright, by daylight, tall enough and in "
        "view for longer than a look nobody's head was bare (at most 15 % of such people, 95 %); of 30 hard cases in real "
        "surveillance cameras 9 are still visible with both networks, 18 with one (docs/MASKING.md)."
    )
    title = _both("Vad som mättes, och vad som inte mättes", "What was measured, and what was not")
    return f"<h2>{title}</h2>{_paragraphs(swedish, english)}"


def _legend() -> str:
    rows = "".join(
        f'<li><span class="tone" style="background:{_colour(tone)}"></span>{_both(swedish, english)}</li>'
        for tone, swedish, english in _TONES
    )
    return f'<h2>{_both("Färgerna", "The tones")}</h2><ul style="list-style:none;padding:0">{rows}</ul>'


def _figures(summary: dict[str, Any]) -> list[tuple[str, str]]:
    return [(f"{swedish} / {name}", value) for swedish, (name, value) in zip(_FIGURES, facts_of(summary), strict=True)]


def _colour(tone: Tone) -> str:
    """For a style sheet (ITU-R BT.601, limited range)."""
    luma, blue, red = 1.164 * (tone[0] - 16), tone[1] - 128, tone[2] - 128
    rgb = (luma + 1.596 * red, luma - 0.813 * red - 0.391 * blue, luma + 2.018 * blue)
    return "#" + "".join(f"{min(255, max(0, round(value))):02x}" for value in rgb)


def _both(swedish: str, english: str) -> str:
    return f'{escape(swedish)} <span lang="en">/ {escape(english)}</span>'


def _paragraphs(swedish: str, english: str) -> str:
    return f'<div class="two"><p>{escape(swedish)}</p><p lang="en">{escape(english)}</p></div>'


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"

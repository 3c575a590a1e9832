"""The page and the text that a demo ends with."""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import Any

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1c2430;background:#fbfaf7}
h1{margin-bottom:0}p.lead{margin-top:.2rem;color:#555}
table{border-collapse:collapse}td,th{padding:.2rem .9rem .2rem 0;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.stills{display:grid;grid-template-columns:repeat(auto-fill,minmax(19rem,1fr));gap:1rem}
figure{margin:0}img{width:100%;border-radius:4px}figcaption{font-size:.85rem;color:#555;overflow-wrap:anywhere}
pre{background:#1c2430;color:#f4e9c8;padding:.8rem;border-radius:4px;overflow-x:auto}
"""


def facts_of(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """The summary as lines to read."""
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


def commands(summary: dict[str, Any], opened: list[Path]) -> str:
    """How to open a clip by hand."""
    store, identity = summary["store_dir"], summary["identity"]
    clip = opened[0].stem if opened else "<clip id>"
    central = Path(sys.executable).with_name("lykta-central")
    return (
        f"cd {store}/*/*/{clip}\n"
        f"age -d -i {identity} clip.age > /tmp/clip.mp4\n"
        "ffprobe -hide_banner /tmp/clip.mp4\n"
        f"{central} verify . --keys {Path(identity).parent}\n"
        f"{central} open . --keys {Path(identity).parent} -o /tmp/clip.mp4"
    )


def text(summary: dict[str, Any]) -> str:
    rows = facts_of(summary)
    wide = max(len(name) for name, _ in rows)
    lines = [f"{name:{wide}}  {value}" for name, value in rows]
    lines += ["", "messages by topic"]
    lines += [f"  {number:5}  {topic}" for topic, number in summary["messages"].items()]
    lines += ["", f"page      {summary['page']}", f"clips     {summary['clips_dir']}", f"identity  {summary['identity']}"]
    return "\n".join(lines) + "\n"


def write(folder: Path, summary: dict[str, Any], stills: list[Path], opened: list[Path]) -> None:
    facts = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts_of(summary))
    topics = "".join(f'<tr><td><code>{escape(t)}</code></td><td class="n">{n}</td></tr>' for t, n in summary["messages"].items())
    pictures = "".join(
        f'<figure><a href="clips/{clip.name}"><img src="stills/{picture.name}" alt="A masked frame of this clip"></a>'
        f"<figcaption>{escape(clip.name)}</figcaption></figure>"
        for picture, clip in zip(stills, opened, strict=True)
    )
    (folder / "index.html").write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Lykta: the node ran</title><style>{_STYLE}</style>"
        "<h1>Lykta: the node ran</h1>"
        '<p class="lead">Real pedestrian video in; masked, sealed clips and messages out. Every person was painted over '
        "before anything was encoded, and only the centre's key opened these clips.</p>"
        f"<h2>What happened</h2><table>{facts}</table>"
        f'<h2>Masked stills</h2><div class="stills">{pictures}</div>'
        f"<h2>Open a clip yourself</h2><pre>{escape(commands(summary, opened))}</pre>"
        "<h2>Messages at the broker</h2><table><tr><th>topic below lykta/v1/&lt;site&gt;/&lt;node&gt;/</th><th>messages</th></tr>"
        f"{topics}</table>"
        "</html>\n"
    )

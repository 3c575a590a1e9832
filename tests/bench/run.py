"""`make bench`: what masking costs beside ffmpeg's static mask and deface, what the services need, how quick the demo is.

Cost per frame is a margin, (CPU of 360 frames - CPU of 60) / 300, so that start-up does not count; all in one run on one
machine, one thread each: trust the ratios. Writes out/bench/bench.json and out/bench/bench.svg.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from agent.commands.mask.run import mask_file
from agent.demo.run import Demo
from privacy.masking.detection import Detection
from privacy.masking.frames import Frame
from privacy.masking.networks.detectors import open_stack
from privacy.masking.networks.models import installed
from tests.support.nodes import BIN, MODELS, PROJECT, VIDEO, Node, until

OUT = PROJECT / "out/bench"
SHORT, LONG = 60, 360
DEFACE = PROJECT / "out/bench-venv/bin/deface"
# A fixed quarter of the picture in 16-pixel blocks: what cameras call a privacy zone, coded as Lykta codes.
STATIC = "[0:v]split[a][b];[b]crop=iw/2:ih/2:iw/4:ih/4,scale=iw/16:-2,scale=iw*16:-2:flags=neighbor[c];[a][c]overlay=W/4:H/4"
AIMS = {"mask_to_ffmpeg": 1.45, "deface_to_mask": 20.0, "fifty_people_to_one": 1.15, "camera_mb": 230.0, "mask_mb": 230.0,
        "io_mb": 60.0, "uplink_mb": 60.0, "first_sealed_byte_s": 8.0, "presence_to_broker_s": 2.0}  # fmt: skip
AT_LEAST = {"deface_to_mask"}


def say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def cpu_of(words: list[str]) -> float:
    """User and system seconds of a command and its children."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"bench: error: {words[0]}: {errors.decode()[-500:]}")
    usage = os.times()
    return usage.children_user + usage.children_system


def margin(command: Any) -> float:
    """Milliseconds of CPU a frame."""
    spent = []
    for frames in (SHORT, LONG):
        before = sum(os.times()[2:4])
        spent.append(cpu_of(command(OUT / f"in-{frames}.mp4", OUT / "out.mp4")) - before)
    return (spent[1] - spent[0]) / (LONG - SHORT) * 1000


def make_inputs() -> None:
    for frames in (SHORT, LONG):
        words = ["ffmpeg", "-v", "error", "-y", "-i", str(VIDEO), "-vf", "scale=1280:720", "-frames:v", str(frames)]
        subprocess.run([*words, "-c:v", "libx264", "-crf", "18", "-preset", "fast", str(OUT / f"in-{frames}.mp4")], check=True)


def ffmpeg(source: Path, target: Path) -> list[str]:
    code = ["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-an"]
    return ["ffmpeg", "-v", "error", "-y", "-threads", "1", "-filter_complex_threads", "1", "-i", str(source),
            "-filter_complex", STATIC, *code, str(target)]  # fmt: skip


def mask(source: Path, target: Path) -> list[str]:
    return [str(BIN / "lykta"), "mask", str(source), str(target), "--force", "--threads", "1", "--models", str(MODELS)]


def deface(source: Path, target: Path) -> list[str]:
    return ["taskset", "-c", "0", str(DEFACE), str(source), "-o", str(target)]


def costs() -> dict[str, float]:
    found = {}
    for name, command in (("ffmpeg static mask", ffmpeg), ("lykta mask", mask), ("deface 1.5.0", deface)):
        say(f"{name} …")
        found[name] = round(margin(command), 2)
    return found


class Crowd:
    """The real stack's work, and then an answer of so many people: what tracking, painting and coding them costs."""

    def __init__(self, people: int) -> None:
        self._stack = open_stack(installed(MODELS), MODELS)
        self.name, self.models, self._people = "crowd", self._stack.models, people
        self.parts = self._stack.parts

    def detect(self, frame: Frame) -> tuple[Detection, ...]:
        self._stack.detect(frame)
        step = frame.index * 3 % 40
        places = [(step + 24.0 * n, 100.0 + n % 5 * 110) for n in range(self._people)]
        return tuple(Detection("person", x, y, x + 20, y + 50, 0.9) for x, y in places)


def crowd(people: int) -> float:
    """Milliseconds of CPU a frame with so many people in the picture, in this process."""
    spent = []
    for frames in (SHORT, LONG):
        detector, begin = Crowd(people), time.process_time()
        mask_file(OUT / f"in-{frames}.mp4", OUT / "out.mp4", detector=detector)
        spent.append(time.process_time() - begin)
    return (spent[1] - spent[0]) / (LONG - SHORT) * 1000


def fifty_to_one() -> float:
    say("fifty people beside one …")
    return min(crowd(50) for _ in range(2)) / min(crowd(1) for _ in range(2))


def mask_mb() -> float:
    """Peak resident MB of `lykta mask` at 1280x720."""
    before = [str(BIN / "python"), "-c", _PEAK, *mask(OUT / f"in-{LONG}.mp4", OUT / "out.mp4")]
    return float(subprocess.run(before, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout.split()[-1])


_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1))
"""


def memory() -> dict[str, float]:
    """Peak resident MB of the services, the camera at 1280x720 and 15 fps, a clip sealed."""
    say("memory of the services …")
    shutil.rmtree(OUT / "node", ignore_errors=True)
    demo = Demo(OUT / "node", OUT / f"in-{LONG}.mp4", MODELS)
    demo.prepare()
    node = Node(demo.node, demo.centre)
    node.settings(camera__fps="15")
    services = {name: node.start(name) for name in ("io", "uplink", "camera")}
    try:
        until(lambda: node.state("camera")[0] == "ready", "ready")
        time.sleep(12)
        node.trigger()
        until(node.clips, "a clip", 60)
        return {name: peak_mb(process.pid) for name, process in services.items()}
    finally:
        for process in services.values():
            process.terminate()
            process.wait(10)


def peak_mb(pid: int) -> float:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return round(int(status["VmHWM"].split()[0]) / 1024, 1)


def demo_figures() -> dict[str, Any]:
    say("demo …")
    words = [str(BIN / "lykta"), "demo", "--seconds", "40", "--dir", str(OUT / "demo"), "--json"]
    return dict(json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout))


def main() -> int:
    OUT.mkdir(parents=True, exist_ok=True)
    make_inputs()
    cost, peak, demo = costs(), memory(), demo_figures()
    figures = {
        "mask_to_ffmpeg": round(cost["lykta mask"] / cost["ffmpeg static mask"], 2),
        "deface_to_mask": round(cost["deface 1.5.0"] / cost["lykta mask"], 1),
        "fifty_people_to_one": round(fifty_to_one(), 2),
        "mask_mb": mask_mb(), "camera_mb": peak["camera"], "io_mb": peak["io"], "uplink_mb": peak["uplink"],
        "first_sealed_byte_s": demo["first_sealed_byte_s"],
        "presence_to_broker_s": demo["presence_to_broker_median_s"],
    }  # fmt: skip
    machine = f"{psutil.cpu_count()} cores, {os.uname().machine}"
    report = {"schema": "lykta.bench/1", "machine": machine, "cpu_ms_per_frame": cost, "figures": figures, "aims": AIMS}
    (OUT / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
    (OUT / "bench.svg").write_text(plot(cost))
    sys.stdout.write(table(cost, figures))
    return 0


def table(cost: dict[str, float], figures: dict[str, float]) -> str:
    lines = ["CPU ms a frame, 1280x720, one thread"]
    lines += [f"  {name:22} {value:8.2f}" for name, value in cost.items()]
    lines += ["", f"{'figure':24}{'here':>9}{'aim':>12}"]
    for name, value in figures.items():
        sign = "≥" if name in AT_LEAST else "≤"
        good = value >= AIMS[name] if name in AT_LEAST else value <= AIMS[name]
        lines.append(f"{name:24}{value:9}{sign + str(AIMS[name]):>12}  {'met' if good else 'MISSED'}")
    return "\n".join(lines) + "\n"


def plot(cost: dict[str, float]) -> str:
    """Bars on a logarithmic scale of milliseconds."""
    from math import log10

    bars = []
    for row, (name, value) in enumerate(cost.items()):
        y, length = 40 + row * 34, 120 * log10(max(value, 1.0))
        bars.append(
            f'<text x="8" y="{y + 16}">{name}</text><rect x="170" y="{y}" width="{length:.0f}" height="22" fill="#d8a520"/>'
        )
        bars.append(f'<text x="{176 + length:.0f}" y="{y + 16}">{value:.1f} ms</text>')
    head = '<text x="8" y="22" font-weight="bold">CPU a frame at 1280x720, one thread (logarithmic)</text>'
    style = 'font-family="sans-serif" font-size="14" fill="#1c2430"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="620" height="150" {style}>{head}{"".join(bars)}</svg>\n'


if __name__ == "__main__":
    sys.exit(main())

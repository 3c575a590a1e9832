"""`lykta demo`: the whole node and a small centre on this machine, as real processes on 127.0.0.1.

Real parts only: keys and records by `lykta-central`, mosquitto as broker, mosquitto_sub as the operator's client, the three
services, the centre's ingest, and clips opened with the centre's key. Nothing here is reachable from outside.
"""

from __future__ import annotations

import json
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from agent import messages
from agent.demo import page
from agent.demo.input_picture import before
from agent.demo.page import STILL_AT, ClipShown
from agent.demo.processes import Process, peak_mb
from agent.demo.site import NODE, SITE, Site
from agent.messages import Presence
from agent.runtime.ask_status import camera_status, io_status
from agent.runtime.control import ask
from agent.runtime.requests import Press
from agent.terminal import progress
from drivers import stderr
from drivers.media.video import still
from privacy.errors import LyktaError, MediaError, UnreachableError
from privacy.foreign import decode
from privacy.records.jws import peek
from privacy.records.manifest import MANIFEST, MANIFEST_FILE, Manifest
from provisioning.layout import CODE

_UPLOAD_S = 30.0


@dataclass
class Findings:
    """What the demo observed."""

    frames: int = 0
    masked: int = 0
    full: int = 0
    cpu_s: float = 0.0
    peak_mb: dict[str, float] = field(default_factory=dict)
    first_sealed_s: float | None = None
    presence_s: list[float] = field(default_factory=list)
    topics: Counter[str] = field(default_factory=Counter)
    sealed: int = 0
    uploaded: int = 0
    clips: list[ClipShown] = field(default_factory=list)
    help: list[str] = field(default_factory=list)


class Demo(Site):
    """One run in one folder."""

    def __init__(self, folder: Path, video: Path, models: Path) -> None:
        super().__init__(folder, video, models)
        self.found = Findings()
        self._to_do: list[tuple[float, Callable[[], None]]] = []

    def run(self, seconds: int) -> dict[str, Any]:
        self.prepare()
        with ExitStack() as stack:
            self.start_centre(stack)
            services = {name: self.start_service(stack, name) for name in ("io", "uplink", "camera")}
            self._live(seconds, services)
            self._stop_camera(services["camera"])
            self._await_uploads()
            self._measure(services)
        self._open_clips()
        self._read_messages()
        return self._summary()

    def _live(self, seconds: int, services: dict[str, Process]) -> None:
        begin = psutil.Process(services["camera"].pid).create_time()
        self._to_do = [(seconds * 0.4, self._press), (seconds * 0.4 + 3, self._take)]
        with progress("running", seconds, every=10) as advance:
            done, start = 0, time.monotonic()
            while (elapsed := time.monotonic() - start) < seconds:
                self._check_alive(services)
                self._look_for_first_seal(begin)
                self._help(elapsed)
                self._follow(services)
                while done < int(elapsed):
                    done += 1
                    advance()
                time.sleep(0.05)

    def _check_alive(self, services: dict[str, Process]) -> None:
        for name, process in services.items():
            if process.poll() is not None:
                last = (self.logs / f"{name}.log").read_text(errors="replace").strip().splitlines()[-3:]
                raise MediaError(f"demo: lykta {name} ended with {process.returncode}: {' / '.join(last)}", f"see {self.logs}")

    def _look_for_first_seal(self, begin: float) -> None:
        if self.found.first_sealed_s is None and any(path.stat().st_size for path in self.layout.spool.glob("*/clip.age")):
            self.found.first_sealed_s = round(time.time() - begin, 2)

    def _help(self, elapsed: float) -> None:
        """Somebody presses the help button; three seconds later an operator takes the call."""
        while self._to_do and elapsed > self._to_do[0][0]:
            self._to_do.pop(0)[1]()

    def _press(self) -> None:
        ask(self.layout.socket("io", "ctl"), Press())
        time.sleep(0.5)
        self._lamp("pressed")

    def _take(self) -> None:
        self._central("send", str(self.centre), f"{SITE}/{NODE}", "ack", "--broker", f"127.0.0.1:{self.ports.operators}")
        time.sleep(0.5)
        self._lamp("taken by the operator")

    def _lamp(self, what: str) -> None:
        detail = io_status(self.layout).detail
        self.found.help.append(f"{what}: lamp {detail.lamp}")

    def _follow(self, services: dict[str, Process]) -> None:
        try:
            detail = camera_status(self.layout).detail
        except UnreachableError:
            return
        self.found.frames, self.found.masked, self.found.full = detail.frames, detail.masked, detail.full
        usage = psutil.Process(services["camera"].pid).cpu_times()
        self.found.cpu_s = usage.user + usage.system

    # -- after -------------------------------------------------------------------------------------------------------

    def _stop_camera(self, camera: Process) -> None:
        self.found.peak_mb["camera"] = peak_mb(camera)
        camera.send_signal(signal.SIGTERM)
        camera.wait(10)

    def _await_uploads(self) -> None:
        """Wait until the centre has a receipt for each clip; the camera would delete the last ones at its next start."""
        stderr.note("waiting for the uploads")
        end = time.monotonic() + _UPLOAD_S
        while time.monotonic() < end and self._stored() < self._sealed():
            time.sleep(0.2)
        self.found.sealed, self.found.uploaded = self._sealed(), self._stored()

    def _sealed(self) -> int:
        waiting = {path.parent.name for path in self.layout.spool.glob("*/manifest.jws")}
        return len(waiting | {path.parent.name for path in self.store.glob("*/*/*/receipt.jws")})

    def _stored(self) -> int:
        return len(list(self.store.glob("*/*/*/receipt.jws")))

    def _measure(self, services: dict[str, Process]) -> None:
        time.sleep(1.0)
        for name in ("io", "uplink"):
            self.found.peak_mb[name] = peak_mb(services[name])

    def _open_clips(self) -> None:
        stderr.note("opening and proving the clips")
        for receipt in sorted(self.store.glob("*/*/*/receipt.jws")):
            folder, name = receipt.parent, receipt.parent.name
            target = self.clips / f"{name}.mp4"
            self._central("open", str(folder), "--keys", str(self.centre), "-o", str(target))
            printed = self._central("verify", str(folder), "--keys", str(self.centre), "--json").encode()
            said = decode(printed, dict[str, Any], "verify", most=1 << 20)
            (self.folder / f"stills/{name}.jpg").write_bytes(still(target, STILL_AT))
            (self.folder / f"stills/{name}-before.jpg").write_bytes(before(self.video, target, STILL_AT))
            manifest = peek((folder / MANIFEST_FILE).read_bytes(), MANIFEST, Manifest)
            self.found.clips.append(ClipShown(manifest, said["proof"]["frames"], said["proof"]["checked"]))

    def _read_messages(self) -> None:
        for line in (self.logs / "messages.log").read_text(errors="replace").splitlines():
            heard, _, topic, payload = line.split("\t", 3)
            tail = topic.split("/", 4)[-1]
            self.found.topics[tail if not tail.startswith("clip/") else "clip/<id>"] += 1
            if tail == "event/presence" and payload and isinstance(body := messages.decode(payload.encode()).body, Presence):
                self.found.presence_s.append(float(heard) - body.seen.timestamp())

    def _summary(self) -> dict[str, Any]:
        found = self.found
        median = round(statistics.median(found.presence_s), 2) if found.presence_s else None
        return {
            "schema": "lykta.demo/1",
            "frames": found.frames,
            "masked": found.masked,
            "full": found.full,
            "clips": {"sealed": found.sealed, "uploaded": found.uploaded, "opened": len(found.clips)},
            "messages": dict(sorted(found.topics.items())),
            "clips_dir": str(self.clips),
            "store_dir": str(self.store),
            "identity": str(self.centre / "identity.txt"),
            "page": str(self.folder / "index.html"),
            "cpu_ms_per_frame": round(found.cpu_s / found.frames * 1000, 1) if found.frames else None,
            "peak_mb": found.peak_mb,
            "first_sealed_byte_s": found.first_sealed_s,
            "presence_to_broker_median_s": median,
            "help": found.help,
        }


def run(seconds: int, folder: Path, video: Path | None, as_json: bool) -> int:
    """The command; exit code 0 if every sealed clip was uploaded and opened, and people were masked."""
    project = CODE
    demo = Demo(folder, video or project / "out/demo-video/vtest.avi", project / "out/models")
    stderr.note(f"running the node and a small centre for {seconds} s in {demo.folder}; everything stays on 127.0.0.1")
    summary = demo.run(seconds)
    page.write(demo.folder, summary, demo.found.clips, demo.video.name, demo.basis())
    sys.stdout.write(json.dumps(summary) + "\n" if as_json else page.text(summary))
    clips = summary["clips"]
    if clips["sealed"] == 0 or clips["sealed"] != clips["opened"] or not summary["masked"]:
        raise LyktaError(f"demo: {clips['sealed']} clips sealed, {clips['opened']} opened", f"see the logs in {demo.logs}")
    return 0

"""What a booted node costs: io at rest, a press on its way, and the camera through picamera2 beside the file that plays camera.

    make bench-boot      (root; a container is booted twice, about two minutes)

Both cameras show the same moving bars of 1280x720, 15 times a second: the file is what the virtual camera filmed, as raw I420,
which costs next to no decoding. libcamera's virtual pipeline draws its picture for each frame in a thread of its own, which no
sensor needs: it is shown apart.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.container.rig import LAB, Container, Installed, booted
from tests.container.virtual_camera import HEAP, configure, virtual
from tests.support.nodes import until

FPS = 15
SPAN_S = 30.0
TICKS = 100
PRESSES = 5


def stats(container: Container, service: str) -> dict[str, tuple[str, int]]:
    """Name and clock ticks of each thread of a service."""
    script = f"cd /proc/{container.pid(service)}/task && for t in *; do cat $t/stat; done"
    found = {}
    for line in container.must("sh", "-c", script).splitlines():
        (thread, _, rest), fields = line.partition(" ("), line.rpartition(") ")[2].split()
        found[thread] = (rest.rpartition(") ")[0], int(fields[11]) + int(fields[12]))
    return found


def spent(before: dict[str, tuple[str, int]], after: dict[str, tuple[str, int]]) -> dict[str, float]:
    """CPU milliseconds by thread."""
    ticks = {thread: now - before.get(thread, ("", 0))[1] for thread, (_, now) in after.items()}
    return {f"{after[thread][0]} {thread}": 1000 * count / TICKS for thread, count in ticks.items() if count}


def frames(container: Container) -> int:
    return int(container.status("camera")["detail"]["frames"])


def camera(container: Container) -> tuple[float, dict[str, float], int]:
    """CPU milliseconds a frame, by thread as well, and the frames that were counted."""
    until(lambda: container.state("camera")[0] == "ready", "it films", 60)
    time.sleep(8)
    first, before = frames(container), stats(container, "camera")
    time.sleep(SPAN_S)
    count, threads = frames(container) - first, spent(before, stats(container, "camera"))
    return sum(threads.values()) / count, {name: ms / count for name, ms in threads.items()}, count


def rest(container: Container) -> dict[str, float]:
    """io while nobody needs it."""
    status = container.must("cat", f"/proc/{container.pid('io')}/smaps_rollup").splitlines()
    memory = {line.split(":")[0]: int(line.split()[1]) / 1000 for line in status[1:]}
    before = stats(container, "io")
    time.sleep(SPAN_S)
    share = sum(spent(before, stats(container, "io")).values()) / 1000 / SPAN_S
    private = memory["Private_Clean"] + memory["Private_Dirty"]
    return {"rss_mb": memory["Rss"], "pss_mb": memory["Pss"], "private_mb": private, "cpu_share_of_a_core": share}


def presses(container: Container) -> list[float]:
    """Milliseconds from the contact to the operator's ear, each an unanswered call apart from the next."""
    took = []
    for _ in range(PRESSES):
        count = len(container.heard("event/help"))
        begin = time.monotonic()
        container.press()
        until(lambda count=count: len(container.heard("event/help")) > count, "the centre hears it")  # type: ignore[misc]
        took.append((time.monotonic() - begin) * 1000)
        container.must("systemctl", "restart", "lykta-io")
        until(lambda: container.state("io")[0] == "ready", "io is there")
    return took


def film(container: Container) -> None:
    """What the virtual camera shows in six seconds, into a file of the node."""
    container.must("systemctl", "stop", "lykta-camera")
    words = ["env", f"LD_PRELOAD={HEAP}", f"LYKTA_TEST_FPS={FPS}", "/opt/lykta/bin/python", "-c", _FILM, f"/{LAB}/bars.yuv"]
    container.must(*words, limit=120)


_FILM = f"""
import sys
from drivers.camera.pi_camera import PiCamera

camera = PiCamera(1280, 720, {FPS})
camera.open()
with open(sys.argv[1], "wb") as file:
    for _ in range(6 * {FPS}):
        frame = camera.capture()
        file.write(b"".join(plane.tobytes() for plane in frame.planes))
        frame.release()
camera.close()
"""


def bars(container: Container, film: Path) -> None:
    """The file plays camera."""
    target = container.file(f"/{LAB}/bars.avi")
    source = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "1280x720", "-r", str(FPS), "-i", str(film)]
    subprocess.run(["ffmpeg", "-v", "error", *source, "-c:v", "rawvideo", str(target)], check=True)
    configure(container, file=f'"/{LAB}/bars.avi"', width="1280", height="720", fps=str(FPS))


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="lykta-bench-") as name:
        folder = Path(name)
        installed = Installed(folder / "installed")
        with booted(installed, folder / "virtual", virtual) as container:
            per_virtual, virtual_threads, count = camera(container)
            film(container)
            shown = shutil.move(container.file(f"/{LAB}/bars.yuv"), folder)
        with booted(installed, folder / "file", lambda container: bars(container, Path(shown))) as container:
            per_file, file_threads, played = camera(container)
            facts: dict[str, object] = {"io": rest(container), "press_to_broker_ms": presses(container)}
    drawn = sum(ms for name, ms in virtual_threads.items() if name.startswith("draws-pictures"))
    facts |= {"file_ms": per_file, "virtual_ms": per_virtual, "of_it_drawing_ms": drawn}
    facts |= {"file_frames": played, "virtual_frames": count}
    facts |= {"ratio_without_drawing": (per_virtual - drawn) / per_file}
    facts |= {"file_threads_ms": file_threads, "virtual_threads_ms": virtual_threads}
    sys.stdout.write(json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

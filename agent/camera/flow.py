"""Runs the threads of one open camera, and ends them in order."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from agent.camera.pipeline import Pipeline
from agent.runtime.service import Runtime
from drivers.camera.port import Camera
from drivers.threads import Thread
from privacy.errors import MediaError

Record = Callable[[Callable[[], bool]], None]


def flow(runtime: Runtime, camera: Camera, pipeline: Pipeline, watch: Callable[[], None], record: Record | None = None) -> None:
    """Until `watch` returns; then the camera is closed. `MediaError` if a thread does not end.

    record  the body of the recorder's thread; it ends when its argument returns true: after the capture thread
    """
    done = Event()

    def over() -> bool:
        runtime.beat()
        return done.is_set()

    capture = runtime.spawn("capture", lambda: pipeline.capture(over))
    detect = runtime.spawn("detect", lambda: pipeline.detect(over))
    ending = [capture]
    if record:
        ending.append(runtime.spawn("recorder", lambda: record(lambda: over() and not capture.is_alive())))
    watch()
    done.set()
    # The detector may hang: harmless at the end of the service, an error at the end of the hours.
    _join(runtime, *ending, *(() if runtime.stop.is_set() else (detect,)))
    _join(runtime, runtime.spawn("close", camera.close))


def _join(runtime: Runtime, *threads: Thread) -> None:
    for name in runtime.late(*threads):
        raise MediaError(f"{name}: does not end", "the camera or the disk hangs; the service starts again")

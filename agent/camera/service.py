"""`lykta camera`: the composition root of the service that sees raw frames. No network.

The order is the promise: records first, then the model, then the hours, and only then the camera's `open`. A visit alone opens it
at another hour: for who stands before it, masked, with neither recorder nor encoder (R35).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

from agent.camera.mask_check import Proving
from agent.camera.pipeline import Coding, Listeners, Pipeline
from agent.camera.presence import PresenceWatch, rises
from agent.camera.recorder import Recorder, Stream, Taken, Trigger, moment, new_clip_id
from agent.camera.view_check import CAMERA_FROZEN, Watching
from agent.camera.visit import Visit, Visits
from agent.clips.custody import Custody
from agent.inbox.journal_heads import HeardHeads
from agent.outbox.backlog import Work
from agent.runtime.notices import Mouth, Word, hear
from agent.runtime.service import Runtime, run_service
from drivers.camera.file_camera import FileCamera
from drivers.camera.pi_camera import PiCamera
from drivers.camera.port import Camera
from drivers.disk import refusal
from drivers.media.encoder import H264Encoder
from privacy.errors import MediaError, RecordError
from privacy.masking.audit import LONG_SIDE
from privacy.masking.delay import Seen
from privacy.masking.detection import Detector
from privacy.masking.frames import MaskedFrame
from privacy.masking.masker import Masker
from privacy.masking.networks.detectors import open_stack
from privacy.records.basis import ZONE_UNKNOWN, Permit, Ruling, deadline, rule
from privacy.records.journal import HEADS, Fact
from privacy.records.manifest import Manifest
from privacy.records.seal import Recipient
from provisioning.identity import load_permit, recipients
from provisioning.layout import Layout

REST_S = 10.0
KEEPER_STALLED_S = 60.0
"""A sweep deletes at most twenty clips before the next beat."""
LIGHT_AGAIN_MS = 20_000
# Bound of the error of our clock that a manifest states, milliseconds.
TIME_ERROR_MS = {"synced": 1_000, "holdover": 60_000, "unknown": 86_400_000}
_BLIND_S = 5.0
# Whole masks that were asked for.
_WANTED = ("profile",)
_SAVE_S = 600.0

# With the long side of the picture it looks at; 0 is the stack's own.
OpenDetector = Callable[[Runtime, int], Detector]


def serve(layout: Layout) -> int:
    return run_service("camera", layout, body)


def installed_detector(runtime: Runtime, long_side: int) -> Detector:
    """The stack that the configuration names, from the node's model folder."""
    mask = runtime.config.mask
    return open_stack(mask.stack, runtime.layout.models, mask.threads, long_side)


def body(runtime: Runtime, open_detector: OpenDetector = installed_detector) -> None:
    """The service: everything that can be refused is refused before the camera is opened."""
    config = runtime.config
    runtime.enter("starting", "records")
    permit = load_permit(runtime.layout, config.node.site, config.node.id, config.mask.profile, config.mask.stack)
    service = CameraService(runtime, permit, open_detector(runtime, 0), lambda: open_detector(runtime, LONG_SIDE))
    service.run()


class CameraService:
    """Films while the ruling says so, rests otherwise."""

    def __init__(self, runtime: Runtime, permit: Permit, detector: Detector, open_auditor: Callable[[], Detector]) -> None:
        layout = runtime.layout
        self._runtime, self._permit, self._detector = runtime, permit, detector
        self._recipients = tuple(Recipient.parse(line) for line in recipients(layout))
        retention = timedelta(hours=permit.basis.retention_hours)
        self._custody = Custody.take(layout, runtime.config, runtime.clock, "camera", retention, self._revoked)
        self._spool, self._keeper = self._custody.spool, self._custody.keeper
        self._proving = Proving(runtime, self._keeper, detector, open_auditor, self._defer)
        self._watching = Watching(self._keeper, layout.camera, permit.view.id, self._defer, runtime.config.camera.noiseless)
        self._presence, self._io = PresenceWatch(), Mouth(layout.presence)
        self._night: bool | None = None
        self._light_told_ms = 0
        self._recorder: Recorder | None = None
        self._visits = Visits(runtime, permit, self._keeper, self._defer)
        self._news: Queue[Work] = Queue(64)
        self._complained = False
        self._blind_since = runtime.clock.mono_ms() / 1000

    def run(self) -> None:
        runtime = self._runtime
        # Before the lens opens, the mask proves itself.
        self._proving.test()
        self._keeper.recover()
        basis, view = self._permit.basis, self._permit.view
        self._keeper.note(
            "service_on", basis=basis.id, view=view.id, assessment=basis.assessment, profile=runtime.config.mask.profile
        )
        runtime.answer("receipt", self._receipt, on="uplink")
        runtime.answer("order", self._order, on="uplink")
        runtime.answer("heads", HeardHeads("camera", self._note_heads, runtime.clock.mono_ms).take, on="uplink")
        runtime.answer("view", self._watching.show, on="ctl")
        runtime.answer("view_confirm", self._watching.confirm, on="ctl")
        self._visits.listen()
        runtime.spawn("triggers", self._hear_triggers)
        runtime.spawn("keeper", self._keep)
        runtime.spawn("audit", self._proving.run)
        while not runtime.stop.is_set():
            visit, ruling = self._visits.now, self._rule()
            if visit:
                self._receive(visit)
            elif ruling.open:
                self._film()
            elif ruling.reason == ZONE_UNKNOWN:
                runtime.enter("blind", ruling.reason, owner="technician")
                self._rest()
            else:
                self._enter_off(ruling)
                self._rest()

    def _enter_off(self, ruling: Ruling) -> None:
        """Lawful rest; unless what deletes at the deadlines has stopped: that is never rest."""
        stalled = self._runtime.stalled()
        if stalled:
            self._runtime.enter("degraded", stalled, owner="technician")
        else:
            self._runtime.enter("off", ruling.reason, until=ruling.until)

    def _rest(self) -> None:
        """A decision was made that nothing can be filmed now: that is finished work, until the next one, or a visit."""
        self._runtime.ready()
        self._runtime.fed()
        visit, end = self._visits.now, time.monotonic() + REST_S
        while time.monotonic() < end and self._visits.now is visit and not self._runtime.stop.wait(0.5):
            pass

    def _rule(self) -> Ruling:
        clock = self._runtime.clock
        return rule(self._permit.basis, clock.now(), clock.trusted())

    def _open(self) -> Camera | None:
        """The camera, open; blind, with the reason, if it does not."""
        runtime = self._runtime
        try:
            return open_camera(runtime)
        except MediaError as problem:
            if runtime.standing.reason != problem.code:
                runtime.log("error", str(problem), hint=problem.hint)
            runtime.enter("blind", problem.code, owner="technician")
            self._rest()
            return None

    def _film(self) -> None:
        """One open camera, until the service stops or the law says so."""
        runtime = self._runtime
        camera = self._open()
        if not camera:
            return
        self._keeper.note("capture_on", basis=self._permit.basis.id, view=self._permit.view.id)
        masker = Masker(camera.width, camera.height, self._permit.view, runtime.config.mask.profile)
        encoder = H264Encoder(camera.width, camera.height, runtime.config.camera.fps, bitrate=runtime.config.camera.bitrate)
        if encoder.refusal:
            runtime.log("warning", f"encoder: {encoder.refusal}; {encoder.name} does it, at several times the cost")
        runtime.report(encoder=encoder.name, camera_model=camera.model)
        self._recorder = recorder = self._new_recorder(camera, masker)
        listeners = self._listeners(camera, self._saw, Coding(encoder, recorder.take).encode)
        pipeline = Pipeline(camera, self._detector, masker, listeners)
        runtime.enter("starting", "first_frames")
        self._blind_since = runtime.clock.mono_ms() / 1000
        self._flow(camera, pipeline, lambda: self._watch(pipeline, recorder, camera), recorder.run)
        self._recorder = None
        self._keeper.note("capture_off", frames=pipeline.tally.frames)

    def _flow(
        self, camera: Camera, pipeline: Pipeline, watch: Work, record: Callable[[Callable[[], bool]], None] | None = None
    ) -> None:
        """Let pictures flow until `watch` returns, then end the threads in order and close the camera."""
        runtime, done = self._runtime, threading.Event()
        capture = runtime.spawn("capture", lambda: pipeline.capture(done.is_set))
        detect = runtime.spawn("detect", lambda: pipeline.detect(done.is_set))
        ending = [capture]
        if record:
            ending.append(runtime.spawn("recorder", lambda: record(lambda: done.is_set() and not capture.is_alive())))
        watch()
        done.set()
        # The detector may hang; at the end of the service that is nobody's problem, at the end of the hours it is.
        self._join((*ending,) if runtime.stop.is_set() else (*ending, detect))
        self._join((runtime.spawn("close", camera.close),))

    def _listeners(self, camera: Camera, told: Callable[[Seen, int], None], leaves: Callable[[MaskedFrame], None]) -> Listeners:
        size = (camera.width, camera.height)

        def saw(seen: Seen, wall_ns: int) -> str:
            told(seen, wall_ns)
            return self._watching.seen(seen, size, wall_ns)

        def painted(picture: MaskedFrame, masker: Masker) -> None:
            self._watching.painted(picture, masker)
            self._proving.painted(picture, masker)

        return Listeners(saw, painted, leaves, self._proving.looked)

    def _receive(self, visit: Visit) -> None:
        """A visit, until its hour is over, it is ended, or the service stops. Nothing is recorded, nobody's presence told."""
        ruling = self._visits.rule(visit)
        camera = self._open() if ruling.open else None
        if camera:
            self._visits.show()
            masker = Masker(camera.width, camera.height, self._permit.view, self._visits.profile)
            pipeline = Pipeline(camera, self._detector, masker, self._listeners(camera, self._unseen, self._showing(visit)))
            self._runtime.enter("setup", "visit", until=ruling.until, owner="technician")
            self._flow(camera, pipeline, lambda: self._stay(visit, camera))
        self._visits.close(visit)

    def _stay(self, visit: Visit, camera: Camera) -> None:
        while not self._runtime.stop.wait(0.5) and not self._visits.why_over(visit):
            self._tell_light(camera.night)

    def _unseen(self, seen: Seen, _wall_ns: int) -> None:
        if seen.cause:
            self._complain(seen)

    def _showing(self, visit: Visit) -> Callable[[MaskedFrame], None]:
        def show(picture: MaskedFrame) -> None:
            visit.leaves(picture)
            self._runtime.ready()
            self._runtime.fed()

        return show

    def _join(self, threads: tuple[threading.Thread, ...]) -> None:
        for name in self._runtime.late(*threads):
            raise MediaError(f"{name}: does not end", "the camera or the disk hangs; the service starts again")

    def _watch(self, pipeline: Pipeline, recorder: Recorder, camera: Camera) -> None:
        runtime = self._runtime
        while not runtime.stop.wait(0.5) and self._rule().open and not self._visits.now:
            tally = pipeline.tally
            runtime.report(
                frames=tally.frames,
                masked=tally.masked,
                full=tally.full.total(),
                **{f"full_{cause}": number for cause, number in list(tally.full.items())},
                looks=pipeline.looks,
                look_ms=round(pipeline.look_ms / pipeline.looks, 1) if pipeline.looks else None,
                pictures_lost=camera.lost,
                pictures_broken=camera.broken,
                queue_dropped=recorder.dropped,
                clips_refused=recorder.refused,
                clips=self._spool.count(),
                clips_dropped=self._keeper.dropped,
                events_lost=self._keeper.later.lost,
                view=self._watching.standing.kind or "as_known",
                learned_tiles=pipeline.learned,
                **self._proving.facts,
            )
            self._judge(recorder, tally.cause)
            self._tell_light(camera.night)

    def _tell_light(self, night: bool | None) -> None:
        """To io, which lights the infrared lamp: at each change, and again before it takes silence for daylight."""
        now_ms = self._runtime.clock.mono_ms()
        if night is not None and (night != self._night or now_ms - self._light_told_ms >= LIGHT_AGAIN_MS):
            self._night, self._light_told_ms = night, now_ms
            self._io.say("dark" if night else "bright", "", now_ms)

    def _judge(self, recorder: Recorder, cause: str) -> None:
        """State from what leaves: frames that are all masked, because nothing is known of them, are a blind node."""
        runtime = self._runtime
        ruling, now_s = self._rule(), runtime.clock.mono_ms() / 1000
        if not cause or cause in _WANTED:
            self._blind_since = now_s
        if cause == CAMERA_FROZEN:
            runtime.enter("blind", cause, owner="technician")
        elif now_s - self._blind_since > _BLIND_S:
            reason = "too_dark" if cause == "dark" else cause if cause.startswith("view_") else "detector_down"
            runtime.enter("degraded" if cause == "dark" else "blind", reason, owner="technician")
        elif stalled := runtime.stalled():
            runtime.enter("degraded", stalled, owner="technician")
        elif self._keeper.later.trouble:
            runtime.enter("degraded", refusal(self._spool.folder, "disk_refuses_events"), owner="ops")
        elif recorder.refused_now:
            runtime.enter("degraded", refusal(self._spool.folder, "disk_refuses_clips"), owner="ops")
        elif runtime.standing.state != "starting":
            runtime.enter("ready", "filming", until=ruling.until)

    def _new_recorder(self, camera: Camera, masker: Masker) -> Recorder:
        fps = self._runtime.config.camera.fps
        stream = Stream(camera.width, camera.height, fps, self._recipients, masker.header)
        opening = Opening(self._runtime, self._permit, stream, self._detector, masker.zones_sha256)
        return Recorder(self._spool, self._runtime.config.record, stream, opening.manifest, self._keeper, self._frame_done)

    def _frame_done(self) -> None:
        """A frame was captured, masked, coded and taken by the ring: only that is finished work."""
        if self._runtime.standing.state == "starting":
            self._runtime.enter("ready", "filming")
        self._runtime.ready()
        self._runtime.fed()

    def _saw(self, seen: Seen, wall_ns: int) -> None:
        if seen.cause:
            self._complain(seen)
            return
        self._complained = False
        before = self._presence.now
        change = self._presence.see(seen.detections, moment(wall_ns))
        if change:
            self._defer(lambda: self._keeper.tell(change))
            self._io.say("empty" if change.people == "none" else "waiting", "", self._runtime.clock.mono_ms())
            if rises(before, change.people) and self._recorder:
                self._recorder.take(Trigger("presence"))

    def _complain(self, seen: Seen) -> None:
        if not self._complained:
            self._complained = True
            self._runtime.log("error", f"detector: {seen.cause}: frames are fully masked", detail=seen.detail)

    def _receipt(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"freed": self._keeper.receipt(str(request.get("jws", "")))}

    def _order(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"answer": self._custody.orders.obey(str(request.get("jws", "")).encode()).decode()}

    def _note_heads(self, heads: dict[str, Fact]) -> None:
        self._defer(lambda: self._keeper.note(HEADS, **heads))

    def _revoked(self, record: str) -> None:
        if record in (self._permit.basis.id, self._permit.view.id):
            self._runtime.fail(RecordError(f"{record}: was revoked", "place a newly signed record with another id"))

    def _defer(self, work: Work) -> None:
        """Hand a write to the keeper's thread: the frame path waits for no disk."""
        try:
            self._news.put_nowait(work)
        except Full:
            self._runtime.log("warning", "news: more than the disk takes, one dropped")

    def _keep(self) -> None:
        """The keeper's thread: writes as they come, a sweep every ten seconds, the view's edges every ten minutes."""
        swept, saved = time.monotonic() - REST_S, time.monotonic()
        while not self._runtime.stop.is_set():
            self._runtime.beat("keeper", KEEPER_STALLED_S, vital=False)
            with suppress(Empty):
                self._news.get(timeout=0.2)()
            # Whatever else there is to write: the sweep waits for no queue to be empty.
            if time.monotonic() - swept >= REST_S:
                more = self._custody.attend()
                swept = time.monotonic() - (REST_S if more else 0)
            if time.monotonic() - saved >= _SAVE_S:
                self._keeper.later.do(self._watching.save)
                saved = time.monotonic()
        self._keeper.save()

    def _hear_triggers(self) -> None:
        def odd(what: str) -> None:
            self._runtime.log("warning", what)

        hear(self._runtime.layout.trigger, self._runtime.stop, self._triggered, odd)

    def _triggered(self, word: Word) -> None:
        if word.kind == "visit":
            self._visits.begin()
        elif self._recorder and word.kind == "help":
            self._recorder.take(Trigger(word.kind, word.id))


class Opening:
    """Makes the manifest that a clip begins with."""

    def __init__(self, runtime: Runtime, permit: Permit, stream: Stream, detector: Detector, zones: str) -> None:
        self._runtime, self._permit, self._stream = runtime, permit, stream
        self._detector, self._zones = detector, zones

    def manifest(self, first: Taken, trigger: Trigger) -> Manifest:
        clock, config, basis = self._runtime.clock, self._runtime.config, self._permit.basis
        begin: datetime = moment(first.wall_ns)
        state = clock.state()
        return Manifest(
            clip=new_clip_id(first.wall_ns),
            site=config.node.site,
            node=config.node.id,
            area=config.node.area,
            state="open",
            trigger=trigger.kind,
            begin=begin,
            end=begin,
            time_error_ms=TIME_ERROR_MS[state],
            mono_ms=clock.boot_ms(first.packet.mono_ns),
            boot_id=clock.boot_id,
            clock=state,
            width=self._stream.width,
            height=self._stream.height,
            frames=0,
            full={},
            profile=config.mask.profile,
            stack=self._detector.name,
            models=self._detector.models,
            zones_sha256=self._zones,
            basis=basis.id,
            view=self._permit.view.id,
            deadline=deadline(basis, begin),
            recipients=tuple(recipient.text for recipient in self._stream.recipients),
            files=(),
            previous="",
        )


def open_camera(runtime: Runtime) -> Camera:
    """The configured camera, open."""
    wanted = runtime.config.camera
    camera: Camera
    if wanted.source == "file":
        camera = FileCamera(Path(wanted.file), wanted.width, wanted.height, wanted.fps, wanted.rotation)
    else:
        camera = PiCamera(wanted.width, wanted.height, wanted.fps, wanted.number, wanted.rotation)
    camera.open()
    runtime.log("info", "camera open", model=camera.model, width=camera.width, height=camera.height)
    return camera

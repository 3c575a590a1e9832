"""One open camera that films: it yields presence, clips and the state of the service."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from agent.camera.flow import flow
from agent.camera.keeper_thread import KeeperThread
from agent.camera.mask_check import MaskCheck
from agent.camera.moments import moment
from agent.camera.neighbour import Neighbour
from agent.camera.opening import Opening
from agent.camera.pipeline import Coding, Listeners, Pipeline
from agent.camera.presence import PresenceWatch, rises
from agent.camera.recorder import Recorder, Stream, Trigger
from agent.camera.ruling import Rulings
from agent.camera.shares import Counts, Window
from agent.camera.state import DARK, DARK_SHARE, CameraFacts, Darkness, state_of
from agent.camera.view_check import ViewCheck
from agent.clips.custody import Custody
from agent.runtime.commands.desk import Outcome, refused
from agent.runtime.service import Runtime
from agent.runtime.status import CameraStatus
from drivers.camera.port import Camera
from drivers.disk import refusal
from drivers.media.encoder import H264Encoder
from privacy.masking.delay import Seen
from privacy.masking.detection import Detector
from privacy.masking.frames import MaskedFrame
from privacy.masking.light import dark_share
from privacy.masking.masker import Masker
from privacy.records.basis import Permit
from privacy.records.seal import Recipient

_NO_FAULT = ("profile", DARK)
"""Whole masks that were asked for; and darkness, whose time is counted by itself."""


class Parts(Struct, frozen=True):
    """Objects that filming and a visit share for the life of the service. recipients: public keys that clips are sealed to.

    refused  number of commands that the service refused
    """

    runtime: Runtime
    permit: Permit
    detector: Detector
    custody: Custody
    keeper: KeeperThread
    view: ViewCheck
    mask: MaskCheck
    neighbour: Neighbour
    recipients: tuple[Recipient, ...]
    refused: Callable[[], int]


class DetectorLog:
    """Logs a failing detector once, until it works again."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._failed = runtime, False

    def see(self, seen: Seen) -> bool:
        """Whether this detection gave an answer."""
        if seen.cause and not self._failed:
            self._runtime.log("error", f"detector: {seen.cause}: frames are fully masked", detail=seen.detail)
        self._failed = bool(seen.cause)
        return not self._failed


def listeners(parts: Parts, camera: Camera, saw: Callable[[Seen, int], None], leaves: Callable[[MaskedFrame], None]) -> Listeners:
    """The callbacks of a pipeline: the checks of view and mask, and those of the caller."""
    size = (camera.width, camera.height)

    def seen(look: Seen, wall_ns: int) -> str:
        saw(look, wall_ns)
        return parts.view.seen(look, size, wall_ns)

    def painted(picture: MaskedFrame, masker: Masker) -> None:
        parts.view.painted(picture, masker)
        parts.mask.painted(picture, masker)

    return Listeners(seen, painted, leaves, parts.mask.looked)


def resting(status: CameraStatus) -> CameraStatus:
    """The last status of a camera that was closed: its counts stay, nothing is said of a present picture."""
    present = ("people", "fps", "distinct_share", "frame_age_s", "exposure_us", "gain", "focus", "mask_coverage", "full_share")
    gone = {name: "" if name == "people" else None for name in present}
    return msgspec.structs.replace(status, full_share_by_cause={}, **gone)


class Filming:
    """One for the life of the service. held_up: whether a visit wants the camera, or a pause began."""

    def __init__(self, parts: Parts, log: DetectorLog, rulings: Rulings, held_up: Callable[[], bool]) -> None:
        self._parts, self._log, self._rulings, self._held_up = parts, log, rulings, held_up
        self._presence = PresenceWatch()
        self._recorder: Recorder | None = None
        self._blind_since_s = 0.0
        self._darkness, self._too_dark, self._size = Darkness(), False, (1, 1)
        self._window = Window()

    def trigger(self, trigger: Trigger) -> None:
        """From any thread: record a clip for this trigger, if the camera films."""
        if recorder := self._recorder:
            recorder.take(trigger)

    def record(self, trigger: Trigger) -> Outcome | None:
        """The same for a command, which gets an answer."""
        recorder = self._recorder
        return recorder.record(trigger) if recorder else refused("not_filming")

    def run(self, camera: Camera) -> None:
        """Until the service stops, the records no longer allow filming, or a visit or a pause begins."""
        runtime, telling, permit = self._parts.runtime, self._parts.custody.telling, self._parts.permit
        telling.note("capture_on", basis=permit.basis.id, view=permit.view.id)
        masker = Masker(camera.width, camera.height, permit.view, runtime.config.mask.profile)
        encoder = H264Encoder(camera.width, camera.height, runtime.config.camera.fps, bitrate=runtime.config.camera.bitrate)
        if encoder.refusal:
            runtime.log("warning", f"encoder: {encoder.refusal}; {encoder.name} does it, at several times the cost")
        self._recorder = recorder = self._new_recorder(camera, masker)
        pipeline = Pipeline(
            camera, self._parts.detector, masker, listeners(self._parts, camera, self._saw, Coding(encoder, recorder.take).encode)
        )
        # Camera and encoder are known from the first frame on, which makes the service ready.
        runtime.report(self._status(pipeline, recorder, camera, encoder.name))
        runtime.enter("starting", "first_frames")
        self._blind_since_s, self._darkness = runtime.clock.mono_ms() / 1000, Darkness()
        self._too_dark, self._size, self._window = False, (camera.width, camera.height), Window()
        flow(runtime, camera, pipeline, lambda: self._watch(pipeline, recorder, camera, encoder.name), recorder.run)
        self._recorder = None
        recorder.close()
        runtime.report(resting(self._status(pipeline, recorder, camera, encoder.name)))
        telling.note("capture_off", frames=pipeline.tally.frames)

    def _watch(self, pipeline: Pipeline, recorder: Recorder, camera: Camera, encoder: str) -> None:
        runtime = self._parts.runtime
        while not runtime.stop.wait(0.5) and self._rulings.now().open and not self._held_up():
            runtime.report(self._status(pipeline, recorder, camera, encoder))
            self._judge(recorder, pipeline.tally.cause)
            self._parts.neighbour.tell_light(camera.night)

    def _status(self, pipeline: Pipeline, recorder: Recorder, camera: Camera, encoder: str) -> CameraStatus:
        tally, custody, mask = pipeline.tally, self._parts.custody, self._parts.mask.facts
        counts = Counts(tally.frames, pipeline.distinct.count, tally.painted, dict(tally.full))
        shares = self._window.see(counts, time.monotonic())
        return CameraStatus(
            camera_model=camera.model,
            encoder=encoder,
            view=self._parts.view.standing.kind or "as_known",
            people=self._presence.now,
            fps=shares.fps,
            distinct_share=shares.distinct,
            frame_age_s=max(0, time.monotonic_ns() - pipeline.last_ns) // 1_000_000_000,
            exposure_us=camera.exposure_us,
            gain=camera.gain,
            focus=pipeline.focus,
            mask_coverage=shares.coverage,
            full_share=shares.full,
            full_share_by_cause=shares.full_by_cause,
            frames=tally.frames,
            masked=tally.masked,
            full=tally.full.total(),
            full_by_cause=dict(tally.full),
            looks=pipeline.looks,
            look_ms=round(pipeline.look_ms / pipeline.looks, 1) if pipeline.looks else None,
            learned_tiles=pipeline.learned,
            self_test_minutes=mask.self_test_minutes,
            audited=mask.audited,
            breach_candidates=mask.breach_candidates,
            pictures_lost=camera.lost,
            pictures_broken=camera.broken,
            queue_dropped=recorder.dropped,
            clips=custody.spool.count(),
            clips_refused=recorder.refused,
            clips_dropped=custody.keeper.dropped,
            events_lost=custody.telling.lost,
            writes_lost=self._parts.keeper.lost,
            dropped_datagrams=self._parts.neighbour.dropped,
            commands_refused=self._parts.refused(),
        )

    def _judge(self, recorder: Recorder, cause: str) -> None:
        runtime, folder = self._parts.runtime, self._parts.custody.spool.folder
        now_s = runtime.clock.mono_ms() / 1000
        if not cause or cause in _NO_FAULT:
            self._blind_since_s = now_s
        facts = CameraFacts(
            cause=cause,
            blind_s=now_s - self._blind_since_s,
            dark_s=self._darkness.see(cause == DARK or self._too_dark, now_s),
            most_dark_s=runtime.config.camera.dark_minutes * 60.0,
            stalled=runtime.stalled(),
            events=refusal(folder, "disk_refuses_events") if self._parts.custody.telling.trouble else "",
            clips=refusal(folder, "disk_refuses_clips") if recorder.refused_now else "",
            until=self._rulings.now().until,
        )
        found = state_of(facts)
        # The service becomes ready with the first frame in the ring, not by the absence of faults.
        if found.state != "ready" or runtime.standing.state != "starting":
            runtime.enter(found.state, found.reason, until=found.until, owner=found.owner)

    def _new_recorder(self, camera: Camera, masker: Masker) -> Recorder:
        parts, config = self._parts, self._parts.runtime.config
        stream = Stream(camera.width, camera.height, config.camera.fps, parts.recipients, masker.header)
        opening = Opening(parts.runtime, parts.permit, stream, parts.detector, masker.zones_sha256)
        custody = parts.custody
        return Recorder(custody.spool, config.record, stream, opening.manifest, custody.keeper, custody.telling, self._frame_done)

    def _frame_done(self) -> None:
        """A frame was captured, masked, coded and taken by the ring: only then is the work finished."""
        runtime = self._parts.runtime
        if runtime.standing.state == "starting":
            runtime.enter("ready", "filming")
        runtime.ready()
        runtime.fed()

    def _saw(self, seen: Seen, wall_ns: int) -> None:
        if not self._log.see(seen):
            return
        self._too_dark = dark_share(seen.dark, *self._size) >= DARK_SHARE
        before, change = self._presence.now, self._presence.see(seen.detections, moment(wall_ns))
        if change:
            self._parts.keeper.defer(lambda: self._parts.custody.telling.say(change))
            self._parts.neighbour.tell_presence(change)
            if rises(before, change.people):
                self.trigger(Trigger("presence"))

"""`lykta camera`: the composition root of the service that sees raw frames. No network.

The order is a guarantee: records first, then the model, then the hours, and only then the camera's `open`. Only a visit opens it
outside the hours: for the person on site, masked, with neither recorder nor encoder (R35).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from agent.camera.commands import CameraCommands
from agent.camera.filming import DetectorLog, Filming, Parts, listeners
from agent.camera.flow import flow
from agent.camera.keeper_thread import KeeperThread
from agent.camera.mask_check import AUDIT_STALLED_S, MaskCheck
from agent.camera.neighbour import Neighbour
from agent.camera.pause import Pause
from agent.camera.pipeline import Pipeline
from agent.camera.recorder import Trigger
from agent.camera.ruling import Rulings
from agent.camera.state import StateDecision, closed, paused
from agent.camera.view_check import ViewCheck
from agent.camera.visit import Visit, Visits
from agent.clips.custody import Custody
from agent.inbox.journal_heads import OtherHeads
from agent.runtime.notices import Notice, receive
from agent.runtime.requests import ConfirmView, Freed, GiveCommand, GiveOrder, GiveReceipt, OrderAnswered, ShowView, TellHeads
from agent.runtime.service import Runtime, run_service
from drivers.camera.file_camera import FileCamera
from drivers.camera.pi_camera import PiCamera
from drivers.camera.port import Camera
from privacy.errors import MediaError, RecordError
from privacy.masking.audit import LONG_SIDE
from privacy.masking.delay import Seen
from privacy.masking.detection import Detector
from privacy.masking.frames import MaskedFrame
from privacy.masking.masker import Masker
from privacy.masking.networks.detectors import open_stack
from privacy.records.basis import Permit
from privacy.records.journal import HEADS, Fact
from privacy.records.seal import Recipient
from provisioning.identity import load_permit, recipients
from provisioning.layout import Layout

REST_S = 10.0

# The argument is the long side of the detector's input, pixels; 0: the stack's default.
OpenDetector = Callable[[Runtime, int], Detector]


def serve(layout: Layout) -> int:
    return run_service("camera", layout, run)


def installed_detector(runtime: Runtime, long_side: int) -> Detector:
    """The detector stack that the configuration names, from the node's model folder."""
    mask = runtime.config.mask
    return open_stack(mask.stack, runtime.layout.models, mask.threads, long_side)


def run(runtime: Runtime, open_detector: OpenDetector = installed_detector) -> None:
    """Run the service: everything that can be refused is refused before the camera is opened."""
    config = runtime.config
    runtime.enter("starting", "records")
    permit = load_permit(runtime.layout, config.node.site, config.node.id, config.mask.profile, config.mask.stack)
    service = CameraService(runtime, permit, open_detector(runtime, 0), lambda: open_detector(runtime, LONG_SIDE))
    service.run()


class CameraService:
    """Films while the records allow it, shows pictures to a visit, is off otherwise."""

    def __init__(self, runtime: Runtime, permit: Permit, detector: Detector, open_auditor: Callable[[], Detector]) -> None:
        layout = runtime.layout
        self._runtime, self._permit, self._detector = runtime, permit, detector
        sealed_to = tuple(Recipient.parse(line) for line in recipients(layout))
        retention = timedelta(hours=permit.basis.retention_hours)
        self._custody = custody = Custody.take(layout, runtime.config, runtime.clock, "camera", retention, self._revoked)
        self._keeper = KeeperThread(runtime, custody)
        defer, noiseless = self._keeper.defer, runtime.config.camera.noiseless
        self._mask = MaskCheck(runtime, custody.telling, detector, open_auditor, defer)
        self._view = ViewCheck(custody.telling, runtime.clock.now, layout.camera, permit.view.id, defer, noiseless)
        self._rulings = Rulings(permit, runtime.clock)
        self._neighbour, self._log = Neighbour(runtime), DetectorLog(runtime)
        self._visits = Visits(runtime, permit, custody.telling, defer)
        self._pause = Pause(layout.pause, runtime.clock)
        shared = (permit, detector, custody, self._keeper, self._view, self._mask, self._neighbour, sealed_to)
        self._parts = Parts(runtime, *shared, lambda: self._commands.refused)
        self._filming = Filming(self._parts, self._log, self._rulings, lambda: self._visited() or self._pause.now() is not None)
        self._commands = CameraCommands(runtime, custody.telling, self._rulings, self._filming, self._pause, self._visited).desk

    def run(self) -> None:
        runtime = self._runtime
        # The self-test must pass before the camera is opened.
        self._mask.test()
        self._custody.keeper.recover()
        basis, view = self._permit.basis, self._permit.view
        self._custody.telling.note(
            "service_on", basis=basis.id, view=view.id, assessment=basis.assessment, profile=runtime.config.mask.profile
        )
        runtime.journal_states(self._note)
        self._answer()
        runtime.spawn("triggers", lambda: receive(runtime.layout.trigger, runtime.going_on, self._noticed, self._malformed))
        runtime.spawn("keeper", lambda: self._keeper.run(self._view.save), vital=False)
        runtime.spawn("audit", self._mask.run, AUDIT_STALLED_S, vital=False)
        self._commands.back()
        while not runtime.stop.is_set():
            if self._pause.lapsed():
                self._custody.telling.note("pause_over", reason="time")
            visit, ruling, pause = self._visits.now, self._rulings.now(), self._pause.now()
            if visit:
                self._receive(visit)
            elif ruling.open and pause:
                self._enter(paused(pause.until, runtime.stalled()))
                self._rest()
            elif ruling.open:
                self._film()
            else:
                self._enter(closed(ruling, runtime.stalled()))
                self._rest()

    # -- requests ------------------------------------------------------------------------------------------------------

    def _answer(self) -> None:
        runtime = self._runtime
        runtime.answer(GiveReceipt, self._receipt, on="uplink")
        runtime.answer(GiveOrder, self._order, on="uplink")
        runtime.answer(GiveCommand, self._commands.take, on="uplink")
        runtime.answer(TellHeads, OtherHeads("camera", self._note_heads, runtime.clock.mono_ms).take, on="uplink")
        runtime.answer(ShowView, self._view.show, on="ctl")
        runtime.answer(ConfirmView, self._view.confirm, on="ctl")
        self._visits.listen()

    def _receipt(self, request: GiveReceipt) -> Freed:
        return Freed(self._custody.keeper.receipt(request.jws))

    def _order(self, request: GiveOrder) -> OrderAnswered:
        return OrderAnswered(self._custody.orders.obey(request.jws.encode()).decode())

    def _note_heads(self, heads: dict[str, Fact]) -> None:
        self._keeper.defer(lambda: self._custody.telling.note(HEADS, **heads))

    def _note(self, kind: str, /, **facts: Fact) -> None:
        """A journal entry, by way of the keeper's thread as long as that works."""
        if self._runtime.stop.is_set():
            self._custody.telling.note(kind, **facts)
        else:
            self._keeper.defer(lambda: self._custody.telling.note(kind, **facts))

    def _revoked(self, record: str) -> None:
        ours = {self._permit.basis.id: "basis_revoked", self._permit.view.id: "view_revoked"}
        if record in ours:
            self._runtime.fail(RecordError(f"{record}: was revoked", "place a newly signed record with another id", ours[record]))

    def _noticed(self, notice: Notice) -> None:
        if notice.kind == "visit":
            self._visits.begin()
        elif notice.kind == "help":
            self._filming.trigger(Trigger(notice.kind, notice.id))

    def _malformed(self, what: str) -> None:
        self._runtime.log("warning", what)

    # -- filming, off, visit -----------------------------------------------------------------------------------------

    def _film(self) -> None:
        if camera := self._open():
            self._filming.run(camera)

    def _open(self) -> Camera | None:
        """The open camera; None, with the state blind and the reason, if it cannot be opened."""
        runtime = self._runtime
        try:
            return open_camera(runtime)
        except MediaError as problem:
            if runtime.standing.reason != problem.code:
                runtime.log("error", str(problem), hint=problem.hint)
            runtime.enter("blind", problem.code, owner="technician")
            self._rest()
            return None

    def _rest(self) -> None:
        """Wait until the next decision, a visit, or a change of the pause. A decision that nothing may be filmed counts as finished
        work."""
        self._runtime.ready()
        self._runtime.fed()
        visit, pause, end = self._visits.now, self._pause.now(), time.monotonic() + REST_S
        while time.monotonic() < end and (self._visits.now, self._pause.now()) == (visit, pause):
            if self._runtime.stop.wait(0.5):
                return

    def _enter(self, decided: StateDecision) -> None:
        self._runtime.enter(decided.state, decided.reason, until=decided.until, owner=decided.owner)

    def _visited(self) -> bool:
        return self._visits.now is not None

    def _receive(self, visit: Visit) -> None:
        """Serve a visit, until its hour is over, it is ended, or the service stops. Nothing is recorded, no presence reported."""
        ruling = self._visits.rule(visit)
        camera = self._open() if ruling.open else None
        if camera:
            self._visits.show()
            masker = Masker(camera.width, camera.height, self._permit.view, self._visits.profile)
            heard = listeners(self._parts, camera, self._unseen, self._showing(visit))
            pipeline = Pipeline(camera, self._detector, masker, heard)
            self._runtime.enter("setup", "visit", until=ruling.until, owner="technician")
            flow(self._runtime, camera, pipeline, lambda: self._stay(visit, camera))
        self._visits.close(visit)

    def _stay(self, visit: Visit, camera: Camera) -> None:
        while not self._runtime.stop.wait(0.5) and not self._visits.why_over(visit):
            self._neighbour.tell_light(camera.night)

    def _unseen(self, seen: Seen, _wall_ns: int) -> None:
        self._log.see(seen)

    def _showing(self, visit: Visit) -> Callable[[MaskedFrame], None]:
        def show(picture: MaskedFrame) -> None:
            visit.leaves(picture)
            self._runtime.ready()
            self._runtime.fed()

        return show


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

"""The manifest that a clip begins with: node, time, records in force, networks, and the recipients of the seal."""

from __future__ import annotations

from datetime import datetime

from agent.camera.moments import moment
from agent.camera.recorder import Stream, Taken, Trigger
from agent.runtime.clocks import TIME_ERROR_MS
from agent.runtime.service import Runtime
from privacy.ids import new_clip_id
from privacy.masking.detection import Detector
from privacy.records.basis import Permit, deadline
from privacy.records.manifest import Manifest


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

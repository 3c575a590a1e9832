"""The state of the node: from the status of its services, what the camera left when it refused to work, and the exit reports of
systemd's failure hook. `decide` is pure: facts in, state out."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec import Struct

from agent.messages import Owner, State, StateName
from agent.runtime import refusal
from agent.runtime.ask_status import status_at
from agent.runtime.exit_report import last, reason
from agent.runtime.service import Runtime
from agent.runtime.status import STATUS, ServiceState, Status, StatusAnswer
from privacy.errors import LyktaError

NEIGHBOURS = ("camera", "io")
TOLD_S = 2.0
"""Silence of the camera that is told. It is asked each second and has `ASK_S` to answer, so that the state says so within 3 s."""
BLIND_S = 30.0
"""Silence after which it counts as blind: longer than a restart takes on a Pi."""
ASK_S = 1.0
_WELL = ("ready", "off", "degraded", "blind", "setup")


class Word(Struct, frozen=True):
    """What a camera that is not there left as its reason, and who has to act."""

    reason: str
    owner: Owner = "technician"


class Facts(Struct, frozen=True):
    """camera, io: what they answer, None without an answer; silent_s: since the camera's last answer; heard: whether there was one.

    word    why the camera is not there, None if it left nothing that counts
    uplink  the uplink's own state; told: the node's state that was told last
    """

    now: datetime
    camera: ServiceState | None
    io: ServiceState | None
    silent_s: float
    heard: bool
    word: Word | None
    uplink: StateName
    told: State | None


def decide(facts: Facts) -> State:
    """The camera's state, unless another service, its silence or what it left overrides it."""
    camera, io = facts.camera, facts.io
    services: dict[str, str] = {"camera": _state(camera), "io": _state(io), "uplink": facts.uplink}

    def own(state: StateName, why: str, owner: Owner = "technician") -> State:
        """A state that the uplink decides; the time at which it began is kept."""
        told = facts.told
        same = told is not None and (told.state, told.reason) == (state, why)
        return State(state, why, told.since if told is not None and same else facts.now, None, owner, services)

    if facts.word:
        return own("blind", facts.word.reason, facts.word.owner)
    if camera is None:
        return _without_camera(facts, own, services)
    if camera.state == "ready" and io is None:
        return own("degraded", "io_silent")
    if camera.state == "ready" and io is not None and io.state == "degraded":
        return _as_told(io, services)
    return _as_told(camera, services)


def _without_camera(facts: Facts, own: Callable[[StateName, str], State], services: dict[str, str]) -> State:
    """A camera that does not answer: starting until it was heard once, then soon degraded, blind after the grace."""
    if facts.silent_s >= BLIND_S:
        return own("blind", "camera_silent")
    if not facts.heard:
        return own("starting", "camera_silent")
    if facts.silent_s < TOLD_S and facts.told is not None:
        return msgspec.structs.replace(facts.told, services=services)
    return own("degraded", "camera_silent")


def _state(answer: ServiceState | None) -> str:
    return answer.state if answer else "silent"


def _as_told(standing: ServiceState, services: dict[str, str]) -> State:
    return State(standing.state, standing.reason, standing.since, standing.until, standing.owner, services)


class NodeState:
    """Used by the uplink's main thread.

    told    the state that was last put into the outbox, None before the first
    detail  the last status of the services that answer, by name
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.told: State | None = None
        self.detail: dict[str, Status] = {}
        self._heard_s: float | None = None
        self._begun_s = time.monotonic()
        self._well_ms = 0

    def _ask(self) -> dict[str, ServiceState]:
        found: dict[str, ServiceState] = {}
        detail: dict[str, Status] = {}
        for name in NEIGHBOURS:
            path = self._runtime.layout.socket(name, "uplink")
            try:
                answer: StatusAnswer[Status] = status_at(path, STATUS[name], ASK_S)
            except LyktaError:
                continue  # no answer counts only after some time
            found[name], detail[name] = answer.standing, answer.detail
            if name == "camera":
                self._heard_s = time.monotonic()
        self.detail = detail
        return found

    def state(self) -> State:
        """The state of the node now."""
        found = self._ask()
        camera, heard_s = found.get("camera"), self._heard_s
        facts = Facts(
            now=self._runtime.clock.now(),
            camera=camera,
            io=found.get("io"),
            silent_s=time.monotonic() - (self._begun_s if heard_s is None else heard_s),
            heard=heard_s is not None,
            word=self._last_word(camera.state if camera else ""),
            uplink=self._runtime.standing.state,
            told=self.told,
        )
        return decide(facts)

    def _last_word(self, camera: str) -> Word | None:
        """What the camera left since it last worked. camera: its state, "" without an answer."""
        layout, clock = self._runtime.layout, self._runtime.clock
        if camera in _WELL:
            self._well_ms = clock.mono_ms()
        if camera in ("", "stopping"):
            refused = refusal.left(layout, "camera", clock.boot_id)
            if refused and refused.t_ms > self._well_ms:
                return Word(refused.code, refused.owner)
        for unit in ("data", "camera"):
            word = last(layout, unit)
            # A camera that answers was restarted: then the report counts only if it fails repeatedly.
            if word and word.t_ms > self._well_ms and not (camera and word.final) and (code := reason(unit, word)):
                return Word(code)
        return None

"""The state of the node, from the status of its services and the exit reports of systemd's failure hook."""

from __future__ import annotations

import time

import msgspec

from agent.messages import State
from agent.runtime.ask_status import status_at
from agent.runtime.exit_report import last, reason
from agent.runtime.service import Runtime
from agent.runtime.status import STATUS, ServiceState, Status, StatusAnswer
from privacy.errors import LyktaError

NEIGHBOURS = ("camera", "io")
SILENT_S = 30.0
_WELL = ("ready", "off", "degraded", "blind", "setup")


class NodeState:
    """Used by the uplink's main thread.

    told    the state that was last put into the outbox, None before the first
    detail  the last status of the services that answer, by name
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.told: State | None = None
        self.detail: dict[str, Status] = {}
        self._seen: dict[str, float] = {}
        self._well_ms = 0

    def _ask(self) -> dict[str, ServiceState]:
        found: dict[str, ServiceState] = {}
        detail: dict[str, Status] = {}
        for name in NEIGHBOURS:
            try:
                answer: StatusAnswer[Status] = status_at(self._runtime.layout.socket(name, "uplink"), STATUS[name])
            except LyktaError:
                continue  # no answer counts only after some time
            found[name], detail[name] = answer.standing, answer.detail
            self._seen[name] = time.monotonic()
        self.detail = detail
        return found

    def state(self) -> State:
        """The state of the node now: the camera's, unless another service or an exit report overrides it."""
        found = self._ask()
        services: dict[str, str] = {name: found[name].state if name in found else "silent" for name in NEIGHBOURS}
        services["uplink"] = self._runtime.standing.state
        camera = found.get("camera")
        word = self._last_word(camera.state if camera else "")
        if word:
            return self._since(State("blind", word, None, None, "technician", services))
        if camera is None:
            quiet = time.monotonic() - self._seen.setdefault("camera", time.monotonic())
            if quiet < SILENT_S and self.told is not None:
                return msgspec.structs.replace(self.told, services=services)
            name = "blind" if quiet >= SILENT_S else "starting"
            return self._since(State(name, "camera_silent", None, None, "technician", services))  # type: ignore[arg-type]
        state = _as_told(camera, services)
        if state.state == "ready" and "io" not in found:
            return self._since(State("degraded", "io_silent", None, None, "technician", services))
        if state.state == "ready" and found["io"].state == "degraded":
            return _as_told(found["io"], services)
        return state

    def _last_word(self, camera: str) -> str:
        """The reason by the camera's exit report, if there is one since it last worked; "" otherwise. camera: its state."""
        if camera in _WELL:
            self._well_ms = self._runtime.clock.mono_ms()
        for unit in ("data", "camera"):
            word = last(self._runtime.layout, unit)
            # A camera that answers was restarted: then the report counts only if it fails repeatedly.
            if word and word.t_ms > self._well_ms and not (camera and word.final) and (code := reason(unit, word)):
                return code
        return ""

    def _since(self, state: State) -> State:
        """Keep the time at which this state began."""
        old = self.told
        same = old is not None and (old.state, old.reason) == (state.state, state.reason)
        since = old.since if old is not None and same else self._runtime.clock.now()
        return msgspec.structs.replace(state, since=since)


def _as_told(standing: ServiceState, services: dict[str, str]) -> State:
    return State(standing.state, standing.reason, standing.since, standing.until, standing.owner, services)

"""The commands that the camera carries out itself: clip, pause, resume."""

from __future__ import annotations

from collections.abc import Callable

from agent.camera.filming import Filming
from agent.camera.pause import Pause
from agent.camera.recorder import Trigger
from agent.camera.ruling import Rulings
from agent.outbox.telling import Telling
from agent.runtime.commands.desk import DONE, Answer, CommandDesk, Outcome, refused
from agent.runtime.service import Runtime
from privacy.records.command_table import ClipNow, Resume
from privacy.records.command_table import Pause as PauseFor


class CameraCommands:
    """visited: whether a visit has the camera."""

    def __init__(
        self, runtime: Runtime, telling: Telling, rulings: Rulings, filming: Filming, pause: Pause, visited: Callable[[], bool]
    ) -> None:
        self._rulings, self._filming, self._pause, self._visited = rulings, filming, pause, visited
        self._telling = telling
        self.desk = CommandDesk(runtime, telling, {ClipNow: self._clip, PauseFor: self._begin_pause, Resume: self._resume})

    def _clip(self, act: ClipNow, answer: Answer) -> Outcome | None:
        """Within the records only, as any clip. A fully masked one is a clip too: its manifest says how much is masked, and why."""
        ruling = self._rulings.now()
        if not ruling.open:
            return refused(ruling.reason)
        if self._pause.now():
            return refused("paused")
        if self._visited():
            return refused("visit")
        return self._filming.record(Trigger("command", seconds=act.seconds, answer=answer))

    def _begin_pause(self, act: PauseFor, _answer: Answer) -> Outcome:
        span = self._pause.begin(act.minutes)
        self._telling.note("pause_begun", minutes=act.minutes, until=span.until.isoformat(timespec="seconds"))
        return DONE

    def _resume(self, _act: Resume, _answer: Answer) -> Outcome:
        if not self._pause.end():
            return refused("not_paused")
        self._telling.note("pause_over", reason="resumed")
        return DONE

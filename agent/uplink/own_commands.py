"""The commands that the uplink carries out itself."""

from __future__ import annotations

import json
from collections.abc import Callable

from agent.outbox.telling import Telling
from agent.runtime.commands.desk import ACCEPTED, DONE, Answer, Begin, CommandDesk, Outcome
from agent.runtime.requests import Carry
from agent.runtime.service import Runtime
from agent.uplink.diagnosis import collect
from agent.uplink.upload.uploader import Uploader
from privacy.errors import LyktaError
from privacy.records.command_table import Act, Diag, Ping, Rebirth, Upload


class OwnCommands:
    """rebirth: sends everything again that stands retained at the broker."""

    def __init__(self, runtime: Runtime, telling: Telling, uploader: Uploader, rebirth: Callable[[], None]) -> None:
        self._runtime, self._uploader, self._rebirth = runtime, uploader, rebirth
        work: dict[type[Act], Begin] = {Ping: self._ping, Rebirth: self._again, Upload: uploader.request, Diag: self._diag}
        self.desk = CommandDesk(runtime, telling, work)

    def _ping(self, _act: Ping, _answer: Answer) -> Outcome:
        return DONE

    def _again(self, _act: Rebirth, _answer: Answer) -> Outcome:
        self._rebirth()
        return DONE

    def _diag(self, _act: Diag, answer: Answer) -> Outcome:
        """On the thread of the uplink's commands, which has time: reading what there is takes a second or two."""
        answer(ACCEPTED)
        data = json.dumps(collect(self._runtime.layout, "uplink"), indent=1, default=str).encode()
        try:
            return Outcome("done", ref=self._uploader.carry(Carry("diag", "diag.json", data)).id)
        except LyktaError as problem:
            self._runtime.log("warning", f"diag: {problem}", hint=problem.hint)
            return Outcome("failed", "disk")

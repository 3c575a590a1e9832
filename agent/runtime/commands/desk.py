"""Signed commands at the service that carries them out: verified, executed once, answered on rsp/<id>, journalled.

Each service has its own last number. The numbers of all are milliseconds of the centre's clock, so that each of them rises too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, cast

from msgspec import Struct

from agent.messages import Body, CommandAnswer, CommandResult
from agent.runtime.commands.memory import CommandMemory
from agent.runtime.rate_limit import Limit
from agent.runtime.requests import CommandTaken, GiveCommand
from agent.runtime.service import Runtime
from privacy.errors import RecordError
from privacy.records.command import Command, Decision, Situation, decide, verify_command
from privacy.records.command_table import REASONS, Ack, Act, CloseJournal, Restart, Service, SetLogLevel
from privacy.records.journal import Fact
from provisioning.identity import command_keys

_MOST_NOTED = 20
_PERIOD_S = 3600.0


class Outcome(Struct, frozen=True):
    """What came of a command. reason: of `REASONS`; ref: what it made, as a clip's id."""

    result: CommandResult
    reason: str = ""
    ref: str = ""

    @property
    def final(self) -> bool:
        return self.result in ("done", "refused", "failed")


DONE, ACCEPTED = Outcome("done"), Outcome("accepted")
Answer = Callable[[Outcome], None]
"""Sends an answer, from any thread. After the final one it does nothing."""
Begin = Callable[[Any, Answer], Outcome | None]
"""Begins an act, without waiting. Returns an answer, or None if it will be sent with the second argument."""


class Output(Protocol):
    """Where a service puts messages and journal entries; neither call raises when the disk refuses."""

    def say(self, *bodies: Body) -> None: ...

    def note(self, kind: str, /, **facts: Fact) -> None: ...

    def begin_segment(self, **facts: Fact) -> bool:
        """Close the current segment of the journal: whether the disk has taken that."""


def refused(reason: str) -> Outcome:
    return Outcome("refused", reason)


class CommandDesk:
    """One for each service. `take` is called by one thread, that of the socket or queue; answers come from any.

    work     by type of act, what the service does; restart, log-level and journal are the same for all
    refused  commands refused since the start, also unsigned ones
    """

    def __init__(self, runtime: Runtime, output: Output, work: Mapping[type[Act], Begin]) -> None:
        self._runtime, self._output = runtime, output
        common: dict[type[Act], Begin] = {Restart: self._restart, SetLogLevel: self._log_level, CloseJournal: self._close_journal}
        self._work = common | dict(work)
        self._memory = CommandMemory(runtime.layout.last_command(runtime.name), runtime.clock.boot_id)
        self._refusals = Limit(_MOST_NOTED, _PERIOD_S)
        self.refused = 0

    def back(self) -> None:
        """Answer what the last process of this boot did not finish: a restart is done now, anything else was interrupted."""
        for id_, one in self._memory.before.items():
            restarted = one.name == Restart.command
            result, reason = ("done", "") if restarted else ("failed", "interrupted")
            self._say(id_, one.name, one.number, Outcome(cast(CommandResult, result), reason))

    def take(self, request: GiveCommand) -> CommandTaken:
        """Examine a command. `RecordError` if it is refused; a repeated one is named in the answer."""
        command, decision = self._examined(request.jws.encode())
        if not decision.new:
            self._note_refusal(decision.reason)
            if decision.reason == "repeated":
                return CommandTaken(False, decision.reason)
            raise _refusal(command, decision.reason)
        outcome = self._begin(command, decision)
        if outcome:
            self._answer(command, outcome)
        if outcome and outcome.result == "refused":
            raise _refusal(command, outcome.reason)
        return CommandTaken(True)

    def _examined(self, token: bytes) -> tuple[Command, Decision]:
        runtime, node = self._runtime, self._runtime.config.node
        try:
            command = verify_command(token, command_keys(runtime.layout), node.site, node.id)
        except RecordError:
            self._note_refusal("not_verified")
            raise
        me = cast(Service, runtime.name)
        return command, decide(command, Situation(me, runtime.clock.boot_id, runtime.clock.mono_ms(), self._memory.last))

    def _begin(self, command: Command, decision: Decision) -> Outcome | None:
        """Its number is stored first. If that fails only an ack is executed: a press can be taken only once in any case."""
        kept = self._memory.take(command)
        if decision.act is None:
            return refused(decision.reason)
        if not kept and not isinstance(decision.act, Ack):
            return refused("not_kept")
        if self._memory.full:
            return refused("busy")
        return self._work[type(decision.act)](decision.act, partial(self._answer, command))

    def _answer(self, command: Command, outcome: Outcome) -> None:
        # Finished first: a crash between the two costs the answer, and makes no second, contrary one.
        if not (self._memory.finish(command.id) if outcome.final else self._memory.is_open(command.id)):
            return
        self.refused += outcome.result == "refused"
        self._say(command.id, command.name, command.number, outcome, " ".join(f"{k}={v}" for k, v in sorted(command.args.items())))

    def _say(self, id_: str, name: str, number: int, outcome: Outcome, args: str = "") -> None:
        result, reason, ref = outcome.result, outcome.reason, outcome.ref
        self._output.say(CommandAnswer(id_, name, number, result, reason, ref))
        if outcome.final:
            self._output.note("command", command=name, id=id_, number=number, args=args, result=result, reason=reason, ref=ref)

    def _note_refusal(self, reason: str) -> None:
        """Without an answer: anybody who has the broker can repeat such a command for ever."""
        self.refused += 1
        unnoted = self._refusals.take(time.monotonic())
        if unnoted is not None:
            self._output.note("command_refused", reason=reason, unnoted=unnoted)

    # -- the same for every service ----------------------------------------------------------------------------------------

    def _restart(self, _act: Restart, answer: Answer) -> None:
        """systemd starts the service again (Restart=always); `back` then answers."""
        answer(ACCEPTED)
        self._runtime.stop.set()

    def _log_level(self, act: SetLogLevel, _answer: Answer) -> Outcome:
        self._runtime.set_log_level(act.level, act.minutes)
        return DONE

    def _close_journal(self, _act: CloseJournal, _answer: Answer) -> Outcome:
        return DONE if self._output.begin_segment() else Outcome("failed", "disk")


def _refusal(command: Command, reason: str) -> RecordError:
    return RecordError(f"command: {command.name}: refused: {reason}", REASONS.get(reason, ""))

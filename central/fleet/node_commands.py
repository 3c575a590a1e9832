"""Commands to nodes over MQTT: what the node last said names its boot and its time, so that nobody has to know either."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from agent.messages import Alarm, CommandAnswer, Message, State, topic
from central.fleet.broker_connection import operator
from central.keys.key_folder import signer
from drivers.mqtt.session import Session
from privacy.errors import RecordError, UnreachableError, UsageError
from privacy.foreign import decode
from privacy.records.command import COMMAND, LONGEST_MS, Command
from privacy.records.jws import sign

_HEARD = ("state", "describe", "journal", "alarm/#", "event/#", "health/#", "rsp/#")
_QUIET_S, _STANDING_S, _ANSWER_S = 0.5, 5.0, 5.0
_NEXT_S = 75.0
"""A node tells its health each minute."""
_MOST = 1000
_RECKONED_MS = 30_000
"""What is left of the minute where the node's present time is reckoned: either clock may be off by half of it."""


class Heard(Struct, frozen=True):
    """What the broker knows of a node.

    end_ms  when a command sent now ends, in the node's time since its boot; None if that cannot be reckoned before it is heard anew
    press   the call for help that stands, "" if none does
    """

    boot_id: str
    end_ms: int | None
    press: str


def reckon(messages: Sequence[Message], now: datetime, *, live: bool) -> Heard | None:
    """From a node's messages, in the order of their arrival; None if none says its state. live: the last one was just published.

    What stands retained may be old: how long ago it was said is known by its time stamp, if the node's clock was right.
    """
    boots = [one.envelope.boot_id for one in messages if isinstance(one.body, State)]
    if not boots:
        return None
    last = max((one.envelope for one in messages if one.envelope.boot_id == boots[-1]), key=lambda envelope: envelope.mono_ms)
    calls = [one.body.ref for one in messages if isinstance(one.body, Alarm) and one.body.name == "help"]
    end_ms: int | None = None
    if live and last == messages[-1].envelope and not last.hist:
        end_ms = last.mono_ms + LONGEST_MS
    elif last.clock != "unknown":
        end_ms = last.mono_ms + max(0, round((now - last.t).total_seconds() * 1000)) + _RECKONED_MS
    return Heard(boots[-1], end_ms, calls[-1] if calls else "")


def command(keys: Path, node: tuple[str, str], name: str, args: Mapping[str, str], heard: Heard) -> tuple[Command, bytes]:
    """A command and its signed text, for the boot in which the node was heard. An ack names the call that stands."""
    check_name(name)
    args = dict(args)
    if name == "ack" and "press" not in args:
        if not heard.press:
            raise UsageError(f"send: ack: no call for help stands at {'/'.join(node)}", "name another press with --arg press=ID")
        args["press"] = heard.press
    number = int(datetime.now(UTC).timestamp() * 1000)
    record = Command(name, *node, str(uuid.uuid4()), args, heard.boot_id, number, heard.end_ms or 0)
    return record, sign(record, signer(keys, "command"), COMMAND)


def check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z-]{1,32}", name):
        raise UsageError(f"command: name: must be lower case and hyphens (got {name!r})", "for instance ack")


def send_command(keys: Path, broker: str, node: tuple[str, str], name: str, args: Mapping[str, str]) -> dict[str, Any]:
    """Send it, and what came of it: topic, id, and result and reason as the node answered (result: none if it did not)."""
    check_name(name)
    with operator(keys, broker, tuple(topic(*node, one) for one in _HEARD)) as session:
        ear = _Ear("/".join(node), broker, session)
        record, token = command(keys, node, name, args, ear.heard())
        target = topic(*node, "cmd", name)
        session.publish(target, token)
        answer = ear.answer(record.id)
    facts = {"topic": target, "id": record.id, "args": record.args}
    return facts | ({"result": answer.result, "reason": answer.reason} if answer else {"result": "none", "reason": "no answer yet"})


@dataclass(frozen=True)
class _Ear:
    """What one node says, however much it says: each wait has an end."""

    node: str
    broker: str
    session: Session

    def heard(self) -> Heard:
        """What stands at the broker; if the node's time cannot be reckoned from it, what the node says next."""
        found = self._standing()
        heard = reckon(found, datetime.now(UTC), live=False)
        end_s = time.monotonic() + _NEXT_S
        while heard and heard.end_ms is None:
            one = self._next(end_s)
            if one is None or len(found) >= 2 * _MOST:
                raise UnreachableError(
                    f"send: {self.node} says nothing of its time, and its clock is not known to be right",
                    "is it connected? `lykta status` there",
                )
            found.append(one)
            heard = reckon(found, datetime.now(UTC), live=True)
        if heard is None:
            raise UnreachableError(f"send: {self.node} was never heard at broker {self.broker}", "is it enrolled, and switched on?")
        return heard

    def answer(self, command_id: str) -> CommandAnswer | None:
        end_s = time.monotonic() + _ANSWER_S
        while one := self._next(end_s):
            if isinstance(one.body, CommandAnswer) and one.body.id == command_id:
                return one.body
        return None

    def _standing(self) -> list[Message]:
        """What comes at once, until there is a pause."""
        found: list[Message] = []
        end_s = time.monotonic() + _STANDING_S
        while len(found) < _MOST and (one := self._next(min(end_s, time.monotonic() + _QUIET_S))):
            found.append(one)
        return found

    def _next(self, end_s: float) -> Message | None:
        """The next message that can be read, by then: others are of a node of another version, or clear an alarm."""
        while heard := self.session.receive(end_s - time.monotonic()):
            with suppress(RecordError):
                return decode(heard[1], Message, "message")
        return None

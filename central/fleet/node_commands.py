"""Sends commands to nodes over MQTT. The node's last messages give its boot id and its time, which a command must name."""

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
from central.fleet.broker_connection import operator_session
from central.keys.key_folder import signer
from drivers.mqtt.session import Session
from privacy.errors import RecordError, UnreachableError, UsageError
from privacy.foreign import decode
from privacy.records.command import COMMAND, LONGEST_MS, Command
from privacy.records.jws import sign

_TOPICS = ("state", "describe", "journal", "alarm/#", "event/#", "health/#", "rsp/#")
_QUIET_S, _RETAINED_S, _ANSWER_S = 0.5, 5.0, 5.0
_NEXT_S = 75.0
"""Seconds to wait for the next message: a node reports its health each minute."""
_MOST = 1000
_ESTIMATE_MS = 30_000
"""How long a command is valid if the node's time is estimated from an old message: half of the usual minute, so that the estimate
may be half a minute wrong in either direction."""


class LastHeard(Struct, frozen=True):
    """What a node's messages say about it.

    end_ms  when a command sent now expires, in the node's milliseconds since boot; None if only a new message can tell
    press   id of the call for help that is open, "" if none is
    """

    boot_id: str
    end_ms: int | None
    press: str


def summarize(messages: Sequence[Message], now: datetime, *, live: bool) -> LastHeard | None:
    """Evaluate a node's messages, in the order of arrival; None if none holds its state. live: the last one was just published.

    Retained messages may be old; their age follows from their time stamp, if the node's clock was trusted.
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
        end_ms = last.mono_ms + max(0, round((now - last.t).total_seconds() * 1000)) + _ESTIMATE_MS
    return LastHeard(boots[-1], end_ms, calls[-1] if calls else "")


def make_command(keys: Path, node: tuple[str, str], name: str, args: Mapping[str, str], heard: LastHeard) -> tuple[Command, bytes]:
    """A command and its signed text, for the boot in `heard`. `ack` names the open call, unless args name another press."""
    check_name(name)
    args = dict(args)
    if name == "ack" and "press" not in args:
        if not heard.press:
            raise UsageError(f"send: ack: no call for help is open at {'/'.join(node)}", "name another press with --arg press=ID")
        args["press"] = heard.press
    number = int(datetime.now(UTC).timestamp() * 1000)
    record = Command(name, *node, str(uuid.uuid4()), args, heard.boot_id, number, heard.end_ms or 0)
    return record, sign(record, signer(keys, "command"), COMMAND)


def check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z-]{1,32}", name):
        raise UsageError(f"command: name: must be lower case and hyphens (got {name!r})", "for instance ack")


def send_command(keys: Path, broker: str, node: tuple[str, str], name: str, args: Mapping[str, str]) -> dict[str, Any]:
    """Send a command and wait for the answer: topic, id, args, the node's result and reason (result "none": no answer)."""
    check_name(name)
    with operator_session(keys, broker, tuple(topic(*node, one) for one in _TOPICS)) as session:
        listener = _NodeListener("/".join(node), broker, session)
        record, token = make_command(keys, node, name, args, listener.last_heard())
        target = topic(*node, "cmd", name)
        session.publish(target, token)
        answer = listener.answer(record.id)
    facts = {"topic": target, "id": record.id, "args": record.args}
    return facts | ({"result": answer.result, "reason": answer.reason} if answer else {"result": "none", "reason": "no answer yet"})


@dataclass(frozen=True)
class _NodeListener:
    """Receives the messages of one node. Every wait has a limit, however many messages the node sends."""

    node: str
    broker: str
    session: Session

    def last_heard(self) -> LastHeard:
        """Evaluate the retained messages and, if the node's time does not follow from them, its next messages."""
        found = self._retained()
        heard = summarize(found, datetime.now(UTC), live=False)
        end_s = time.monotonic() + _NEXT_S
        while heard and heard.end_ms is None:
            one = self._next(end_s)
            if one is None or len(found) >= 2 * _MOST:
                raise UnreachableError(
                    f"send: {self.node} does not report its time, and its clock is not trusted",
                    "is it connected? `lykta status` there",
                )
            found.append(one)
            heard = summarize(found, datetime.now(UTC), live=True)
        if heard is None:
            raise UnreachableError(
                f"send: {self.node} has never sent its state to broker {self.broker}", "is it enrolled, and switched on?"
            )
        return heard

    def answer(self, command_id: str) -> CommandAnswer | None:
        end_s = time.monotonic() + _ANSWER_S
        while one := self._next(end_s):
            if isinstance(one.body, CommandAnswer) and one.body.id == command_id:
                return one.body
        return None

    def _retained(self) -> list[Message]:
        """The messages that arrive first, until there is a pause of `_QUIET_S`."""
        found: list[Message] = []
        end_s = time.monotonic() + _RETAINED_S
        while len(found) < _MOST and (one := self._next(min(end_s, time.monotonic() + _QUIET_S))):
            found.append(one)
        return found

    def _next(self, end_s: float) -> Message | None:
        """The next readable message before `end_s` (monotonic). Skipped: other versions, and the empty ones that clear an alarm."""
        while heard := self.session.receive(end_s - time.monotonic()):
            with suppress(RecordError):
                return decode(heard[1], Message, "message")
        return None

"""Sends commands to nodes over MQTT. The node's last messages give its boot id and its time, which a command must name."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from agent.messages import Alarm, CommandAnswer, Message, State, topic
from central.fleet.broker_connection import operator_session
from central.keys.access_log import Officer, log_access
from central.keys.certificates import issued_certificates
from central.keys.key_folder import signer
from central.keys.officers import authorize
from drivers.mqtt.session import Session
from privacy.errors import RecordError, UnreachableError, UsageError
from privacy.foreign import decode
from privacy.records.command import COMMAND, LONGEST_MS, Command
from privacy.records.command_table import COMMANDS, act_of, arguments_of
from privacy.records.journal import Fact
from privacy.records.jws import sha256_hex, sign

_TOPICS = ("state", "describe", "journal", "alarm/#", "event/#", "health/#", "rsp/#")
FINAL = ("done", "refused", "failed")
"""Results after which no other answer to a command comes."""
_QUIET_S, _RETAINED_S = 0.5, 5.0
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
    lost    whether the broker says that the node is not connected
    """

    boot_id: str
    end_ms: int | None
    press: str
    lost: bool = False


class Desk(Struct, frozen=True):
    """Where commands are sent from. broker: HOST:PORT; officer: who sends, "" for the only one with a key in KEYS.

    role  whose certificate the connection has: ops or desk
    """

    keys: Path
    broker: str
    officer: str
    role: str = "ops"


class Report(Struct, frozen=True):
    """What was sent, and the node's answers in their order; the last one is final, or more may come."""

    topic: str
    id: str
    args: dict[str, str]
    answers: tuple[CommandAnswer, ...]

    @property
    def final(self) -> CommandAnswer | None:
        return self.answers[-1] if self.answers and self.answers[-1].result in FINAL else None


def summarize(messages: Sequence[Message], now: datetime, *, live: bool) -> LastHeard | None:
    """Evaluate a node's messages, in the order of arrival; None if none holds its state. live: the last one was just published.

    Retained messages may be old; their age follows from their time stamp, if the node's clock was trusted.
    """
    states = [one for one in messages if isinstance(one.body, State)]
    boots = [one.envelope.boot_id for one in states]
    if not boots:
        return None
    last = max((one.envelope for one in messages if one.envelope.boot_id == boots[-1]), key=lambda envelope: envelope.mono_ms)
    calls = [one.body.ref for one in messages if isinstance(one.body, Alarm) and one.body.name == "help"]
    end_ms: int | None = None
    if live and last == messages[-1].envelope and not last.hist:
        end_ms = last.mono_ms + LONGEST_MS
    elif last.clock != "unknown":
        end_ms = last.mono_ms + max(0, round((now - last.t).total_seconds() * 1000)) + _ESTIMATE_MS
    lost = isinstance(states[-1].body, State) and states[-1].body.state == "lost"
    return LastHeard(boots[-1], end_ms, calls[-1] if calls else "", lost)


def check_command(name: str, args: Mapping[str, str]) -> None:
    """`UsageError` for a command that no node has, or arguments that none takes. The press of an ack may be left out."""
    if name not in COMMANDS:
        raise UsageError(f"send: command: {name!r} is unknown", f"known: {', '.join(COMMANDS)}")
    try:
        act_of(name, {"press": "…", **args} if name == "ack" else args)
    except ValueError as problem:
        known = ", ".join(f"{key}={text}" for key, text in arguments_of(COMMANDS[name]).items())
        raise UsageError(f"send: {name}: {problem}", f"--arg {known}" if known else "it has no arguments") from problem


def check_enrolled(keys: Path, node: str) -> None:
    """`UsageError` if this centre never issued a certificate to that node ("site/node")."""
    if not any(one.name == node for one in issued_certificates(keys)):
        raise UsageError(f"send: node: {node} was never enrolled in {keys}", "lykta-central bundle enrols a node")


def make_command(
    keys: Path, officer: Officer, node: tuple[str, str], name: str, args: Mapping[str, str], heard: LastHeard
) -> tuple[Command, bytes]:
    """A command and its signed text, for the boot in `heard`; it is then in the access log. `ack` names the open call, unless args
    name another press."""
    args = dict(args)
    if name == "ack" and "press" not in args:
        if not heard.press:
            raise UsageError(f"send: ack: no call for help is open at {'/'.join(node)}", "name another press with --arg press=ID")
        args["press"] = heard.press
    number = int(datetime.now(UTC).timestamp() * 1000)
    record = Command(name, *node, str(uuid.uuid4()), args, heard.boot_id, number, heard.end_ms or 0)
    token = sign(record, signer(keys, "command"), COMMAND)
    said = " ".join(f"{key}={value}" for key, value in sorted(args.items()))
    facts: dict[str, Fact] = {"node": "/".join(node), "command": name, "args": said, "id": record.id, "number": number}
    log_access(keys, "command", {**facts, "sha256": sha256_hex(token)}, officer)
    return record, token


def send_command(
    desk: Desk,
    node: tuple[str, str],
    name: str,
    args: Mapping[str, str],
    wait_s: float,
    on_answer: Callable[[CommandAnswer], None],
    before: Callable[[LastHeard], None] = lambda _: None,
) -> Report:
    """Send a command and wait so many seconds for the final answer. `AccessError` if the officer may not send commands,
    `UnreachableError` if the node is not connected.

    on_answer   called with each answer as it comes
    before      called with what was heard of the node, before anything is signed; an exception of it leaves the command unsent
    """
    check_command(name, args)
    check_enrolled(desk.keys, "/".join(node))
    officer = authorize(desk.keys, desk.officer, "command", {"node": "/".join(node), "command": name})
    answers: list[CommandAnswer] = []
    with operator_session(desk.keys, desk.broker, tuple(topic(*node, one) for one in _TOPICS), role=desk.role) as session:
        listener = _NodeListener("/".join(node), desk.broker, session)
        heard = listener.last_heard()
        before(heard)
        record, token = make_command(desk.keys, officer, node, name, args, heard)
        target = topic(*node, "cmd", name)
        session.publish(target, token)
        for answer in listener.answers(record.id, wait_s):
            answers.append(answer)
            on_answer(answer)
    return Report(target, record.id, record.args, tuple(answers))


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
        while heard and heard.end_ms is None and not heard.lost:
            one = self._next(end_s)
            if one is None or len(found) >= 2 * _MOST:
                raise UnreachableError(
                    f"send: {self.node} does not report its time, and its clock is not trusted",
                    "is it connected? `lykta status` there",
                )
            found.append(one)
            heard = summarize(found, datetime.now(UTC), live=True)
        if heard is None:
            raise UsageError(f"send: node: {self.node} has never sent its state to broker {self.broker}", "is it switched on?")
        if heard.lost:
            raise UnreachableError(f"send: {self.node} is not connected: its state is lost", "is it powered, and has it a network?")
        return heard

    def answers(self, command_id: str, wait_s: float) -> Iterator[CommandAnswer]:
        """The answers to a command, up to the final one or the end of the wait."""
        end_s = time.monotonic() + wait_s
        while one := self._next(end_s):
            if isinstance(one.body, CommandAnswer) and one.body.id == command_id:
                yield one.body
                if one.body.result in FINAL:
                    return

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

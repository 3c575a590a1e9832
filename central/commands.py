"""Commands to nodes over MQTT: what the node last said names its boot and its time, so that nobody has to know either."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from msgspec import Struct

from agent.messages import Alarm, CommandAnswer, Message, State, topic
from central.bundle import Address
from central.folder import signer
from drivers.mqtt import Credentials, Link
from privacy.command import COMMAND, LONGEST_MS, Command
from privacy.errors import RecordError, UnreachableError, UsageError
from privacy.foreign import decode
from privacy.records import sign

_HEARD = ("state", "describe", "journal", "alarm/#", "event/#", "health/#", "rsp/#")
_UP_S, _QUIET_S, _ANSWER_S = 5.0, 0.5, 5.0
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
    with _Ear.at(keys, broker, node) as ear:
        record, token = command(keys, node, name, args, ear.heard())
        target = topic(*node, "cmd", name)
        ear.publish(target, token)
        answer = ear.answer(record.id)
    facts = {"topic": target, "id": record.id, "args": record.args}
    return facts | ({"result": answer.result, "reason": answer.reason} if answer else {"result": "none", "reason": "no answer yet"})


@dataclass(frozen=True)
class _Ear:
    """One connection of an operator that hears a node."""

    node: str
    broker: str
    link: Link
    messages: SimpleQueue[Message]
    refusals: SimpleQueue[str]

    @classmethod
    @contextmanager
    def at(cls, keys: Path, broker: str, node: tuple[str, str]) -> Iterator[_Ear]:
        address, credentials = Address.parse(broker), Credentials(keys / "ca.pem", keys / "ops.pem", keys / "ops.key")
        links: SimpleQueue[str] = SimpleQueue()
        messages: SimpleQueue[Message] = SimpleQueue()
        refusals: SimpleQueue[str] = SimpleQueue()

        def received(_topic: str, payload: bytes) -> None:
            try:
                messages.put(decode(payload, Message, "message"))
            except RecordError:  # a node of another version, or an empty message that clears an alarm
                return

        link = Link(
            f"ops-send-{uuid.uuid4()}",
            credentials,
            acknowledged=lambda _token, refusal: refusals.put(refusal),
            changed=lambda up, reason: links.put("" if up else reason),
            received=received,
            subscribe=tuple(topic(*node, one) for one in _HEARD),
        )
        link.open(address.host, address.port)
        try:
            _await_link(links, broker)
            yield cls("/".join(node), broker, link, messages, refusals)
        finally:
            link.close()

    def heard(self) -> Heard:
        """What stands at the broker; if the node's time cannot be reckoned from it, what the node says next."""
        found = self._standing()
        heard = reckon(found, datetime.now(UTC), live=False)
        if heard and heard.end_ms is None:
            found.append(self._next(_NEXT_S))
            heard = reckon(found, datetime.now(UTC), live=True)
        if heard is None or heard.end_ms is None:
            raise UnreachableError(f"send: {self.node} was never heard at broker {self.broker}", "is it enrolled, and switched on?")
        return heard

    def publish(self, target: str, token: bytes) -> None:
        self.link.publish(target, token, retain=False)
        try:
            refusal = self.refusals.get(timeout=_ANSWER_S)
        except Empty:
            refusal = "no answer"
        if refusal:
            raise UnreachableError(f"send: broker {self.broker}: {refusal}", "is the broker up, and does its access list let ops?")

    def answer(self, command_id: str) -> CommandAnswer | None:
        end = datetime.now(UTC).timestamp() + _ANSWER_S
        while (left := end - datetime.now(UTC).timestamp()) > 0:
            try:
                body = self.messages.get(timeout=left).body
            except Empty:
                return None
            if isinstance(body, CommandAnswer) and body.id == command_id:
                return body
        return None

    def _standing(self) -> list[Message]:
        found: list[Message] = []
        try:
            while len(found) < _MOST:
                found.append(self.messages.get(timeout=_QUIET_S))
        except Empty:
            return found
        return found

    def _next(self, within_s: float) -> Message:
        try:
            return self.messages.get(timeout=within_s)
        except Empty as problem:
            raise UnreachableError(
                f"send: {self.node} says nothing, and its clock is not known to be right", "is it connected? `lykta status` there"
            ) from problem


def _await_link(links: SimpleQueue[str], broker: str) -> None:
    try:
        trouble = links.get(timeout=_UP_S)
    except Empty:
        trouble = "no answer"
    if trouble:
        raise UnreachableError(f"send: broker {broker}: {trouble}", "is the broker up, and does it trust ops.pem?")

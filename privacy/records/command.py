"""Commands: short-lived, signed requests of operations to a node. Verified by the service that carries them out, not by the uplink.

A command is checked without the wall clock: it names the boot, a number that rises within that boot, and an end in the node's time
since boot. So a replayed or delayed command is not carried out.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from privacy.errors import RecordError
from privacy.foreign import END
from privacy.records.command_table import COMMANDS, REASONS, Act, Service, act_of, service_of
from privacy.records.jws import TrustedKeys, peek, verify_listed

COMMAND = "lykta-command"
LONGEST_MS = 60_000
"""How far a command's end may lie after the node's present time since boot."""
BootId = Annotated[str, Meta(min_length=1, max_length=64)]
CommandId = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9-]{{1,64}}{END}")]
CommandName = Annotated[str, Meta(pattern=rf"^[a-z-]{{1,32}}{END}")]
Milliseconds = Annotated[int, Meta(ge=0, lt=2**53)]
Word = Annotated[str, Meta(max_length=256)]
Refusal = Literal["", "other_boot", "other_service", "repeated", "expired", "too_long", "unknown", "arguments"]


class Command(Struct, frozen=True, forbid_unknown_fields=True):
    """One command to one node.

    name     of `privacy.records.command_table`
    id       part of the answer's topic: rsp/<id>
    args     by name, as text
    boot_id  of the boot from which the node last reported
    number   rises with each command: milliseconds of the centre's clock since 1970
    end_ms   end of validity, milliseconds since that boot
    """

    name: CommandName
    site: str
    node: str
    id: CommandId
    args: Annotated[dict[Word, Word], Meta(max_length=16)]
    boot_id: BootId
    number: Annotated[int, Meta(ge=1, lt=2**53)]
    end_ms: Milliseconds


class Situation(Struct, frozen=True):
    """The facts when a command arrives at a service.

    now_ms  since boot; last: number of the last command of this boot that this service examined
    """

    service: Service
    boot_id: str
    now_ms: int
    last: int


class Decision(Struct, frozen=True):
    """What to do, or None and the reason.

    new  the command belongs to this boot and service, and has a number that no other had: it is answered. Any other gets no answer,
         so that replayed commands cannot fill the outbox
    """

    act: Act | None
    reason: Refusal
    new: bool

    @property
    def hint(self) -> str:
        return REASONS.get(self.reason, "")


def verify_command(token: bytes, trusted: TrustedKeys, site: str, node: str) -> Command:
    """The command, if a trusted key signed it for this node; otherwise `RecordError`. Whether it is still valid says `decide`."""
    command = verify_listed(token, COMMAND, trusted, Command)
    if (command.site, command.node) != (site, node):
        raise RecordError(f"command: node: is for {command.site}/{command.node}, this node is {site}/{node}", "send it there")
    return command


def decide(command: Command, situation: Situation) -> Decision:
    """Whether a service may obey a verified command: facts in, decision out."""
    if command.boot_id != situation.boot_id:
        return Decision(None, "other_boot", new=False)
    if service_of(command.name, command.args) != situation.service:
        return Decision(None, "other_service", new=False)
    if command.number <= situation.last:
        return Decision(None, "repeated", new=False)
    if command.end_ms < situation.now_ms:
        return Decision(None, "expired", new=True)
    if command.end_ms > situation.now_ms + LONGEST_MS:
        return Decision(None, "too_long", new=True)
    if command.name not in COMMANDS:
        return Decision(None, "unknown", new=True)
    try:
        return Decision(act_of(command.name, command.args), "", new=True)
    except ValueError:
        return Decision(None, "arguments", new=True)


def addressed_to(token: bytes) -> Service:
    """The service that a command names, unverified: to pass it on. `RecordError` if it is no command."""
    command = peek(token, COMMAND, Command)
    return service_of(command.name, command.args)

"""Commands: short-lived, signed requests of operations to a node. Verified by the service that carries them out, not by the uplink.

A command is checked without the wall clock: it names the boot, a number that rises within that boot, and an end in the node's time
since boot. So a replayed or delayed command is not carried out.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from privacy.errors import RecordError
from privacy.records.jws import TrustedKeys, verify_listed

COMMAND = "lykta-command"
LONGEST_MS = 60_000
"""How far a command's end may lie after the node's present time since boot."""
BootId = Annotated[str, Meta(min_length=1, max_length=64)]
CommandId = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9-]{1,64}\Z")]
Milliseconds = Annotated[int, Meta(ge=0, lt=2**53)]
Word = Annotated[str, Meta(max_length=256)]


class Command(Struct, frozen=True, forbid_unknown_fields=True):
    """One command to one node.

    name     ack or light
    id       part of the answer's topic: rsp/<id>
    args     ack: press, as in event/help; light: state (on, off) and minutes
    boot_id  of the boot from which the node last reported
    number   rises with each command: milliseconds of the centre's clock since 1970
    end_ms   end of validity, milliseconds since that boot
    """

    name: Annotated[str, Meta(pattern=r"\A[a-z-]{1,32}\Z")]
    site: str
    node: str
    id: CommandId
    args: dict[Word, Word]
    boot_id: BootId
    number: Annotated[int, Meta(ge=1, lt=2**53)]
    end_ms: Milliseconds


def verify_command(token: bytes, trusted: TrustedKeys, site: str, node: str) -> Command:
    """The command, if a trusted key signed it for this node; otherwise `RecordError`. Whether it is still valid, io checks."""
    command = verify_listed(token, COMMAND, trusted, Command)
    if (command.site, command.node) != (site, node):
        raise RecordError(f"command: node: is for {command.site}/{command.node}, this node is {site}/{node}", "send it there")
    return command

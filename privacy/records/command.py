"""Commands: what ops asks of a node now. Signed, short-lived, verified by the service that obeys, not by the uplink.

No wall clock is needed to judge one: it names the boot, a number that rises within it, and an end in the node's own time since
that boot. So neither a replay nor a delay makes it count twice or late.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from privacy.errors import RecordError
from privacy.records.jws import TrustedKeys, verify_listed

COMMAND = "lykta-command"
LONGEST_MS = 60_000
"""How far ahead of the node's own time a command's end may lie."""
BootId = Annotated[str, Meta(min_length=1, max_length=64)]
CommandId = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9-]{1,64}\Z")]
Milliseconds = Annotated[int, Meta(ge=0, lt=2**53)]
Word = Annotated[str, Meta(max_length=256)]


class Command(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be done, by which node, in which boot.

    name     ack or light
    id       names the answer: rsp/<id>
    args     ack: press, as event/help names it; light: state (on, off) and minutes
    boot_id  of the boot in which the node was last heard
    number   rises with each command: milliseconds of the centre's clock since 1970
    end_ms   in the node's milliseconds since that boot; pointless afterwards
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
    """The command, if a trusted key signed it for this node; otherwise `RecordError`. Whether it still stands, io decides."""
    command = verify_listed(token, COMMAND, trusted, Command)
    if (command.site, command.node) != (site, node):
        raise RecordError(f"command: node: is for {command.site}/{command.node}, this node is {site}/{node}", "send it there")
    return command

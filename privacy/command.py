"""Commands: what ops asks of a node now. Signed, short-lived, verified by the service that obeys, not by the uplink."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from privacy.basis import Moment
from privacy.errors import RecordError
from privacy.records import TrustedKeys, verify_listed

COMMAND = "lykta-command"
LONGEST = timedelta(seconds=60)


class Command(Struct, frozen=True, forbid_unknown_fields=True):
    """name: what to do; args: flat words; id: names the answer; pointless after `expires`."""

    name: str
    site: str
    node: str
    id: str
    args: dict[str, str]
    issued: Moment
    expires: Moment


def verify_command(token: bytes, trusted: TrustedKeys, site: str, node: str, now: datetime) -> Command:
    """The command, if a trusted key signed it for this node and it still stands; otherwise `RecordError`."""
    command = verify_listed(token, COMMAND, trusted, Command)
    if (command.site, command.node) != (site, node):
        raise RecordError(f"command: node: is for {command.site}/{command.node}, this node is {site}/{node}", "send it there")
    if command.expires - command.issued > LONGEST:
        raise RecordError("command: expires: stands longer than 60 s", "sign it shorter")
    if not command.issued - LONGEST <= now <= command.expires:
        raise RecordError(f"command: expires: not valid at {now:%H:%M:%S} UTC", "send it again; check both clocks")
    return command

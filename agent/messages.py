"""Every MQTT message of a node as a frozen type. docs/mqtt is generated from here; topics and fields are contracts.

Never an image, never a coordinate of a person, never an exact count of people (R44).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct, field

from agent.envelope import Envelope, Route, Sent
from agent.ranks import Rank
from agent.statistics import HourStats, PeopleClass
from privacy import foreign
from privacy.records.command import CommandId, CommandName, Word
from privacy.records.order import Act

PREFIX = "lykta/v1"
StateName = Literal["starting", "ready", "degraded", "off", "blind", "setup", "stopping", "lost"]
LONGEST = 128 * 1024
"""Bytes of a message: an order's answer holds a signed record."""
Owner = Literal["nobody", "technician", "ops", "lawyer"]
ClipStage = Literal["recorded", "uploading", "uploaded", "expired", "dropped"]
Cause = Literal["bound", "thinned", "expired", "corrupt", "will", "cleared", "set_aside"]
CommandResult = Literal["accepted", "running", "done", "refused", "failed"]
HealthGroup = Literal["system", "power", "storage", "camera", "privacy", "link", "clock", "buffer", "agent"]


class State(Sent, frozen=True, tag="state"):
    """lykta/v1/<site>/<node>/state, retained; birth and will. `services` says the same of each service."""

    route: ClassVar = Route("state", Rank.STATE, retain=True)
    state: StateName
    reason: str
    since: datetime | None
    until: datetime | None
    owner: Owner
    services: dict[str, str]


class RecordInForce(Struct, frozen=True):
    """A signed record in force. id: its own, or the version of a configuration; end: of a basis, None for the others."""

    id: str
    end: datetime | None


class Describe(Sent, frozen=True, tag="describe"):
    """lykta/v1/<site>/<node>/describe, retained: what the node is and has; sent anew when it changes.

    serial        of the board, "" off a Pi
    sensors       every one in use is declared (R15)
    commands      those that this node knows, each with its arguments: by name, range and default as text
    breaks        links to the broker that ended in this run, by cause: `session_taken_over` is a second client with this name.
                  session_lost: the broker did not know us again, for that reason or because it lost its store
    stop, area    name of the stop by the basis in force, "" without one; and its area
    intervals     seconds between two messages of a group of health numbers
    records       in force: basis, view and config
    certificates  when each ends: of TLS and of each unit; None for one that cannot be read
    """

    route: ClassVar = Route("describe", Rank.STATE, retain=True)
    model: str
    serial: str
    sensors: tuple[str, ...]
    software: str
    schemas: dict[str, int]
    commands: Annotated[dict[CommandName, Annotated[dict[Word, Word], Meta(max_length=16)]], Meta(max_length=64)]
    breaks: dict[str, int] = field(default_factory=dict)
    stop: str = ""
    area: str = ""
    intervals: dict[HealthGroup, Annotated[int, Meta(gt=0)]] = field(default_factory=dict)
    records: dict[str, RecordInForce] = field(default_factory=dict)
    certificates: dict[str, datetime | None] = field(default_factory=dict)


class Presence(Sent, frozen=True, tag="presence"):
    """event/presence: how full the stop is, in classes. `seen` is when the picture was taken."""

    route: ClassVar = Route("event/presence", Rank.PRESENCE)
    people: PeopleClass
    seen: datetime


class Tamper(Sent, frozen=True, tag="tamper"):
    """event/tamper: the lens is covered, out of focus or blinded, the camera was turned, it repeats the same picture (frozen),
    or the case opened; and when that is over.

    `seen` is when the picture was taken that showed it, or when the case's switch did.
    """

    route: ClassVar = Route("event/tamper", Rank.EVENT)
    kind: Literal["covered", "defocused", "blinded", "moved", "frozen", "case"]
    action: Literal["found", "over", "confirmed"]
    seen: datetime


class Breach(Sent, frozen=True, tag="breach"):
    """event/breach: the leak audit takes it that somebody may be visible in a masked frame; a person judges it (R40).

    frame  its number in the stream; `visible`: what was found; never where
    """

    route: ClassVar = Route("event/breach", Rank.EVENT)
    frame: int
    visible: Literal["person", "face"]
    seen: datetime


class Help(Sent, frozen=True, tag="help"):
    """event/help: the help button. `press` names the press in alarm, clip and acknowledgement."""

    route: ClassVar = Route("event/help", Rank.URGENT)
    press: str
    action: Literal["pressed", "taken", "unanswered"]


class Switch(Sent, frozen=True, tag="switch"):
    """event/door, event/light and event/motion: a switch or sensor of the stop changed.

    what   door: the cabinet's door; light: the stop's light; motion: something moves
    state  door: open | closed; light: on | off | fault (switched on, no current) | mended; motion: begun | over
    """

    route: ClassVar = Route("event/{what}", Rank.EVENT)
    what: Literal["door", "light", "motion"]
    state: Literal["open", "closed", "on", "off", "fault", "mended", "begun", "over"]


class HelpTest(Sent, frozen=True, tag="help_test"):
    """event/help_test: the weekly test of the help path from this node to the centre, without lamp, alarm or clip.

    It is the centre that misses it: one that does not come for eight days is a broken help point.

    button  the contact as it stands: one that is closed all the time is jammed, and no press is heard any more
    """

    route: ClassVar = Route("event/help_test", Rank.EVENT)
    test: str
    button: Literal["open", "closed"]


class Rescue(Sent, frozen=True, tag="rescue"):
    """event/link: a rung of the link rescue was taken, told when the link is back.

    Its envelope says when the uplink took it into the outbox: a second later, or after a reboot in the next boot.
    rung    reconnect (15 min without a broker), modem (30 min), reboot (6 h); quiet_s: how long the broker was away then
    result  done, or why not: refused by a rule (hours, hold, help, daily), not fitted, failed
    """

    route: ClassVar = Route("event/link", Rank.EVENT)
    rung: Literal["reconnect", "modem", "reboot"]
    result: Literal["done", "hours", "hold", "help", "daily", "not_fitted", "failed"]
    quiet_s: Annotated[int, Meta(ge=0)]


class Failure(Sent, frozen=True, tag="failure"):
    """event/failure: the last word of a unit that ended in failure, written by the service manager's hook.

    result  of systemd: exit-code, signal, watchdog, timeout, …; status: its exit code or signal
    final   it will not be started again before its records or configuration change
    """

    route: ClassVar = Route("event/failure", Rank.EVENT)
    unit: str
    result: str
    status: str
    final: bool


class Reported(Sent, frozen=True, tag="reported"):
    """config/reported, basis/reported, view/reported, retained: what is in force here, and what became of the one last desired.

    id       of the record or the version of the configuration that is in force, "" if there is none
    desired  SHA-256 of the signed text last desired; result: of placing it, with the reason
    """

    route: ClassVar = Route("{what}/reported", Rank.STATE, retain=True)
    what: Literal["config", "basis", "view"]
    id: str
    desired: str
    result: Literal["none", "placed", "refused"]
    reason: str


class CertificateWanted(Sent, frozen=True, tag="certificate_wanted"):
    """cert/<unit>/wanted, retained: the signed wish for a certificate of a unit's new key; cert/<unit>/desired answers, in PEM."""

    route: ClassVar = Route("cert/{unit}/wanted", Rank.STATE, retain=True)
    unit: str
    jws: str


class Alarm(Sent, frozen=True, tag="alarm"):
    """alarm/<name>, retained while active; an empty message clears it."""

    route: ClassVar = Route("alarm/{name}", Rank.URGENT, retain=True)
    name: str
    reason: str
    ref: str


class Health(Sent, frozen=True, tag="health"):
    """health/<group>: flat numbers and a few words; null with the reason beside it where a value cannot be read.

    words  stable codes and names of the kernel's (an interface), each of at most 64 characters. docs/HEALTH.md lists all
    """

    route: ClassVar = Route("health/{group}", Rank.HEALTH)
    group: HealthGroup
    values: dict[str, float | int | None]
    unreadable: dict[str, str]
    words: dict[str, str] = field(default_factory=dict)


class ClipNote(Sent, frozen=True, tag="clip"):
    """clip/<id>: the life of a clip."""

    route: ClassVar = Route("clip/{clip}", Rank.EVENT)
    clip: str
    stage: ClipStage
    trigger: str
    reason: str
    bytes: Annotated[int, Meta(ge=0)]


class Tombstone(Sent, frozen=True, tag="tombstone"):
    """event/tombstone: numbers of an epoch whose messages will not come, and why: no gap in seq is without a cause.

    ranges  first and last number of each, in order
    cause   bound: no room; thinned: health older than a day, one batch an hour stays; expired: nobody needs it any more;
            corrupt: the database broke, and what was not heard of its epoch ("" if that cannot be read) is lost; or a message in it
            cannot be read;
            will: the number stands in the will, which is heard only if the link was lost; cleared: an empty message had it;
            set_aside: the link broke each time it was sent alone, or the broker never acknowledged it, while others passed
    A number that was heard as well was on its way when it went.
    """

    route: ClassVar = Route("event/tombstone", Rank.TOMBSTONE)
    epoch: str
    cause: Cause
    ranges: tuple[tuple[int, int], ...]


class ChainHead(Struct, frozen=True):
    """Where a unit's journal stands: its entries, and the SHA-256 of the last line ("" of an empty one)."""

    length: Annotated[int, Meta(ge=0)]
    sha256: str


class Heads(Sent, frozen=True, tag="heads"):
    """journal, retained: the head of each unit's chain, so that a chain cut or written anew on the node disagrees (R32)."""

    route: ClassVar = Route("journal", Rank.STATE, retain=True)
    heads: dict[str, ChainHead]


class OrderAnswer(Sent, frozen=True, tag="order"):
    """rsp/order-<number>: what came of an order. jws: the signed answer, of which the other fields are a copy."""

    route: ClassVar = Route("rsp/order-{number}", Rank.STATE)
    number: Annotated[int, Meta(ge=1)]
    act: Act
    result: Literal["done", "refused"]
    reason: str
    jws: str


class CommandAnswer(Sent, frozen=True, tag="command"):
    """rsp/<id>: what came of a command; done, refused and failed are final, others may come before.

    reason  a code of `privacy.records.command_table.REASONS`, "" without one; ref: what the command made, as the id of a clip
    """

    route: ClassVar = Route("rsp/{id}", Rank.STATE)
    id: CommandId
    name: str
    number: Annotated[int, Meta(ge=1)]
    result: CommandResult
    reason: str
    ref: str = ""


Body = (
    State
    | Describe
    | Presence
    | Tamper
    | Breach
    | Help
    | HelpTest
    | Switch
    | Rescue
    | Failure
    | Alarm
    | Health
    | HourStats
    | ClipNote
    | Tombstone
    | Heads
    | OrderAnswer
    | CommandAnswer
    | Reported
    | CertificateWanted
)


class Message(Struct, frozen=True, forbid_unknown_fields=True):
    """What is published: envelope and body."""

    envelope: Envelope
    body: Body


def topic(site: str, node: str, *tail: str) -> str:
    return "/".join((PREFIX, site, node, *tail))


def decode(payload: bytes) -> Message:
    """The message inside; `RecordError` for anything else."""
    return foreign.decode(payload, Message, "message", most=LONGEST)


def encode(message: Message) -> bytes:
    return msgspec.json.encode(message)

"""What each service says of itself, typed: how it stands, and its numbers. Whatever else comes counts as no answer.

Each number says here where it goes: into a group of health messages, or that it stays on the node, and why. `agent.uplink.health`
makes the groups from these types alone.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Annotated, Any, Generic, Literal, TypeVar, get_type_hints

from msgspec import Meta, Struct

from agent.messages import ClockState, HealthGroup, Owner, StateName
from privacy.foreign import END

S = TypeVar("S", bound="Status")
Name = Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,64}" + END)]
Part = Literal["open", "closed", "off", "blinking", "steady"]


class Route(Struct, frozen=True):
    """Where a number goes. groups: of health; name: there, if it has another; reason: why it stays on the node."""

    groups: tuple[HealthGroup, ...] = ()
    name: str = ""
    reason: str = ""


def published(*groups: HealthGroup, name: str = "") -> Meta:
    """A number of these groups. Of a dictionary each key is a number, behind `name` and an underscore."""
    return Meta(extra={"route": Route(groups, name)})


def local(reason: str) -> Meta:
    """A number that leaves the node in another way, or not at all."""
    return Meta(extra={"route": Route(reason=reason)})


class ServiceState(Struct, frozen=True):
    """The state of a service, why (a stable code), since when and until when, and who has to act."""

    state: StateName
    reason: Annotated[str, Meta(pattern=r"^[a-z0-9_]{0,64}" + END)]
    since: datetime
    until: datetime | None
    owner: Owner


class Status(Struct, frozen=True, kw_only=True):
    """What every service says. config_version: of the signed settings in force; config_trouble: why those are not."""

    clock: ClockState = "unknown"
    config_version: Annotated[int, local("config/reported says it")] = 0
    config_trouble: str = ""


class CameraStatus(Status, frozen=True, kw_only=True):
    """Counts since the lens was opened last, but for those of losses, which count since the start.

    full_by_cause      frames masked as a whole, by why
    look_ms            the mean time of a look of the detector
    pictures_lost      by the camera; broken: of no use, and dropped
    queue_dropped      pictures that the recorder's queue had no room for: they are in no clip
    writes_lost        entries and messages that the keeper's queue had no room for; events_lost: that the disk refused for too long
    view               as_known, or what the view guard takes it for
    self_test_minutes  since the self-test passed
    """

    camera_model: str = ""
    encoder: str = ""
    view: str = ""
    frames: Annotated[int, published("camera", "privacy")] = 0
    masked: Annotated[int, published("privacy")] = 0
    full: Annotated[int, published("privacy")] = 0
    full_by_cause: Annotated[dict[Name, int], published("privacy", name="full")] = {}
    looks: Annotated[int, published("privacy")] = 0
    look_ms: Annotated[float | None, published("privacy")] = None
    learned_tiles: Annotated[int, published("privacy")] = 0
    self_test_minutes: Annotated[int, published("privacy")] = 0
    audited: Annotated[int | None, published("privacy")] = None
    breach_candidates: Annotated[int, published("privacy")] = 0
    pictures_lost: Annotated[int, published("camera")] = 0
    pictures_broken: Annotated[int, published("camera")] = 0
    queue_dropped: Annotated[int, published("camera")] = 0
    clips: Annotated[int, published("camera")] = 0
    clips_refused: Annotated[int, published("camera")] = 0
    clips_dropped: Annotated[int, published("camera")] = 0
    events_lost: Annotated[int, published("buffer", name="camera_events_lost")] = 0
    writes_lost: Annotated[int, published("buffer", name="camera_writes_lost")] = 0
    dropped_datagrams: Annotated[int, published("buffer", name="camera_datagrams_lost")] = 0
    visit_word: str = ""


class IoStatus(Status, frozen=True, kw_only=True):
    """Of the help point.

    call               open until io says otherwise: a node with an open call does not boot
    parts              fitted contacts and lamps, as they stand
    requests_lost      that the queue had no room for: a press on the socket, or a signed command
    dropped_datagrams  to the camera; events_lost: messages and entries that the disk refused for too long
    """

    lamp: str = ""
    call: Literal["none", "open", "taken"] = "open"
    parts: dict[Name, Part] = {}
    presses: Annotated[int, local("each is a message of its own, event/help")] = 0
    requests_lost: Annotated[int, published("buffer", name="io_requests_lost")] = 0
    dropped_datagrams: Annotated[int, published("buffer", name="io_datagrams_lost")] = 0
    events_lost: Annotated[int, published("buffer", name="io_events_lost")] = 0


class UplinkStatus(Status, frozen=True, kw_only=True):
    """Of the link, and of the uploads.

    refused, expired, too_large, set_aside  messages that did not come to the centre, by why
    unreadable                              messages from the broker that could not be read
    breaks                                  of the link, by cause
    ignored_commands, _orders, _desired     that came and were not handed on
    orders_lost                             that the courier's queue had no room for; the ingest names them again
    uploaded                                objects since the start, None before the first; upload_waiting: that wait
    diag_dropped                            what technicians handed in, and there was no room for
    journals_aside                          segments that the centre does not take, by unit
    """

    connected: Annotated[bool, published("link")] = False
    storage_error: str = ""
    upload_error: str | None = None
    pending: Annotated[int, local("the group buffer has it of each outbox")] = 0
    refused: Annotated[int, published("link", name="messages_refused")] = 0
    expired: Annotated[int, published("link", name="messages_expired")] = 0
    too_large: Annotated[int, published("link", name="messages_too_large")] = 0
    set_aside: Annotated[int, published("link", name="messages_set_aside")] = 0
    unreadable: Annotated[int, published("link", name="messages_unreadable")] = 0
    breaks: Annotated[dict[Name, int], local("`describe` says them")] = {}
    ignored_commands: Annotated[int, published("link")] = 0
    ignored_orders: Annotated[int, published("link")] = 0
    ignored_desired: Annotated[int, published("link")] = 0
    orders_lost: Annotated[int, published("link")] = 0
    uploaded: Annotated[int | None, published("link")] = None
    upload_waiting: Annotated[int | None, published("link")] = None
    diag_dropped: Annotated[int | None, published("buffer", name="handed_in_dropped")] = None
    journals_aside: Annotated[dict[Name, int], published("buffer", name="journals_aside")] = {}


STATUS: dict[str, type[Status]] = {"camera": CameraStatus, "io": IoStatus, "uplink": UplinkStatus}
"""What each service's answer is, by its name."""


class StatusAnswer(Struct, Generic[S], frozen=True):
    """A service's answer to the verb status. detail: the numbers and words beside its state."""

    standing: ServiceState
    detail: S
    schema: str = "lykta.service/1"
    service: str = ""
    pid: int = 0


@cache
def routes(kind: type[Status]) -> dict[str, Route]:
    """Where each field of a status goes, by its name; words, which are no numbers, go nowhere."""
    hints: dict[str, Any] = get_type_hints(kind, include_extras=True)
    found = {name: _route(hints[name]) for name in kind.__struct_fields__}
    return {name: route for name, route in found.items() if route}


def _route(hint: Any) -> Route | None:
    extras = [one.extra for one in getattr(hint, "__metadata__", ()) if isinstance(one, Meta)]
    return next((extra["route"] for extra in extras if extra and "route" in extra), None)

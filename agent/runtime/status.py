"""The status of each service, typed: its state and its numbers. An answer in another form counts as none.

Each number declares its use: a group of health messages, or only on the node, with the reason. `agent.uplink.health`
makes the groups from these types.
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
_MOST_NAMES = Meta(max_length=64)
"""Names in one dictionary: each becomes a number of a health message."""
Part = Literal["open", "closed", "off", "blinking", "steady"]


class Route(Struct, frozen=True):
    """The use of a number. groups: of health messages; name: used there, if different; reason: why it is not published."""

    groups: tuple[HealthGroup, ...] = ()
    name: str = ""
    reason: str = ""


def published(*groups: HealthGroup, name: str = "") -> Meta:
    """Annotation: published in these groups. Each key of a dictionary is a number, prefixed by `name` and an underscore."""
    return Meta(extra={"route": Route(groups, name)})


def local(reason: str) -> Meta:
    """Annotation: not in health messages; the number is sent in another way, or not at all."""
    return Meta(extra={"route": Route(reason=reason)})


class ServiceState(Struct, frozen=True):
    """The state of a service, why (a stable code), since when and until when, and who has to act."""

    state: StateName
    reason: Annotated[str, Meta(pattern=r"^[a-z0-9_]{0,64}" + END)]
    since: datetime
    until: datetime | None
    owner: Owner


class Status(Struct, frozen=True, kw_only=True):
    """Fields of every service. config_version: of the signed settings in force; config_trouble: why they are not in force."""

    clock: ClockState = "unknown"
    config_version: Annotated[int, local("config/reported says it")] = 0
    config_trouble: str = ""


class CameraStatus(Status, frozen=True, kw_only=True):
    """Counts since the camera was last opened; those of the disk, the neighbour and the audit since the service started.

    full_by_cause      fully masked frames, by cause
    look_ms            the mean time of a detection
    pictures_lost      lost by the camera; broken: damaged, and dropped
    queue_dropped      pictures that the recorder's queue had no room for: they are in no clip
    writes_lost        entries and messages that the keeper's queue had no room for; events_lost: that the disk refused for too long
    commands_refused   commands that the camera refused, also unsigned ones
    view               as_known, or the finding of the view guard
    self_test_minutes  since the self-test passed
    """

    camera_model: str = ""
    encoder: str = ""
    view: str = ""
    frames: Annotated[int, published("camera", "privacy")] = 0
    masked: Annotated[int, published("privacy")] = 0
    full: Annotated[int, published("privacy")] = 0
    full_by_cause: Annotated[dict[Name, int], _MOST_NAMES, published("privacy", name="full")] = {}
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
    commands_refused: Annotated[int, published("link", name="camera_commands_refused")] = 0
    visit_word: str = ""


class IoStatus(Status, frozen=True, kw_only=True):
    """Status of the help point.

    call               whether a call is open; True until io reports otherwise: a node with an open call is not rebooted
    parts              state of the fitted contacts and lamps
    commands_refused   commands that io refused, also unsigned ones
    dropped_datagrams  lost on the way to the camera; events_lost: messages and entries that the disk refused for too long
    """

    lamp: str = ""
    call: Literal["none", "open", "taken"] = "open"
    parts: Annotated[dict[Name, Part], _MOST_NAMES] = {}
    presses: Annotated[int, local("each is a message of its own, event/help")] = 0
    commands_refused: Annotated[int, published("link", name="io_commands_refused")] = 0
    dropped_datagrams: Annotated[int, published("buffer", name="io_datagrams_lost")] = 0
    events_lost: Annotated[int, published("buffer", name="io_events_lost")] = 0


class UplinkStatus(Status, frozen=True, kw_only=True):
    """Status of the link and of the uploads.

    refused, expired, too_large, set_aside  messages that were not delivered, by cause
    unreadable                              messages from the broker that could not be read
    breaks                                  of the link, by cause
    ignored_commands, _orders, _desired     received and not passed on, or refused by the service that they were passed to
    commands_refused                        commands that the uplink itself refused, also unsigned ones
    events_lost                             answers to commands and their journal entries that the disk refused for too long
    orders_lost                             lost because the courier's queue was full; the ingest lists them again
    uploaded                                objects since the start, None before the first; upload_waiting: objects that wait
    diag_dropped                            technicians' diagnoses dropped for lack of room
    journals_aside                          damaged segments that are not sent, by unit
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
    breaks: Annotated[dict[Name, int], _MOST_NAMES, local("`describe` says them")] = {}
    ignored_commands: Annotated[int, published("link")] = 0
    commands_refused: Annotated[int, published("link", name="uplink_commands_refused")] = 0
    events_lost: Annotated[int, published("buffer", name="uplink_events_lost")] = 0
    ignored_orders: Annotated[int, published("link")] = 0
    ignored_desired: Annotated[int, published("link")] = 0
    orders_lost: Annotated[int, published("link")] = 0
    uploaded: Annotated[int | None, published("link")] = None
    upload_waiting: Annotated[int | None, published("link")] = None
    diag_dropped: Annotated[int | None, published("buffer", name="handed_in_dropped")] = None
    journals_aside: Annotated[dict[Name, int], _MOST_NAMES, published("buffer", name="journals_aside")] = {}


STATUS: dict[str, type[Status]] = {"camera": CameraStatus, "io": IoStatus, "uplink": UplinkStatus}
"""The status type of each service, by its name."""


class StatusAnswer(Struct, Generic[S], frozen=True):
    """A service's answer to the verb status. detail: numbers and texts beside its state."""

    standing: ServiceState
    detail: S
    schema: str = "lykta.service/1"
    service: str = ""
    pid: int = 0


@cache
def routes(kind: type[Status]) -> dict[str, Route]:
    """The route of each field of a status, by its name; fields that are not numbers have none."""
    hints: dict[str, Any] = get_type_hints(kind, include_extras=True)
    found = {name: _route(hints[name]) for name in kind.__struct_fields__}
    return {name: route for name, route in found.items() if route}


def _route(hint: Any) -> Route | None:
    extras = [one.extra for one in getattr(hint, "__metadata__", ()) if isinstance(one, Meta)]
    return next((extra["route"] for extra in extras if extra and "route" in extra), None)

"""The commands that exist: who carries each out, its typed arguments, and the reasons for a refusal.

The node obeys nothing that is not in this table, and the centre sends nothing else. On the wire arguments are texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from privacy.records.manifest import ClipId

Service = Literal["camera", "io", "uplink"]
SERVICES: tuple[Service, ...] = get_args(Service)
LogLevel = Literal["debug", "info", "warning", "error"]
Press = Annotated[str, Meta(min_length=1, max_length=256, description="id of the press, as in event/help")]
Clip = Annotated[ClipId, Meta(description="id of the clip")]


class Act(Struct, frozen=True, forbid_unknown_fields=True):
    """What a command asks for; the fields are its arguments.

    command  its name
    by       the service that acts; None: the argument `service` names it
    text     what happens, for operators
    """

    command: ClassVar[str]
    by: ClassVar[Service | None]
    text: ClassVar[str]


class Ack(Act, frozen=True):
    command, by = "ack", "io"
    text = "an operator takes the call for help of that press: the lamp is steady"
    press: Press


class Light(Act, frozen=True):
    command, by = "light", "io"
    text = "the stop's light is on or off for so many minutes, regardless of its hours"
    state: Literal["on", "off"]
    minutes: Annotated[int, Meta(ge=1, le=1440)] = 10


class Ping(Act, frozen=True):
    command, by = "ping", "uplink"
    text = "answers, and does nothing else"


class Rebirth(Act, frozen=True):
    command, by = "rebirth", "uplink"
    text = "sends the state, the description, all reports and standing alarms again"


class ClipNow(Act, frozen=True):
    command, by = "clip", "camera"
    text = "records a clip that begins with the pre-roll; ref of the answer is its id"
    seconds: Annotated[int, Meta(ge=1, le=60)] = 10


class Upload(Act, frozen=True):
    command, by = "upload", "uplink"
    text = "sends a clip that upload.what leaves on the node; hours and budget hold. done: the centre has it"
    clip: Clip


class Pause(Act, frozen=True):
    command, by = "pause", "camera"
    text = "closes the camera for so many minutes; a later pause replaces an earlier one, and a reboot ends it"
    minutes: Annotated[int, Meta(ge=1, le=480)]


class Resume(Act, frozen=True):
    command, by = "resume", "camera"
    text = "ends a pause"


class Restart(Act, frozen=True):
    command, by = "restart", None
    text = "that service ends and systemd starts it again. done: it is back; io refuses while a call for help is open"
    service: Service


class Diag(Act, frozen=True):
    command, by = "diag", "uplink"
    text = "sends the uplink's diagnosis to the ingest; ref of the answer is its id there"


class CloseJournal(Act, frozen=True):
    command, by = "journal", None
    text = "closes the current journal segment of that service, so that the uplink sends it"
    service: Service = "uplink"


class SetLogLevel(Act, frozen=True):
    command, by = "log-level", None
    text = "that service logs from this level up, for so many minutes; then from info again"
    service: Service
    level: LogLevel
    minutes: Annotated[int, Meta(ge=1, le=60)] = 10


COMMANDS: dict[str, type[Act]] = {
    kind.command: kind
    for kind in (Ack, Light, Ping, Rebirth, ClipNow, Upload, Pause, Resume, Restart, Diag, CloseJournal, SetLogLevel)
}
"""By name."""

REASONS: dict[str, str] = {
    "other_boot": "the node started again since: send it anew",
    "other_service": "another service of the node carries this command out",
    "repeated": "a command with this number or a later one came before: send it anew",
    "expired": "it came too late: send it anew",
    "too_long": "its end lies more than 60 s ahead in the node's own time: send it anew",
    "unknown": "this node does not know the command: `describe` lists those it knows",
    "arguments": "the arguments are not those of the command: `describe` lists them",
    "not_kept": "its number could not be written below /run: is that full?",
    "busy": "the service has more to do than it can keep: send it anew",
    "interrupted": "the service ended before it was finished",
    "press_not_open": "ack: that call is over, was taken, or another one is open",
    "call_open": "restart: a call for help is open; answer it first",
    "paused": "clip: the camera is paused: send resume first",
    "visit": "clip: a visit has the camera, and nothing is recorded",
    "not_filming": "clip: the camera does not film now; its state says why",
    "not_paused": "resume: the camera is not paused",
    "no_such_clip": "upload: the node has no complete clip with this id",
    "deleted": "upload: the clip reached its deadline or was erased before it was sent",
    "disk": "the node's disk refused",
}
"""Reasons in answers, and what to do. `clip` may also answer with the reason why the records keep the camera closed now, such as
outside_hours, and with disk_full or disk_error."""


def service_of(name: str, args: Mapping[str, str]) -> Service:
    """The service that carries a command out, or answers that there is no such command: for that the uplink."""
    kind = COMMANDS.get(name)
    if kind is None:
        return "uplink"
    if kind.by is not None:
        return kind.by
    return next((one for one in SERVICES if one == args.get("service")), "uplink")


def act_of(name: str, args: Mapping[str, str]) -> Act:
    """The typed arguments; `ValueError` says which is missing, unknown or out of range. `KeyError`: no such command."""
    found = msgspec.convert(dict(args), COMMANDS[name], strict=False)
    for key, text in args.items():
        # One text for each value: neither 010 nor 1.0 is a number here.
        if str(getattr(found, key)) != text:
            raise ValueError(f"{key}: must be written as {getattr(found, key)} (got {text!r})")
    return found


def arguments_of(kind: type[Act]) -> dict[str, str]:
    """The arguments of a command, each with its range and default as text: `{"minutes": "1..1440, else 10"}`."""
    hints = get_type_hints(kind, include_extras=True)
    default = dict(zip(reversed(kind.__struct_fields__), reversed(kind.__struct_defaults__), strict=False))
    return {name: _range(hints[name]) + (f", else {default[name]}" if name in default else "") for name in kind.__struct_fields__}


def _range(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "|".join(get_args(hint))
    bounds = [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Meta)]
    return next((f"{one.ge}..{one.le}" if one.ge is not None else str(one.description) for one in reversed(bounds)), "text")


def all_arguments() -> dict[str, dict[str, str]]:
    """The arguments of all commands, by name."""
    return {name: arguments_of(kind) for name, kind in COMMANDS.items()}

"""The status of each service, typed: its state, its numbers and words. An answer in another form counts as none.

Each number declares its use (`agent.runtime.routes`): a group of health messages, or only on the node, with the reason.
Nothing that leaves says how many frames there were in a minute, or how many of them were masked: shares of five minutes, in
quarters (R44). They never make a message by themselves.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from msgspec import Meta, Struct

from agent.envelope import ClockState
from agent.messages import Owner, StateName
from agent.runtime.routes import local, published
from privacy.foreign import END

S = TypeVar("S", bound="Status")
Name = Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,64}" + END)]
_MOST_NAMES = Meta(max_length=64)
"""Names in one dictionary: each becomes a number of a health message."""
Part = Literal["open", "closed", "off", "blinking", "steady"]
Quarter = Annotated[float, Meta(ge=0, le=1, multiple_of=0.25)]
"""A share of five minutes, to the nearest quarter."""
People = Literal["", "none", "few", "some", "crowd"]
_COUNTS = "an exact count of frames, of which health has shares and rates (R44)"
_OFF = "the camera is not filming"


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
    restarts: Annotated[
        int | None, published("agent", "starts of this service in this boot, without the first", each=True, change=1)
    ] = None
    memory_mb: Annotated[float | None, published("agent", "resident memory", "MB", each=True, factor=1.5)] = None
    threads: Annotated[int | None, published("agent", "threads", each=True, factor=2)] = None
    descriptors: Annotated[int | None, published("agent", "open file descriptors", each=True, factor=2)] = None


class CameraStatus(Status, frozen=True, kw_only=True):
    """Counts since the camera was last opened; those of the disk, the neighbour and the audit since the service started."""

    camera_model: str = ""
    encoder: str = ""
    view: Annotated[str, published("camera", "as_known, or what the view guard found", change=1)] = ""
    people: Annotated[People, local("event/presence says it, and stats/hour")] = ""
    frames: Annotated[int, local(_COUNTS)] = 0
    masked: Annotated[int, local(_COUNTS)] = 0
    full: Annotated[int, local(_COUNTS)] = 0
    full_by_cause: Annotated[dict[Name, int], _MOST_NAMES, local(_COUNTS)] = {}
    looks: Annotated[int, local("a count that says nothing beside look_ms")] = 0
    fps: Annotated[int | None, published("camera", "frames a second, in five minutes", "1/s", change=3, absent=_OFF)] = None
    distinct_share: Annotated[
        Quarter | None, published("camera", "share of frames that differ from the one before", change=0.5, absent=_OFF)
    ] = None
    frame_age_s: Annotated[int | None, published("camera", "time since the last frame", "s", change=3, absent=_OFF)] = None
    exposure_us: Annotated[
        int | None, published("camera", "exposure time", "µs", factor=4, absent="the camera does not say, or is not filming")
    ] = None
    gain: Annotated[
        float | None, published("camera", "analogue gain", factor=4, absent="the camera does not say, or is not filming")
    ] = None
    focus: Annotated[
        float | None, published("camera", "variance of the Laplacian of the whole picture", "levels²", factor=4, absent=_OFF)
    ] = None
    mask_coverage: Annotated[Quarter | None, published("privacy", "mean painted share of a frame", absent=_OFF)] = None
    full_share: Annotated[Quarter | None, published("privacy", "share of frames painted as a whole", absent=_OFF)] = None
    full_share_by_cause: Annotated[
        dict[Name, Quarter], _MOST_NAMES, published("privacy", "the same by cause", name="full_share")
    ] = {}
    look_ms: Annotated[float | None, published("privacy", "mean time of a detection", "ms", factor=2)] = None
    learned_tiles: Annotated[int, published("privacy", "tiles that `strict` took for background")] = 0
    self_test_minutes: Annotated[int, published("privacy", "age of the last passed self-test", "min")] = 0
    audited: Annotated[int | None, published("privacy", "masked frames that the leak audit examined")] = None
    breach_candidates: Annotated[int, published("privacy", "frames in which the audit may have seen somebody", change=1)] = 0
    pictures_lost: Annotated[int, published("camera", "pictures lost by the camera", change=100)] = 0
    pictures_broken: Annotated[int, published("camera", "pictures dropped because they were damaged", change=10)] = 0
    queue_dropped: Annotated[int, published("camera", "pictures that are in no clip: the recorder's queue was full", change=10)] = 0
    clips: Annotated[int, published("camera", "clips on the node")] = 0
    clips_refused: Annotated[int, published("camera", "clips that the disk refused", change=1)] = 0
    clips_dropped: Annotated[int, published("camera", "clips dropped for lack of room", change=1)] = 0
    events_lost: Annotated[
        int, published("buffer", "camera: writes that the disk refused for too long", name="camera_events_lost", change=1)
    ] = 0
    writes_lost: Annotated[
        int, published("buffer", "camera: writes that its keeper's queue had no room for", name="camera_writes_lost", change=1)
    ] = 0
    dropped_datagrams: Annotated[
        int, published("buffer", "camera: notices to io that were lost", name="camera_datagrams_lost", change=10)
    ] = 0
    commands_refused: Annotated[
        int,
        published("link", "commands that the camera refused, also unsigned ones", name="camera_commands_refused", change=10),
    ] = 0
    visit_word: str = ""


class IoStatus(Status, frozen=True, kw_only=True):
    """Status of the help point.

    call               whether a call is open; True until io reports otherwise: a node with an open call is not rebooted
    unanswered         a call ended without an answer, and none was answered since
    parts              state of the fitted contacts and lamps
    """

    lamp: str = ""
    call: Literal["none", "open", "taken"] = "open"
    parts: Annotated[dict[Name, Part], _MOST_NAMES] = {}
    presses: Annotated[int, local("each is a message of its own, event/help")] = 0
    contact_failures: Annotated[
        int,
        published("buffer", "failed reads of contacts; a change in that moment may be lost", name="io_contact_failures", change=1),
    ] = 0
    unanswered: Annotated[bool, local("alarm/help_unanswered says it")] = False
    commands_refused: Annotated[
        int, published("link", "commands that io refused, also unsigned ones", name="io_commands_refused", change=10)
    ] = 0
    dropped_datagrams: Annotated[
        int, published("buffer", "io: notices to the camera that were lost", name="io_datagrams_lost", change=10)
    ] = 0
    events_lost: Annotated[
        int, published("buffer", "io: writes that the disk refused for too long", name="io_events_lost", change=1)
    ] = 0


class UplinkStatus(Status, frozen=True, kw_only=True):
    """Status of the link and of the uploads. Counts since the service started."""

    connected: Annotated[bool, published("link", "1 while the broker is connected", change=1)] = False
    storage_error: str = ""
    upload_error: str | None = None
    pending: Annotated[int, local("the group buffer has it of each outbox")] = 0
    refused: Annotated[int, published("link", "messages that the broker refused", name="messages_refused", change=1)] = 0
    expired: Annotated[int, published("link", "messages that expired unsent", name="messages_expired", change=10)] = 0
    too_large: Annotated[int, published("link", "messages larger than the broker takes", name="messages_too_large", change=1)] = 0
    set_aside: Annotated[int, published("link", "messages that broke the link each time", name="messages_set_aside", change=1)] = 0
    unanswered: Annotated[
        int, published("link", "messages that wait because the broker does not answer them", name="messages_unanswered", change=1)
    ] = 0
    topics_refused: str = ""
    unreadable: Annotated[
        int, published("link", "messages of the broker that could not be read", name="messages_unreadable", change=10)
    ] = 0
    breaks: Annotated[dict[Name, int], _MOST_NAMES, local("`describe` says them")] = {}
    interface: Annotated[str, published("link", "network interface of the default route", change=1)] = ""
    signal_dbm: Annotated[
        float | None,
        published("link", "level of the radio signal", "dBm", change=10, absent="the kernel knows no signal of this interface"),
    ] = None
    round_trip_ms: Annotated[
        float | None,
        published(
            "link", "median time to the broker's acknowledgement, of 20 messages", "ms", factor=4, absent="none was answered yet"
        ),
    ] = None
    connected_share: Annotated[
        float | None, published("link", "share of the last day with a broker, since this start at most", change=0.1)
    ] = None
    sent_mb: Annotated[
        dict[Name, float], _MOST_NAMES, published("link", "bytes sent by purpose, without TLS and TCP", "MB", name="sent_mb")
    ] = {}
    budget_used: Annotated[
        float | None,
        published("link", "used share of the daily budget", change=0.1, absent="no budget is set (upload.budget_mb_day)"),
    ] = None
    ignored_commands: Annotated[int, published("link", "commands received and not passed on", change=1)] = 0
    commands_refused: Annotated[
        int, published("link", "commands that the uplink refused, also unsigned ones", name="uplink_commands_refused", change=10)
    ] = 0
    events_lost: Annotated[
        int,
        published("buffer", "uplink: writes that the disk refused for too long", name="uplink_events_lost", change=1),
    ] = 0
    ignored_orders: Annotated[int, published("link", "orders received and not passed on", change=1)] = 0
    ignored_desired: Annotated[int, published("link", "desired records received and not passed on", change=1)] = 0
    orders_lost: Annotated[int, published("link", "orders lost to a full queue; the ingest lists them again", change=1)] = 0
    uploaded: Annotated[int | None, published("link", "objects uploaded", absent="none since the start")] = None
    upload_waiting: Annotated[int | None, published("link", "objects that wait for upload", factor=4)] = None
    oldest_clip_h: Annotated[
        float | None,
        published("link", "age of the oldest clip that waits for upload", "h", factor=2, absent="no clip waits for upload"),
    ] = None
    diag_dropped: Annotated[
        int | None, published("buffer", "reports and diagnoses dropped for lack of room", name="handed_in_dropped", change=1)
    ] = None
    journals_aside: Annotated[
        dict[Name, int],
        _MOST_NAMES,
        published("buffer", "damaged journal segments set aside, by unit", name="journals_aside", change=1),
    ] = {}


STATUS: dict[str, type[Status]] = {"camera": CameraStatus, "io": IoStatus, "uplink": UplinkStatus}
"""The status type of each service, by its name."""


class StatusAnswer(Struct, Generic[S], frozen=True):
    """A service's answer to the verb status. detail: numbers and texts beside its state."""

    standing: ServiceState
    detail: S
    schema: str = "lykta.service/1"
    service: str = ""
    pid: int = 0

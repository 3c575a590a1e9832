"""The two records that permit filming: the basis (limits in words) and the view (pixels). R01, R02, R03, R04, R07, R12, R35.

Only `rule` decides whether the camera may be open at a given time, and only `rule_visit` whether a person on site may see the
picture during commissioning.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from privacy.errors import RecordError, ZoneError
from privacy.foreign import END
from privacy.records.far_zone import FarLine
from privacy.records.zone import stockholm

BASIS = "lykta-basis"
VIEW = "lykta-view"
Profile = Literal["standard", "strict", "full"]
_ASSESSED = ("type", "stop", "purpose", "hours", "least_profile", "retention_hours", "stacks")
"""Fields that need a new assessment if they change (R05)."""
BASIS_EXPIRED = "basis_expired"
"""The reason of a ruling after the basis' end: nobody signed its successor in time, which is no lawful pause either."""
ZONE_UNKNOWN = "zone_unknown"
"""The reason of a ruling if the time zone's file is missing or damaged: a fault of the node, not a lawful pause."""
VISIT_MS = 60 * 60_000
"""The longest visit (R35)."""
_WEEK = timedelta(days=7, hours=2)
"""Hours repeat weekly: a span longer than a week (with a margin for changes of the clock) ends only with the basis."""
PROFILES: tuple[Profile, ...] = ("standard", "strict", "full")
Share = Annotated[float, Meta(ge=0, le=1)]
Polygon = Annotated[tuple[tuple[Share, Share], ...], Meta(min_length=3)]
Label = Annotated[str, Meta(pattern=rf"^[a-z0-9-]+{END}", max_length=63)]
Moment = Annotated[datetime, Meta(tz=True)]
Span = tuple[datetime, datetime]
Clock = Annotated[str, Meta(pattern=rf"^([01][0-9]|2[0-3]):[0-5][0-9]{END}|^24:00{END}")]


class Hours(Struct, frozen=True, forbid_unknown_fields=True):
    """Assessed hours of one set of weekdays (1 = Monday), local time. If the end is before the begin, it is on the next day."""

    days: tuple[Annotated[int, Meta(ge=1, le=7)], ...]
    begin: Clock
    end: Clock

    def __post_init__(self) -> None:
        if self.begin == self.end:
            raise ValueError(f"begin and end are the same: no time or a whole day? (got {self.begin})")


class Basis(Struct, frozen=True, forbid_unknown_fields=True):
    """What the municipality assessed and permits; signed by its basis key."""

    id: str
    assessment: str
    type: Literal["bedomning", "hallplats"]
    controller: str
    site: Label
    node: Label
    stop: str
    purpose: Literal["crime", "order", "accident"]
    hours: tuple[Hours, ...]
    least_profile: Profile
    retention_hours: Annotated[int, Meta(ge=1, le=24 * 60)]
    stacks: tuple[str, ...]
    begin: Moment
    end: Moment
    view_keys: tuple[str, ...] = ()
    commissioning: Annotated[tuple[date, ...], Meta(max_length=31)] = ()
    """Local dates on which a visit is permitted, i.e. a person on site may see the picture during commissioning."""


class Area(Struct, frozen=True, forbid_unknown_fields=True):
    """One polygon of the picture and the legal paragraph that permits it; corners in shares (0..1) of width and height."""

    kind: Literal["stop", "path"]
    paragraph: Literal["KBL11.5b", "KBL8-9"]
    workplace: bool
    polygon: Polygon


class View(Struct, frozen=True, forbid_unknown_fields=True):
    """What the installer drew on site. It can only restrict the basis further.

    areas   polygons that may be shown
    zones   polygons that are always masked
    far     far line: what lies above it is always masked, because people there may be too small to be detected
    """

    id: str
    basis: str
    site: Label
    node: Label
    areas: Annotated[tuple[Area, ...], Meta(min_length=1)]
    zones: tuple[Polygon, ...] = ()
    far: FarLine | UnsetType = UNSET


class Permit(Struct, frozen=True):
    """Verified records that permit filming."""

    basis: Basis
    view: View


class Ruling(Struct, frozen=True):
    """Whether the camera may be open now, the reason as a stable code, and until when this holds (None: not known)."""

    open: bool
    reason: str
    until: datetime | None


def check_records(basis: Basis, view: View, site: str, node: str, profile: Profile, stack: str) -> Permit:
    """The permit; `RecordError` if the records are for another node, contradict each other, or need more masking than is
    configured."""
    check_basis(basis, site, node)
    check_view(basis, view)
    check_running(basis, profile, stack)
    return Permit(basis, view)


def check_basis(basis: Basis, site: str, node: str) -> None:
    """`RecordError` if the basis is for another node."""
    if (basis.site, basis.node) != (site, node):
        raise RecordError(
            f"basis: site/node: is for {basis.site}/{basis.node}, this node is {site}/{node}",
            "place this node's own basis",
            "basis_of_other_node",
        )


def check_view(basis: Basis, view: View) -> None:
    """`RecordError` if the view is not for this basis and node, or has an area that the basis does not permit."""
    if (view.site, view.node) != (basis.site, basis.node):
        raise RecordError(
            f"view: site/node: is for {view.site}/{view.node}, this node is {basis.site}/{basis.node}",
            "place this node's own view",
            "view_of_other_node",
        )
    if view.basis != basis.id:
        raise RecordError(
            f"view: basis: drawn for basis {view.basis}, in force is {basis.id}",
            "draw and sign the view again",
            "view_of_other_basis",
        )
    for area in view.areas:
        if area.kind == "path" and area.paragraph == "KBL11.5b":
            raise RecordError(
                "view: areas: KBL 11 § 5 b does not permit a path", "use KBL8-9 with an assessment", "view_not_permitted"
            )
        if area.paragraph == "KBL11.5b" and not basis.stop.strip():
            raise RecordError(
                'basis: stop: KBL 11 § 5 b needs the id of a stop (got "")',
                "name the stop and sign the basis again",
                "basis_without_stop",
            )


def check_running(basis: Basis, profile: Profile, stack: str) -> None:
    """`RecordError` if the configured profile masks less than was assessed, or the stack was not assessed (R04, R05)."""
    if PROFILES.index(profile) < PROFILES.index(basis.least_profile):
        raise RecordError(
            f"basis_mismatch: profile: {profile} is weaker than the assessed {basis.least_profile}",
            "set mask.profile higher",
            "basis_mismatch",
        )
    if stack not in basis.stacks:
        raise RecordError(
            f"basis: stacks: {stack} is not among the assessed {', '.join(basis.stacks)}",
            "install an assessed stack",
            "stack_not_assessed",
        )


def check_successor(old: Basis, new: Basis, used: Collection[str]) -> None:
    """`RecordError` if the new basis may not replace the old one: it is older, or it changes `_ASSESSED` fields without a new
    assessment (R05).

    used   ids and assessments that were ever in force on this node
    """
    if new.id == old.id or new.id in used:
        raise RecordError(f"basis: id: was in force here before (got {new.id})", "a changed basis needs an id of its own")
    if new.begin < old.begin:
        raise RecordError(
            f"basis: begin: is before {old.begin:%Y-%m-%d %H:%M}, that of the one in force (got {new.begin:%Y-%m-%d %H:%M})",
            "an older basis cannot be used again; sign it anew",
        )
    changed = [name for name in _ASSESSED if getattr(old, name) != getattr(new, name)]
    if changed and (new.assessment == old.assessment or new.assessment in used):
        raise RecordError(
            f"basis: assessment: {', '.join(changed)} changed, so it must be a new one (got {new.assessment!r})",
            "assess first, then sign the basis with the new assessment's id",
        )


def rule(basis: Basis, now: datetime, trusted_time: bool) -> Ruling:
    """Whether the camera may be open at `now` (aware). It may not if the time or the rules of local time are unknown (R07)."""
    if not trusted_time:
        return Ruling(False, "time_unknown", None)
    if now < basis.begin:
        return Ruling(False, "basis_not_yet", basis.begin)
    if now >= basis.end:
        return Ruling(False, BASIS_EXPIRED, None)
    try:
        spans = _spans(basis, now)
    except ZoneError:
        return Ruling(False, ZONE_UNKNOWN, None)
    for begin, end in spans:
        if begin <= now < end:
            return Ruling(True, "assessed_hours", basis.end if end - now > _WEEK else min(end, basis.end))
    upcoming = [begin for begin, _ in spans if begin > now]
    return Ruling(False, "outside_hours", min(upcoming, default=None))


def rule_visit(basis: Basis, now: datetime, trusted_time: bool, begun_ms: int, now_ms: int) -> Ruling:
    """Whether a person on site may see the picture at `now` (aware), in a visit (R35).

    A visit is an exception to the assessed hours only: it is not permitted before the begin or after the end of the basis, or if
    the time is unknown.

    begun_ms, now_ms   begin of the visit and present time, milliseconds since boot
    """
    if not trusted_time:
        return Ruling(False, "time_unknown", None)
    if not basis.begin <= now < basis.end:
        return Ruling(False, "basis_not_in_force", None)
    try:
        today = now.astimezone(stockholm()).date()
    except ZoneError:
        return Ruling(False, ZONE_UNKNOWN, None)
    if today not in basis.commissioning:
        return Ruling(False, "no_commissioning_day", None)
    left_ms = VISIT_MS - (now_ms - begun_ms)
    if not 0 < left_ms <= VISIT_MS:
        return Ruling(False, "time_is_up", None)
    return Ruling(True, "commissioning_day", min(now + timedelta(milliseconds=left_ms), basis.end))


def deadline(basis: Basis, ended: datetime) -> datetime:
    """When a clip that ended at `ended` must be deleted (R27)."""
    return ended + timedelta(hours=basis.retention_hours)


def _spans(basis: Basis, now: datetime) -> list[Span]:
    """Assessed spans from yesterday to about a week ahead, in UTC. Adjoining hours form one span.

    Where a local time is ambiguous because of daylight saving, the shorter span is taken. Spans are joined in local time first, so
    that a change of the clock does not separate them, and again in UTC, because for a joined span the shorter interpretation may
    begin later.
    """
    written = _written(basis.hours, now.astimezone(stockholm()).date() - timedelta(days=1))
    return _joined([(max(_moments(begin)), min(_moments(end))) for begin, end in [*written, *_joined(written)]])


def _written(hours: tuple[Hours, ...], first: date) -> list[Span]:
    """The spans that begin in the ten days from `first`, in local time."""
    days = [first + timedelta(days=n) for n in range(10)]
    return [_on(day, one) for one in hours for day in days if day.isoweekday() in one.days]


def _on(day: date, hours: Hours) -> tuple[datetime, datetime]:
    midnight, begin, end = datetime.combine(day, time()), _clock(hours.begin), _clock(hours.end)
    return midnight + timedelta(minutes=begin), midnight + timedelta(minutes=end, days=end <= begin)


def _joined(spans: list[Span]) -> list[Span]:
    """The spans in order, without empty ones; spans that overlap or adjoin are joined."""
    joined: list[Span] = []
    for begin, end in sorted(span for span in spans if span[0] < span[1]):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def _clock(text: str) -> int:
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


def _moments(wall: datetime) -> tuple[datetime, datetime]:
    """Both interpretations of a local time in UTC: they differ if the clock shows that time twice, or skips it."""
    local = wall.replace(tzinfo=stockholm())
    return local.astimezone(UTC), local.replace(fold=1).astimezone(UTC)


def schema(record: type[Basis] | type[View]) -> dict[str, object]:
    """The published JSON Schema of a record."""
    return msgspec.json.schema(record)

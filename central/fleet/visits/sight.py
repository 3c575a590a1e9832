"""Signs of what the camera sees, or does not. Pure."""

from __future__ import annotations

from agent.messages import Failure, State, Switch, Tamper
from central.fleet.visits.causes import UNKNOWN
from central.fleet.visits.evidence import DAY_MS, HOUR_MS, LASTING_MS, MINUTE_MS, Evidence, Finding, Word
from central.fleet.visits.machine import AGAIN

LENS = {
    "covered": ("lens_covered", 30 * MINUTE_MS),
    "moved": ("camera_moved", 30 * MINUTE_MS),
    "defocused": ("lens_defocused", 3 * HOUR_MS),
    "blinded": ("lens_blinded", 3 * HOUR_MS),
}
"""Cause, and how long it must last: a van or a person stands there for less than half an hour; dew and a low sun are gone after
three hours (rules of thumb)."""
_CAMERA = ("no_camera", "camera_lost", "camera_fails", "camera_frozen")
_SETUP = ("several_cameras", "mode_refused", "camera_in_use", "camera_library")
_CONFIGURATION = ("settings_invalid", "config_invalid", "basis_mismatch", "stack_not_assessed", "recipients_invalid")
_CONFIGURATION_TOO = ("basis_keys_invalid", "revocation_unreadable", "records_or_settings_invalid", "records_invalid")
_INSTALLATION = ("models_invalid", "self_test_failed", "not_enrolled", "zone_unknown")
BY_REASON = {
    **dict.fromkeys(_CAMERA, "camera"),
    **dict.fromkeys(_SETUP, "camera_setup"),
    **dict.fromkeys((*_CONFIGURATION, *_CONFIGURATION_TOO), "configuration"),
    **dict.fromkeys(_INSTALLATION, "installation"),
    **dict.fromkeys(("basis_missing", "basis_invalid", "basis_of_other_node", "basis_revoked", "basis_without_stop"), "basis"),
    **dict.fromkeys(("basis_expired", "view_revoked"), "basis"),
    **dict.fromkeys(
        ("view_missing", "view_invalid", "view_of_other_node", "view_of_other_basis", "view_not_permitted"), "view_record"
    ),
}
"""Reasons of a state that name the cause themselves (docs/BOOT.md)."""
_ELSEWHERE = ("disk_refuses_events", "disk_refuses_clips", "no_inodes", "data_mount_failed", "io_silent", "contact_failed")
_ELSEWHERE_TOO = ("help_button_jammed", "camera_crashes", "camera_hangs", "time_unknown")
_JUDGED = frozenset((*_ELSEWHERE, *_ELSEWHERE_TOO, *(f"view_{kind}" for kind in LENS)))
"""Reasons that other rules judge."""


def state(e: Evidence) -> Finding | None:
    """A state that lasts or comes again and again, and what its reason says."""
    times = sum(isinstance(one.body, State) and (one.body.state, one.body.reason) == (e.state, e.reason) for one in e.recent())
    faulty = e.state in ("blind", "degraded") or (e.state == "starting" and e.reason == "camera_silent")
    if not faulty or (e.heard_ms - e.since_ms < LASTING_MS and e.now_ms - e.since_ms < LASTING_MS and times < AGAIN):
        return None
    told = f"state {e.reason}"
    if cause := BY_REASON.get(e.reason):
        return Finding(cause, (told,), e.since_ms)
    if e.reason in _JUDGED or (e.reason == "too_dark" and (e.state == "degraded" or _explained_dark(e))):
        # Where no light is expected, darkness stays `degraded` for the whole night.
        return None
    if e.reason == "camera_silent" and _camera_ends(e) and _lost_pictures(e):
        return Finding("camera", (told, "failures camera", f"pictures {_lost_pictures(e)}"), e.since_ms)
    return Finding(UNKNOWN, (told,), e.since_ms)


def camera(e: Evidence) -> Finding | None:
    """A camera that comes and goes: its states of the day, or a program that ends while pictures are lost."""
    states = [one for one in e.recent() if isinstance(one.body, State) and one.body.reason in _CAMERA]
    ends = _camera_ends(e)
    since = min((one.at_ms for one in states), default=e.heard_ms - DAY_MS)
    if len(states) >= AGAIN:
        return Finding("camera", (f"states {len(states)} {_reason(states[-1])}",), since)
    if ends >= AGAIN and (states or _lost_pictures(e)):
        return Finding("camera", ("failures camera", f"pictures {_lost_pictures(e)}"), since)
    if ends >= AGAIN and e.reason not in BY_REASON:
        return Finding(UNKNOWN, ("failures camera",), since)
    return None


def lens(e: Evidence) -> Finding | None:
    """What the view guard finds and does not take back."""
    alarm, told = e.alarm("tamper"), e.reason.removeprefix("view_") if e.reason.startswith("view_") else ""
    kind = alarm.reason if alarm else told
    if kind == "frozen" and alarm:
        lasts = e.heard_ms - alarm.raised_ms >= LASTING_MS
        return Finding("camera", ("alarm camera_frozen",), alarm.raised_ms) if lasts else None
    if kind not in LENS:
        return None
    cause, most = LENS[kind]
    since = min(_found(e, kind), alarm.raised_ms if alarm else e.heard_ms, e.since_ms if told == kind else e.heard_ms)
    if e.heard_ms - since < most:
        return None
    if told and told != kind:
        return Finding(UNKNOWN, (f"conflicting {kind}, {told}",), since)
    return Finding(cause, (f"tamper {kind}",), since)


def lamp(e: Evidence) -> Finding | None:
    """The light is switched on and draws no current."""
    alarm = e.alarm("light")
    faults = [one for one in e.words if isinstance(one.body, Switch) and one.body.what == "light"]
    fault = bool(faults) and isinstance(last := faults[-1].body, Switch) and last.state == "fault"
    since = alarm.raised_ms if alarm else faults[-1].at_ms if fault else e.heard_ms
    if e.heard_ms - since < LASTING_MS:
        return None
    return Finding("lamp_dead", ("alarm light", *(["state too_dark"] if e.reason == "too_dark" else [])), since)


def _explained_dark(e: Evidence) -> bool:
    """A dead lamp or a covered lens is told by its own rule."""
    covered = e.alarm("tamper")
    switches = [one.body.state for one in e.words if isinstance(one.body, Switch) and one.body.what == "light"]
    return bool(e.alarm("light") or (covered and covered.reason == "covered") or (switches and switches[-1] == "fault"))


def _camera_ends(e: Evidence) -> int:
    """How often the camera's program ended by itself in the last day."""
    return sum(isinstance(one.body, Failure) and (one.body.unit, one.body.result) == ("camera", "exit-code") for one in e.recent())


def _lost_pictures(e: Evidence) -> int:
    return e.grown("pictures_lost", "pictures_broken")


def _found(e: Evidence, kind: str) -> int:
    """When the present finding of that kind began, by its events."""
    since = e.heard_ms
    for one in e.words:
        if isinstance(one.body, Tamper) and one.body.kind == kind:
            since = one.at_ms if one.body.action == "found" else e.heard_ms
    return since


def _reason(word: Word) -> str:
    return word.body.reason if isinstance(word.body, State) else ""

"""Signs of the stop: help point, contacts, doors, case, and records that are refused. Pure."""

from __future__ import annotations

from collections import defaultdict

from agent.messages import Failure, Help, HelpTest, Reported, Switch, Tamper
from central.fleet.collect.alarms import HELP_TEST_MS
from central.fleet.visits.causes import UNKNOWN
from central.fleet.visits.evidence import DAY_MS, HOUR_MS, LASTING_MS, MINUTE_MS, Evidence, Finding
from central.fleet.visits.machine import AGAIN

OPEN_MS = HOUR_MS
"""A visit lasts an hour at most (R35): what is open for longer was forgotten, or broken open."""
FLAPS = 6
"""Changes of one contact in an hour: in a visit a door opens and closes twice, a loose contact does so without an end."""
HARM_MS = 30 * MINUTE_MS
"""A camera that is turned or covered so soon after the case was opened was harmed by whoever opened it."""


def help_point(e: Evidence) -> Finding | None:
    """The button, and the way from it to the centre."""
    alarm = e.alarm("help_button")
    tests = [one for one in e.words if isinstance(one.body, HelpTest)]
    closed = bool(tests) and isinstance(last := tests[-1].body, HelpTest) and last.button == "closed"
    reasons = (*(["alarm help_button"] if alarm else []), *(["button_closed"] if closed else []))
    if reasons or e.reason == "help_button_jammed":
        since = alarm.raised_ms if alarm else tests[-1].at_ms if closed else e.since_ms
        return Finding("help_button_jammed", reasons or (f"state {e.reason}",), since)
    if e.untested_days * DAY_MS >= HELP_TEST_MS and e.services.get("io") != "silent":
        return Finding("help_path", (f"help_test {e.untested_days}",), e.now_ms - e.untested_days * DAY_MS)
    return None


def contacts(e: Evidence) -> Finding | None:
    """io does not answer or cannot read a contact; contacts that flap: one is wiring, several are water."""
    flapping = _flapping(e)
    failed = e.grown("io_contact_failures")
    ended = any(isinstance(one.body, Failure) and (one.body.unit, one.body.result) == ("io", "exit-code") for one in e.recent())
    lasting = e.now_ms - e.since_ms >= LASTING_MS
    signs = (
        *([f"contact_failures {failed}"] if failed >= AGAIN else []),
        *([f"state {e.reason}"] if (e.reason == "contact_failed" or (e.reason == "io_silent" and ended)) and lasting else []),
    )
    if len(flapping) >= 2:
        return Finding("water", (f"flaps {', '.join(sorted(flapping))}", *signs), min(flapping.values()))
    if flapping or signs:
        told = (f"flaps {next(iter(flapping))}",) if flapping else ()
        return Finding("io_wiring", (*told, *signs), min(flapping.values(), default=e.since_ms))
    crashed = any(isinstance(one.body, Failure) and one.body.unit == "io" for one in e.recent())
    if e.reason == "io_silent" and lasting and not crashed:
        return Finding(UNKNOWN, (f"state {e.reason}",), e.since_ms)
    return None


def case(e: Evidence) -> Finding | None:
    """The case or the door stands open; with a camera that was harmed right after, somebody did it."""
    alarm = e.alarm("case")
    doors = [(one.at_ms, one.body.state) for one in e.words if isinstance(one.body, Switch) and one.body.what == "door"]
    opened = [one.at_ms for one in e.words if _is(one.body, ("case",))]
    harm = [one for one in e.words if _is(one.body, ("moved", "covered")) and any(0 <= one.at_ms - at <= HARM_MS for at in opened)]
    if harm and e.alarm("tamper"):
        kind = harm[-1].body.kind if isinstance(harm[-1].body, Tamper) else ""
        return Finding("vandalism", ("case_then", f"tamper {kind}"), harm[-1].at_ms)
    if alarm and e.now_ms - alarm.raised_ms >= OPEN_MS:
        return Finding("case_open", ("alarm case",), alarm.raised_ms)
    if doors and doors[-1][1] == "open" and e.now_ms - doors[-1][0] >= OPEN_MS:
        return Finding("door_open", (f"door_open {(e.now_ms - doors[-1][0]) // MINUTE_MS}",), doors[-1][0])
    return None


def records(e: Evidence) -> Finding | None:
    """The last word about a configuration or a record is that it was refused."""
    last = {one.body.what: one for one in e.words if isinstance(one.body, Reported)}
    refused = {what: one for what, one in last.items() if isinstance(one.body, Reported) and one.body.result == "refused"}
    if not refused:
        return None
    return Finding("configuration", (f"record_refused {', '.join(sorted(refused))}",), min(one.at_ms for one in refused.values()))


def _is(body: object, kinds: tuple[str, ...]) -> bool:
    return isinstance(body, Tamper) and body.kind in kinds and body.action == "found"


def _flapping(e: Evidence) -> dict[str, int]:
    """Contacts that changed `FLAPS` times within an hour of the last day, and when that began. Presses alone are people."""
    changes: dict[str, list[int]] = defaultdict(list)
    for one in e.recent():
        match one.body:
            case Switch(what="door" | "light" as what, state=state) if what == "door" or state in ("fault", "mended"):
                changes[what].append(one.at_ms)
            case Tamper(kind="case"):
                changes["case"].append(one.at_ms)
            case Help(action="pressed"):
                changes["button"].append(one.at_ms)
            case _:
                pass
    began = {what: _dense(sorted(times)) for what, times in changes.items()}
    found = {what: at for what, at in began.items() if at is not None}
    return {} if found.keys() == {"button"} else found


def _dense(times: list[int]) -> int | None:
    """When the first hour with `FLAPS` changes began."""
    return next((first for first, last in zip(times, times[FLAPS - 1 :], strict=False) if last - first <= HOUR_MS), None)

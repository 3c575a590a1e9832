"""`lykta link`: looks how long the broker has been away, and takes the rung that is due. systemd's timer runs it each minute.

Root, without a network: it asks the services over their sockets. Each rung is an event, and so is a reboot that a rule forbids;
they wait in the outbox for the link that they are about.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from agent.clocks import clock_of
from agent.config import Config, Modem
from agent.control import ask
from agent.messages import Rescue
from agent.outbox import Outbox
from agent.overlay import settings_in_force
from agent.rescue import Course, Decision, Facts, decide, taken
from drivers.clock import SystemClock
from drivers.rescue import OFF_S, cut_usb, systemctl, usb_port
from privacy.basis import rule
from privacy.errors import LyktaError, StorageError
from privacy.files import make_folder, place
from provisioning.identity import load_records
from provisioning.layout import Layout


def command(layout: Layout, dry: bool, as_json: bool) -> int:
    """0; 1 if a rung that was due could not be taken."""
    config = settings_in_force(layout)
    clock = clock_of(layout, config)
    course = _remembered(layout, clock).now(clock.boot_id, clock.mono_ms(), _connected(layout))
    decision = decide(course, facts_of(layout, clock))
    result = "" if dry else _act(layout, config, clock, course, decision)
    found = {"quiet_s": course.quiet_ms // 1000, "rung": decision.rung, "refused": decision.refusal, "result": result}
    line = msgspec.json.encode({"schema": "lykta.link/1", **found}).decode() if as_json else _line(found)
    sys.stdout.write(f"{line}\n")
    return int(result == "failed")


def facts_of(layout: Layout, clock: SystemClock) -> Facts:
    """Without valid records, or without trusted time, nothing is filmed, and a reboot costs no assessed minute."""
    try:
        basis, _ = load_records(layout)
        hours = rule(basis, clock.now(), clock.trusted()).open
    except LyktaError:
        hours = False
    hold = any(layout.spool.glob("*/hold.jws"))
    try:
        call = ask(layout.socket("io", "ctl"), {"verb": "status"})["detail"].get("call", "open") != "none"
    except LyktaError:
        call = True
    return Facts(hours, hold, call)


def _act(layout: Layout, config: Config, clock: SystemClock, course: Course, decision: Decision) -> str:
    told = course.told
    if decision.refusal and decision.refusal not in told:
        told = (*told, decision.refusal)
        _tell(layout, config, clock, Rescue("reboot", decision.refusal, course.quiet_ms // 1000))
    course = msgspec.structs.replace(course, told=told)
    if decision.rung is None:
        _remember(layout, course)
        return ""
    _remember(layout, taken(course, decision.rung))
    result: Any = "done"
    try:
        fitted = _climb(layout, config, decision)
        result = "done" if fitted else "not_fitted"
    except LyktaError as problem:
        result = "failed"
        sys.stderr.write(f"error: {problem}\nhint: {problem.hint}\n")
    if result != "not_fitted" or "not_fitted" not in course.told:
        _tell(layout, config, clock, Rescue(decision.rung, result, course.quiet_ms // 1000))
    if result == "not_fitted":
        _remember(layout, msgspec.structs.replace(taken(course, decision.rung), told=(*course.told, "not_fitted")))
    return str(result)


def _climb(layout: Layout, config: Config, decision: Decision) -> bool:
    """Whether there was something to act on."""
    match decision.rung:
        case "reconnect":
            # A new process: new names, new sockets, nothing of what may have hung.
            systemctl("restart", "lykta-uplink.service")
        case "modem":
            return _cut_modem(layout, config.modem, config.pins.chip)
        case _:
            systemctl("reboot")
    return True


def _cut_modem(layout: Layout, modem: Modem, chip: str) -> bool:
    if modem.power == "usb":
        cut_usb(usb_port(layout.root / "sys/bus/usb/devices", modem.usb_port))
        return True
    if modem.power == "gpio" and modem.pin is not None:
        from drivers.gpiod_pins import pulse

        pulse(chip, modem.pin, OFF_S)
        return True
    return False


def _connected(layout: Layout) -> bool:
    try:
        return bool(ask(layout.socket("uplink", "ctl"), {"verb": "status"})["detail"].get("connected"))
    except LyktaError:
        return False


def _path(layout: Layout) -> Path:
    return layout.var / "link/course.json"


def _remembered(layout: Layout, clock: SystemClock) -> Course:
    """Without a memory it begins now: a boot in which nothing was heard yet."""
    try:
        return msgspec.json.decode(_path(layout).read_bytes(), type=Course)
    except (FileNotFoundError, msgspec.DecodeError):
        return Course(clock.boot_id)


def _remember(layout: Layout, course: Course) -> None:
    try:
        make_folder(_path(layout).parent)
        place(_path(layout), msgspec.json.encode(course))
    except OSError as problem:
        # Without a memory the day's reboot would not be counted: then no rung is taken at all.
        raise StorageError(f"link: {_path(layout)}: {problem.strerror}", "free space or check the disk") from problem


def _tell(layout: Layout, config: Config, clock: SystemClock, event: Rescue) -> None:
    """A rung is taken whether or not the disk takes its event."""
    try:
        outbox = Outbox(layout.outbox, config.node.site, config.node.id, clock)
        outbox.put(event)
        outbox.close()
    except StorageError as problem:
        sys.stderr.write(f"error: {problem}\nhint: {problem.hint}\n")


def _line(found: dict[str, Any]) -> str:
    away = f"broker away for {found['quiet_s']} s" if found["quiet_s"] else "connected"
    refused = f"; no reboot: {found['refused']}" if found["refused"] else ""
    return f"{away}{refused}; " + (f"{found['rung']}: {found['result'] or 'due'}" if found["rung"] else "nothing to do")

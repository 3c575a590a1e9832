"""`lykta link`: checks how long the broker has been unreachable, and takes the rescue step that is due. Timer: each minute.

Root, without a network: it asks the services over their sockets. Each step is an event, and so is a reboot that a rule forbids;
root stores them in its own folder, and the uplink puts them from there into the outbox (`agent/runtime/rescue_log.py`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from agent.messages import Rescue
from agent.root.link_rescue import Decision, RescueFacts, RescueState, decide, taken
from agent.runtime import rescue_log
from agent.runtime.ask_status import io_status, uplink_status
from agent.runtime.clocks import clock_of
from agent.runtime.config import Config, Modem
from agent.runtime.settings_in_force import settings_in_force
from drivers import stderr
from drivers.clock import SystemClock
from drivers.power import OFF_S, cut_usb, systemctl, usb_port
from privacy.errors import LyktaError, RecordError, StorageError
from privacy.files import PUBLIC, make_folder, on_disk, place, read
from privacy.folders import Folder, opened
from privacy.foreign import decode, printable
from privacy.records.basis import rule
from privacy.records.manifest import HOLD_FILE
from provisioning.identity import load_records
from provisioning.layout import Layout


def command(layout: Layout, dry: bool, as_json: bool) -> int:
    """Exit code: 0; 1 if a step that was due failed."""
    config = settings_in_force(layout)
    clock = clock_of(layout, config)
    state = _remembered(layout, clock).now(clock.boot_id, clock.mono_ms(), _connected(layout))
    decision = decide(state, facts_of(layout, clock))
    result = "" if dry else _act(layout, config, state, decision)
    found = {"quiet_s": state.quiet_ms // 1000, "rung": decision.rung, "refused": decision.refusal, "result": result}
    line = msgspec.json.encode({"schema": "lykta.link/1", **found}).decode() if as_json else _line(found)
    sys.stdout.write(f"{line}\n")
    return int(result == "failed")


def facts_of(layout: Layout, clock: SystemClock) -> RescueFacts:
    """What may forbid a reboot. Without valid records or trusted time nothing is filmed, and a reboot costs no assessed minute."""
    try:
        basis, _ = load_records(layout)
        hours = rule(basis, clock.now(), clock.trusted()).open
    except LyktaError:
        hours = False
    hold = _anything_held(layout)
    try:
        call = io_status(layout).detail.call != "none"
    except LyktaError:
        call = True
    return RescueFacts(hours, hold, call)


def _anything_held(layout: Layout) -> bool:
    """Whether any clip is under a hold; no link made by the camera's user is followed."""
    try:
        with opened(layout.spool) as spool:
            return any(_is_held(spool, clip) for clip in spool.names())
    except FileNotFoundError:
        return False
    except OSError:  # unreadable counts as held: that forbids a reboot and nothing else
        return True


def _is_held(spool: Folder, clip: str) -> bool:
    """Whether this clip is under a hold; False for a name that is no folder or is deleted meanwhile."""
    try:
        with spool.folder(clip) as folder:
            return folder.is_file(HOLD_FILE)
    except (RecordError, FileNotFoundError):
        return False
    except OSError:
        return True


def _act(layout: Layout, config: Config, state: RescueState, decision: Decision) -> str:
    told = state.told
    if decision.refusal and decision.refusal not in told:
        told = (*told, decision.refusal)
        _tell(layout, Rescue("reboot", decision.refusal, state.quiet_ms // 1000))
    state = msgspec.structs.replace(state, told=told)
    if decision.rung is None:
        _remember(layout, state)
        return ""
    _remember(layout, taken(state, decision.rung))
    result: Any = "done"
    try:
        fitted = _climb(layout, config, decision)
        result = "done" if fitted else "not_fitted"
    except LyktaError as problem:
        result = "failed"
        stderr.error(problem)
    if result != "not_fitted" or "not_fitted" not in state.told:
        _tell(layout, Rescue(decision.rung, result, state.quiet_ms // 1000))
    if result == "not_fitted":
        _remember(layout, msgspec.structs.replace(taken(state, decision.rung), told=(*state.told, "not_fitted")))
    return str(result)


def _climb(layout: Layout, config: Config, decision: Decision) -> bool:
    """Take the step; False if the device for it is not fitted."""
    match decision.rung:
        case "reconnect":
            # A new process: name resolution and sockets begin anew, nothing that may hang is kept.
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
        from drivers.gpio.gpiod_pins import pulse

        pulse(chip, modem.pin, OFF_S)
        return True
    return False


def _connected(layout: Layout) -> bool:
    try:
        return uplink_status(layout).detail.connected
    except LyktaError:
        return False


def _path(layout: Layout) -> Path:
    return layout.link / "course.json"


def _remembered(layout: Layout, clock: SystemClock) -> RescueState:
    """The stored state; without one a new state as of now. A damaged one may have contained the day's reboot, so that counts."""
    try:
        return decode(read(_path(layout), "link"), RescueState, "link: course.json", hint="it begins anew")
    except FileNotFoundError:
        return RescueState(clock.boot_id)
    except (OSError, RecordError) as problem:
        stderr.note(f"{printable(problem)}: begins anew, and no reboot for a day")
        return RescueState(clock.boot_id, rebooted_ms=0)


def _remember(layout: Layout, state: RescueState) -> None:
    # Without a stored state the day's reboot would not be counted: if this fails, no step is taken at all.
    with on_disk(f"link: {_path(layout)}"):
        make_folder(_path(layout).parent, 0o755)
        place(_path(layout), msgspec.json.encode(state), mode=PUBLIC)


def _tell(layout: Layout, event: Rescue) -> None:
    """Store the event; a failure of the disk does not stop the step."""
    try:
        rescue_log.note(layout, event)
    except StorageError as problem:
        stderr.error(problem)


def _line(found: dict[str, Any]) -> str:
    away = f"broker away for {found['quiet_s']} s" if found["quiet_s"] else "connected"
    refused = f"; no reboot: {found['refused']}" if found["refused"] else ""
    return f"{away}{refused}; " + (f"{found['rung']}: {found['result'] or 'due'}" if found["rung"] else "nothing to do")

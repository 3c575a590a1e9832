"""`lykta link`: root, each minute, without a network. Gets a dead link going again, rung by rung; each rung is an event.

What a rung did is on the disk before it is done: where nothing can be written down, nothing is done.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from agent.clocks import clock_of
from agent.config import Config, Modem
from agent.control import ask
from agent.inspect import show, table_of
from agent.messages import Rescue
from agent.outbox import Outbox
from agent.overlay import settings_in_force
from agent.progress import note
from agent.rescue import Facts, Memory, Rung, Verdict, decide, fresh, look
from drivers.rescue import Acts, acts_of
from privacy.basis import rule
from privacy.errors import LyktaError, StorageError
from privacy.files import make_folder, place
from provisioning.identity import load_records
from provisioning.layout import Layout

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def command(layout: Layout, dry_run: bool, as_json: bool) -> int:
    """0; 1 if a rung failed."""
    config = settings_in_force(layout)
    facts = _facts(layout, config)
    memory, verdicts = decide(look(_recall(layout, facts), facts), facts)
    said = [_event(verdict, verdict.result) for verdict in verdicts]
    if not dry_run:
        _remember(layout, memory)
        said = _carry_out(layout, config, verdicts, acts_of(layout.root))
    quiet = int(memory.powered_s - memory.well_s)
    table = table_of("rung", "result", f"broker away {quiet} s")
    for one in said:
        table.add_row(one.rung, one.result, "")
    rungs = [{"rung": one.rung, "result": one.result} for one in said]
    show("link", {"quiet_s": quiet, "dry_run": dry_run, "rungs": rungs}, table, as_json)
    return int(any(one.result == "failed" for one in said))


def _facts(layout: Layout, config: Config) -> Facts:
    uplink, io = _detail(layout, "uplink"), _detail(layout, "io")
    return Facts(
        boot=_BOOT.read_text().strip(),
        mono_s=time.clock_gettime(time.CLOCK_BOOTTIME),
        away_s=None if uplink is None else uplink.get("away_s"),
        outside=_outside(layout, config),
        held=_held(layout),
        call=None if io is None else io.get("call") != "none",
        fitted=_fitted(config.modem),
    )


def _fitted(modem: Modem) -> bool:
    return {"usb": bool(modem.usb_port), "gpio": modem.pin is not None, "none": False}[modem.power]


def _detail(layout: Layout, service: str) -> dict[str, Any] | None:
    """What the service tells of itself; None if it is silent."""
    try:
        return dict(ask(layout.socket(service, "ctl"), {"verb": "status"})["detail"])
    except LyktaError:
        return None


def _outside(layout: Layout, config: Config) -> bool:
    """Whether it is known to be outside assessed hours: not without valid records, nor at an unknown time."""
    try:
        basis, _ = load_records(layout)
    except LyktaError as problem:
        note(f"hours unknown: {problem}")
        return False
    clock = clock_of(layout, config)
    ruling = rule(basis, clock.now(), clock.trusted())
    return not ruling.open and ruling.reason != "time_unknown"


def _held(layout: Layout) -> bool:
    """Whether an order holds a clip; a spool that cannot be read counts as one that does."""
    try:
        return any((clip / "hold.jws").exists() for clip in layout.spool.iterdir())
    except FileNotFoundError:
        return False
    except OSError as problem:
        note(f"holds unknown: {problem}")
        return True


# -- the memory --------------------------------------------------------------------------------------------------------


def _recall(layout: Layout, facts: Facts) -> Memory:
    try:
        return msgspec.json.decode(layout.link.read_bytes(), type=Memory)
    except FileNotFoundError:
        return fresh(facts.boot, facts.mono_s, lost=False)
    except (OSError, msgspec.DecodeError) as problem:
        note(f"{layout.link}: begun anew: {problem}")
        return fresh(facts.boot, facts.mono_s, lost=True)


def _remember(layout: Layout, memory: Memory) -> None:
    try:
        make_folder(layout.link.parent)
        place(layout.link, msgspec.json.encode(memory))
    except OSError as problem:
        raise StorageError(f"link: {layout.link}: {problem.strerror}", "no rung is taken that cannot be remembered") from problem


# -- rungs -------------------------------------------------------------------------------------------------------------


def _event(verdict: Verdict, result: Any) -> Rescue:
    return Rescue(verdict.rung, result, verdict.quiet_s)


def _carry_out(layout: Layout, config: Config, verdicts: list[Verdict], acts: Acts) -> list[Rescue]:
    said = []
    for verdict in verdicts:
        event = _event(verdict, verdict.result)
        # A reboot leaves no time to tell afterwards.
        if verdict.rung == "reboot":
            _tell(layout, config, event)
        if verdict.result == "done" and not _did(layout, config, verdict.rung, acts):
            event = _event(verdict, "failed")
        if verdict.rung != "reboot" or event.result == "failed":
            _tell(layout, config, event)
        said.append(event)
    return said


def _did(layout: Layout, config: Config, rung: Rung, acts: Acts) -> bool:
    try:
        _act(layout, config, rung, acts)
    except LyktaError as problem:
        note(f"{rung}: {problem}; {problem.hint}")
        return False
    return True


def _act(layout: Layout, config: Config, rung: Rung, acts: Acts) -> None:
    modem = config.modem
    if rung == "reboot":
        acts.reboot()
    elif rung == "reconnect":
        try:
            ask(layout.socket("uplink", "ctl"), {"verb": "reconnect"})
        except LyktaError:
            acts.restart("lykta-uplink")
    elif modem.power == "usb":
        acts.cut_port(modem.usb_port)
    elif modem.pin is not None:
        acts.cut_line(config.pins.chip, modem.pin)


def _tell(layout: Layout, config: Config, event: Rescue) -> None:
    """Into the outbox. Where it refuses, the rung is taken all the same: a restart may be what the disk needs."""
    try:
        outbox = Outbox(layout.outbox, config.node.site, config.node.id, clock_of(layout, config))
        outbox.put(event)
        outbox.close()
    except LyktaError as problem:
        note(f"link: not in the outbox: {problem}")

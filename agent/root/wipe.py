"""Wiping a node (R31): by a signed order or on site, as root. The last entry first, then keys, then the rest, then discard.

Without its keys the node can neither connect nor sign, and its clips can be opened only with the centre's identity; deleting
the rest is an additional measure. Models and settings stay: they are no personal data.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.runtime.ask_status import uplink_status
from agent.runtime.clocks import clock_of
from agent.runtime.settings_in_force import settings_in_force
from agent.terminal import show, table_of
from drivers import stderr
from drivers.disk import discard
from privacy.errors import LyktaError, UsageError
from privacy.files import sync_folder
from privacy.folders import remove
from privacy.foreign import LONGEST, printable
from privacy.records.journal import Fact, Journal
from privacy.records.order import verify_order
from provisioning.identity import command_keys, load_signer
from provisioning.layout import SERVICES, Layout
from provisioning.service_user import as_spool_owner

_LAST_WORD_S = 3.0


def wipe_by_order(layout: Layout, token: bytes, as_json: bool) -> int:
    """Execute a wipe order that was verified before; it is verified here again, because this runs as root."""
    node = settings_in_force(layout).node
    order = verify_order(token, command_keys(layout), node.site, node.id)
    if order.act != "wipe":
        raise UsageError(f"order {order.number}: is no wipe (got {order.act})", "`lykta order apply` hands it to the camera")
    facts: dict[str, Fact] = {"number": order.number, "case": order.case, "decided": order.decided, "performed": order.performed}
    return _wipe(layout, facts, as_json)


def decommission(layout: Layout, decided: str, performed: str, case: str, sure: bool, as_json: bool) -> int:
    """Wipe by a technician on site."""
    if not sure:
        raise UsageError("decommission: removes this node's keys and all its clips for ever", "say --yes if that is meant")
    if decided.strip().lower() == performed.strip().lower():
        raise UsageError(f"decommission: performed: must be another person than who decided (got {performed!r})", "two people")
    return _wipe(layout, {"case": case, "decided": decided, "performed": performed}, as_json)


def _wipe(layout: Layout, facts: dict[str, Fact], as_json: bool) -> int:
    """Exit code: 0; 1 if something could not be removed, which is named."""
    entry = _last_entry(layout, facts)
    # Before anything is deleted: from here on the printed line is the only proof for the person who wipes.
    stderr.line(f"last entry: {printable(entry, LONGEST)}")
    _last_word(layout)
    seconds: dict[str, float] = {}
    left: list[str] = []
    _timed(seconds, "stop", lambda: _stop_services(layout))
    _timed(seconds, "keys", lambda: _remove(layout.certificates, left))
    folders = (
        layout.spool,
        layout.outbox.parent,
        layout.io_outbox.parent,
        layout.var / "journal",
        layout.camera,
        layout.uplink,
        layout.inbox,
        layout.applied,
    )
    for folder in folders:
        _timed(seconds, "files", lambda folder=folder: _remove(folder, left))  # type: ignore[misc]
    freed, why = _timed(seconds, "discard", lambda: _discard(layout))
    result = {"entry": entry, "seconds": seconds, "left": left, "discarded_bytes": freed, "discard_refused": why}
    table = table_of("wiped", "")
    for name, value in result.items():
        table.add_row(name, str(value))
    show("wipe", result, table, as_json)
    return int(bool(left))


def _last_entry(layout: Layout, facts: dict[str, Fact]) -> str:
    """The signed entry, or why there is none: after an interrupted wipe there is no key left, and no journal may prevent a wipe."""
    try:
        clock = clock_of(layout, settings_in_force(layout))
        signer = load_signer(layout, "retention")
        with as_spool_owner(layout):
            return Journal(layout.journal("retention"), "retention", signer, clock.now).append("wiped", **facts).decode()
    except (LyktaError, OSError) as problem:
        return f"none: {problem}"


def _last_word(layout: Layout) -> None:
    """Give a connected uplink a short time to send what waits; a wipe waits no longer for the network."""
    end = time.monotonic() + _LAST_WORD_S
    while time.monotonic() < end:
        try:
            detail = uplink_status(layout).detail
        except LyktaError:
            return
        if not (detail.connected and detail.pending):
            return
        time.sleep(0.1)


def _stop_services(layout: Layout) -> None:
    if layout.root == Path("/") and Path("/run/systemd/system").exists():
        units = [f"lykta-{name}.service" for name in SERVICES]
        with suppress(OSError, subprocess.SubprocessError):  # without their keys they end by themselves
            subprocess.run(["systemctl", "stop", "--no-block", *units], check=False, timeout=5)


def _remove(folder: Path, left: list[str]) -> None:
    """Delete a folder's content; failures are collected in `left`, and the rest goes on."""
    if folder.parent.is_dir():
        left += [f"{folder}: {one}" for one in remove(folder)]
        sync_folder(folder.parent)


def _discard(layout: Layout) -> tuple[int | None, str]:
    try:
        return discard(layout.var), ""
    except OSError as problem:
        return None, problem.strerror or str(problem)


def _timed(seconds: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    begin = time.monotonic()
    result = work()
    seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - begin, 3)
    return result

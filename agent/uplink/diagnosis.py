"""What one file says about this node for whoever mends it. No picture, no clip, no key, no personal data (R37)."""

from __future__ import annotations

import platform
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from agent.inbox.inbox import folder_of
from agent.runtime.ask_status import status_at
from agent.runtime.settings_in_force import settings_in_force
from agent.runtime.status import STATUS, Status, StatusAnswer
from agent.uplink.health import groups, readings
from agent.uplink.health.trends import Boots
from agent.uplink.upload.parcels import MOST_BYTES
from drivers import board, sysd
from privacy.errors import LyktaError
from privacy.records.journal import head_of
from privacy.records.manifest import MANIFEST_FILE
from provisioning.identity import UNITS
from provisioning.layout import SERVICES, Layout

_MOST_LINES = 300
_LONGEST_LINE = 300
_MOST_LOG = 100_000


def collect(layout: Layout, socket: Literal["ctl", "uplink"], findings: list[Any] | None = None) -> dict[str, Any]:
    """The data about this node; a value that cannot be read is null, with the reason under `unreadable`.

    socket    of the services, on which the caller may ask for their status
    findings  of `lykta check`, which a person on the node can run
    """
    unreadable: dict[str, str] = {} if findings is not None else {"findings": "only `lykta diag` on the node checks"}

    def read(name: str, reader: Callable[[], Any]) -> Any:
        try:
            return reader()
        except (LyktaError, OSError, ValueError) as problem:
            unreadable[name] = str(problem)
            return None

    from importlib.metadata import distributions  # late: a diagnosis is seldom, and it takes memory

    services = {name: read(f"services.{name}", partial(_service, layout, name, socket)) for name in SERVICES}
    found = {
        "schema": "lykta.diag/1",
        "t": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {found.name: found.version for found in distributions()},
        "machine": _machine(layout),
        "services": services,
        "findings": findings,
        "config": read("config", lambda: msgspec.to_builtins(settings_in_force(layout))),
        "clips": _clips(layout),
        "outbox": _outbox(layout, services["uplink"]),
        "heads": {unit: read(f"heads.{unit}", partial(_head, layout, unit)) for unit in UNITS},
        "log": read("log", _log),
    }
    return found | {"unreadable": unreadable}


def _service(layout: Layout, name: str, socket: str) -> dict[str, Any]:
    answer: StatusAnswer[Status] = status_at(layout.socket(name, socket), STATUS[name])
    return {"standing": msgspec.to_builtins(answer.standing), "detail": msgspec.to_builtins(answer.detail)}


def _head(layout: Layout, unit: str) -> str:
    return str(head_of(layout.journal(unit)))


def _machine(layout: Layout) -> dict[str, Any]:
    system = platform.uname()
    place = layout.var if layout.var.exists() else Path("/")
    machine = (readings.Machine, readings.of_machine(place, readings.Trends.of(place, Boots(None, ""))))
    found = {name: one for name, one in groups.collect({}, (machine,)).items() if name in ("system", "power", "storage")}
    return {
        "model": board.model(),
        "kernel": f"{system.system} {system.release} {system.machine}",
        "python": platform.python_version(),
        "health": {name: {"values": one.values, "unreadable": one.unreadable, "words": one.words} for name, one in found.items()},
    }


def _clips(layout: Layout) -> dict[str, int]:
    """Counts only, no ids: an id contains the time at which somebody was there."""
    folders = [path for path in layout.spool.glob("*") if path.is_dir()]
    beside = {name: sum((folder / f"{name}.jws").exists() for folder in folders) for name in ("hold", "export")}
    return {
        "complete": sum((folder / MANIFEST_FILE).exists() for folder in folders),
        "bytes": _bytes(layout.spool, "*/*.age"),
        "receipts_in_inbox": len(list(folder_of(layout, "receipt").glob("*.jws"))),
        **beside,
    }


def _outbox(layout: Layout, uplink: dict[str, Any] | None) -> dict[str, int | None]:
    """Both outboxes, as counted by the uplink; opening them here could leave files that other users own."""
    size = _bytes(layout.outbox.parent, "*") + _bytes(layout.io_outbox.parent, "*")
    return {"pending": (uplink or {}).get("detail", {}).get("pending"), "bytes": size}


def _bytes(folder: Path, pattern: str) -> int:
    return sum(path.lstat().st_size for path in folder.glob(pattern) if path.is_file())


def _log() -> list[str]:
    """The services' last log lines, oldest first, within the size limit."""
    lines = [line[:_LONGEST_LINE] for line in sysd.recent(SERVICES, _MOST_LINES)]
    while sum(map(len, lines)) > min(_MOST_LOG, MOST_BYTES):
        del lines[0]
    return lines

"""The one builder of a clip's manifest for tests: a test says what matters to it, and the rest fits."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from privacy.records.manifest import Manifest

BEGIN = datetime.now(UTC).replace(microsecond=0)
"""After the certificates of this run were made: a manifest is verified at its own time."""
WIDTH, HEIGHT = 320, 180


def manifest(clip: str, name: str = "city/stop-1", to: tuple[str, ...] = (), **changes: Any) -> Manifest:
    """What a clip of that node begins with: three seconds from BEGIN, kept for 72 hours, the first two of 30 frames fully masked.

    name      SITE/NODE
    to        recipients
    changes   what it says instead, by field; end and deadline are counted from its begin
    """
    site, _, node = name.partition("/")
    begin = changes.get("begin", BEGIN)
    fields: dict[str, Any] = {
        "clip": clip,
        "site": site,
        "node": node,
        "area": "Skäggetorp",
        "state": "open",
        "trigger": "presence",
        "begin": begin,
        "end": begin + timedelta(seconds=3),
        "time_error_ms": 1000,
        "mono_ms": 1,
        "boot_id": "b1",
        "clock": "synced",
        "width": WIDTH,
        "height": HEIGHT,
        "frames": 30,
        "full": {"start": 2},
        "profile": "standard",
        "stack": "yolox-nano+yunet",
        "models": {"yolox_nano.onnx": hashlib.sha256(b"").hexdigest()},
        "zones_sha256": hashlib.sha256(bytes(WIDTH * HEIGHT)).hexdigest(),
        "basis": "basis-1",
        "view": "view-1",
        "deadline": begin + timedelta(hours=72),
        "recipients": to,
        "files": (),
        "previous": "",
    }
    return Manifest(**(fields | changes))

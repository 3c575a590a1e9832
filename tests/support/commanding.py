"""Commands as the centre signs them, and as nobody should."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import msgspec

from central.keys.key_folder import signer
from drivers.clock import SystemClock
from privacy.records.command import COMMAND, LONGEST_MS, Command
from privacy.records.jws import sign


def now_ms() -> int:
    """Of this machine since its boot."""
    return SystemClock("host").mono_ms()


def ordered(keys: Path, node: str, which: str, words: dict[str, str], /, **changes: Any) -> bytes:
    """A command for a node on this machine, heard a moment ago. changes: what the record says instead."""
    site, _, name = node.partition("/")
    number, end_ms = time.time_ns() // 1_000_000, now_ms() + LONGEST_MS - 1000
    record = Command(which, site, name, str(uuid.uuid4()), words, SystemClock("host").boot_id, number, end_ms)
    time.sleep(0.002)  # the number is in milliseconds, and each is greater than the last
    return sign(msgspec.structs.replace(record, **changes), signer(keys, "command"), COMMAND)

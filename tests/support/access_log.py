"""The access log of a centre, read and verified."""

from __future__ import annotations

from pathlib import Path

from central.keys.key_folder import evidence
from privacy.records.journal import Chain, Entry, verify_chain


def log(keys: Path) -> Chain:
    return verify_chain(keys / "access", "access", evidence(keys))


def last(keys: Path) -> Entry:
    return log(keys).entries[-1]

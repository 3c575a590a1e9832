"""The access log of a centre, read and verified."""

from __future__ import annotations

from pathlib import Path

from central.keys.key_folder import authority_with_retired
from privacy.records.chains import Chain, verify_chain
from privacy.records.journal import Entry


def log(keys: Path) -> Chain:
    return verify_chain(keys / "access", "access", authority_with_retired(keys))


def last(keys: Path) -> Entry:
    return log(keys).entries[-1]

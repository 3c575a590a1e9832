"""The access log: who opened, handed out and ordered what, or tried to (R32, R33b). A journal like a node's, in KEYS/access.

The chain is signed by the centre's own key (role `access`), so that a refused stranger is noted too. What an officer did also
carries the officer's own signature over the same facts: nobody else can write it, and the officer cannot deny it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from central.keys.key_folder import read, signer
from privacy.errors import RecordError, StorageError
from privacy.files import on_disk
from privacy.records.journal import Entry, Fact, Head, Journal
from privacy.records.jws import Authority, Signer, sign, verify_issued

UNIT = "access"
OFFICER = "officer"
DEED = "lykta-deed"
DEEDS = frozenset({"open", "export", "handed_out", "order", "send"})
"""Kinds of entries that only an officer can make; the others (refused, officer, revoke, rotate …) the centre notes itself."""
_SIGNED = "deed"
Facts = Mapping[str, Fact]


@dataclass(frozen=True)
class Officer:
    """Somebody with a right and the key to answer for it."""

    name: str
    signer: Signer


class Deed(Struct, frozen=True, forbid_unknown_fields=True):
    """What an officer signs before it is done. facts: those of the entry."""

    officer: str
    act: str
    t: datetime
    facts: dict[str, Fact]


def note(keys: Path, act: str, facts: Facts, officer: Officer | None = None) -> Head:
    """Write one entry; it is on the disk when this returns, else `StorageError` and nothing may be done."""
    by: dict[str, Fact] = {"account": _account()}
    if officer:
        deed = Deed(officer.name, act, datetime.now(UTC), dict(facts))
        by |= {"officer": officer.name, _SIGNED: sign(deed, officer.signer, DEED).decode()}
    read(keys / f"{UNIT}.key")
    try:
        with on_disk(keys / UNIT):
            journal = Journal(keys / UNIT, UNIT, signer(keys, UNIT), lambda: datetime.now(UTC))
            journal.append(act, **facts, **by)
    except StorageError as problem:
        raise StorageError(f"access log: {problem}", "without the log nothing is opened", problem.errno) from problem
    return journal.head


def check_deed(entry: Entry, trusted: Authority) -> str:
    """The officer's signature over an entry that needs one; returns it, "" if none is due. `RecordError` if it does not hold."""
    token = entry.facts.get(_SIGNED)
    if entry.kind not in DEEDS and token is None:
        return ""
    deed, party = verify_issued(str(token).encode(), DEED, trusted, OFFICER, Deed, lambda deed: deed.t)
    facts = {name: value for name, value in entry.facts.items() if name not in ("account", OFFICER, _SIGNED)}
    if (deed.officer, deed.act, deed.facts) != (entry.facts.get(OFFICER), entry.kind, facts) or party.name != deed.officer:
        raise RecordError("deed: is not what the officer signed", "the entry was made up or changed")
    return str(token)


def _account() -> str:
    """The user of this machine, whoever it claims to be."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())

"""The access log: who opened, exported, ordered, signed and commanded what, or tried to (R32, R33b). A journal like a node's, in
KEYS/access.

The chain is signed by the centre's own key (role `access`), so that refused attempts have entries too. An officer's act also
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
DEEDS = frozenset({"open", "export", "handed_out", "order", "send", "answer", "sign", "command"})
"""Kinds of entries that need an officer's signature; the centre alone writes the others (refused, officer, revoke, rotate …)."""
_SIGNED = "deed"
Facts = Mapping[str, Fact]


@dataclass(frozen=True)
class Officer:
    """An officer's name and signing key."""

    name: str
    signer: Signer


class Deed(Struct, frozen=True, forbid_unknown_fields=True):
    """What an officer signs before an act. facts: those of the entry in the log."""

    officer: str
    act: str
    t: datetime
    facts: dict[str, Fact]


def log_access(keys: Path, act: str, facts: Facts, officer: Officer | None = None) -> Head:
    """Write one entry, signed by the officer too if there is one; returns the log's head.

    It is on the disk when this returns. After `StorageError` the act must not be carried out.
    """
    by: dict[str, Fact] = {"account": _user_name()}
    if officer:
        deed = Deed(officer.name, act, datetime.now(UTC), dict(facts))
        by |= {"officer": officer.name, _SIGNED: sign(deed, officer.signer, DEED).decode()}
    read(keys / f"{UNIT}.key")
    try:
        with on_disk(keys / UNIT):
            journal = Journal(keys / UNIT, UNIT, signer(keys, UNIT), lambda: datetime.now(UTC))
            journal.append(act, **facts, **by)
    except StorageError as problem:
        raise StorageError(f"access log: {problem}", "no clip is opened without an entry in the log", problem.errno) from problem
    return journal.head


def check_deed(entry: Entry, trusted: Authority) -> str:
    """Check the officer's signature of an entry; returns the signed text, "" if none is needed. `RecordError` if it is wrong."""
    token = entry.facts.get(_SIGNED)
    if entry.kind not in DEEDS and token is None:
        return ""
    deed, party = verify_issued(str(token).encode(), DEED, trusted, OFFICER, Deed, lambda deed: deed.t)
    facts = {name: value for name, value in entry.facts.items() if name not in ("account", OFFICER, _SIGNED)}
    if (deed.officer, deed.act, deed.facts) != (entry.facts.get(OFFICER), entry.kind, facts) or party.name != deed.officer:
        raise RecordError("deed: is not what the officer signed", "the entry was forged or changed")
    return str(token)


def _user_name() -> str:
    """The operating system's user name of this process, or the number of the user."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())

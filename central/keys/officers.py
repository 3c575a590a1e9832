"""Officers: who may open, export and order. A certificate of role `officer` each, and a list of rights that the CA signs.

What this enforces on one machine, and what it cannot, stands in docs/decisions/0017.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct

from central.keys.access_log import DEED, OFFICER, Deed, Facts, Officer, note
from central.keys.certificates import issue, issuer
from central.keys.key_folder import authority, public_key, read, signer, write
from privacy.errors import AccessError, EnrolmentError, RecordError, UsageError
from privacy.files import CLOSED, make_folder
from privacy.records.journal import Entry
from privacy.records.jws import TrustedKeys, sign, thumbprint, verify_issued, verify_listed

ROLES = "lykta-roles"
FOLDER = "officers"
Right = Literal["open", "export", "order"]
RIGHTS: tuple[Right, ...] = get_args(Right)
NAME = r"[a-z][a-z0-9-]{0,39}"


class Roles(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may do what. number: counts up with each change."""

    number: int
    issued: datetime
    officers: dict[str, tuple[Right, ...]]


def roles(keys: Path) -> Roles:
    """The list in force; `RecordError` if a CA in force did not sign it."""
    cas = TrustedKeys({thumbprint(key): key for key in map(public_key, authority(keys).cas)})
    return verify_listed(read(keys / "roles.jws"), ROLES, cas, Roles)


def set_rights(keys: Path, changed: dict[str, tuple[Right, ...]]) -> Roles:
    """Sign the list anew with these officers' rights; who is left with none is taken off it. Makes the keys of new ones."""
    before = roles(keys) if (keys / "roles.jws").exists() else Roles(0, datetime.now(UTC), {})
    for name, rights in changed.items():
        check_name(name)
        if rights and not (keys / FOLDER / f"{name}.key").exists():
            make_folder(keys / FOLDER, CLOSED)
            issue(keys, keys / FOLDER / name, name, OFFICER)
    officers = {name: rights for name, rights in {**before.officers, **changed}.items() if rights}
    after = Roles(before.number + 1, datetime.now(UTC), officers)
    for name, rights in changed.items():
        note(keys, "officer", {"name": name, "rights": " ".join(rights), "roles": after.number})
    write(keys / "roles.jws", sign(after, issuer(keys), ROLES), 0o644, replace=True)
    return after


def check_roles(keys: Path, entries: Sequence[Entry]) -> None:
    """`RecordError` unless the list in force is the one that the access log's entries tell of last."""
    noted = max((int(entry.facts["roles"] or 0) for entry in entries if entry.kind == OFFICER), default=0)
    number = roles(keys).number
    if number < noted:
        raise RecordError(
            f"roles: the list in force is number {number}, the access log tells of {noted}", "an older one was put back"
        )


def check_name(name: str) -> None:
    """`UsageError` unless it can be an officer's: it becomes a file's and a certificate's."""
    if not re.fullmatch(NAME, name):
        raise UsageError(f"officer: must be lower case, digits and hyphens, 40 at most (got {name!r})", "for instance eva-ek")


def admit(keys: Path, name: str | None, right: Right, facts: Facts) -> Officer:
    """The officer of that name with that right, proved by the key; `AccessError` for anybody else, journalled with `facts`.

    name   None or empty: the only officer whose key is in the folder
    """
    allowed = roles(keys).officers
    name = name or _only(keys)
    try:
        if right not in allowed.get(name, ()):
            raise AccessError(f"officer: {name!r} may not {right}", "lykta-central officer KEYS shows who may")
        return _proved(keys, name)
    except AccessError as problem:
        note(keys, "refused", {"claimed": name[:80], "right": right, "reason": str(problem)[:200], **facts})
        raise


def two_people(decided: str, performed: str) -> None:
    """`UsageError` unless both are named and are not the same person, however the name is written (R33b)."""
    if not _plain(decided) or _plain(decided) == _plain(performed):
        raise UsageError(
            f"decided: must be another person than who performs (got {decided!r} and {performed!r})", "two people answer for it"
        )


def _proved(keys: Path, name: str) -> Officer:
    """The officer, if the key in the folder is that of a certificate that stands."""
    try:
        officer = Officer(name, signer(keys / FOLDER, name))
        proof = sign(Deed(name, "admit", datetime.now(UTC), {}), officer.signer, DEED)
        _, party = verify_issued(proof, DEED, authority(keys), OFFICER, Deed)
    except (EnrolmentError, RecordError) as problem:
        raise AccessError(f"officer: {name}: {problem}", "an officer acts with their own key") from problem
    if party.name != name:
        raise AccessError(f"officer: {name}: the key is {party.name}'s", "an officer acts with their own key")
    return officer


def _only(keys: Path) -> str:
    found = [path.stem for path in (keys / FOLDER).glob("*.key")]
    if len(found) != 1:
        raise UsageError(f"as: must name the officer: {len(found)} have keys here", "--as NAME, or set LYKTA_OFFICER")
    return found[0]


def _plain(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "-".join(re.findall(r"[^\W_]+", folded))


def describe(held: Roles) -> list[str]:
    """The list for people."""
    lines = [f"  {name:20} {' '.join(rights)}" for name, rights in sorted(held.officers.items())]
    return [f"roles {held.number} of {held.issued:%Y-%m-%d %H:%M} UTC", *lines]

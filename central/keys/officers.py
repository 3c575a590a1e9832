"""Officers and their rights (open, export, order, sign, command): a certificate with role `officer` each, and a list that the CA
signs.

docs/decisions/0017-officers.md says what this enforces on one machine, and what it cannot.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct

from central.keys.access_log import DEED, OFFICER, Deed, Facts, Officer, log_access
from central.keys.certificates import issue, issuer
from central.keys.key_folder import authority, public_key, read, signer, write
from privacy.errors import AccessError, EnrolmentError, RecordError, UsageError
from privacy.files import CLOSED, make_folder
from privacy.records.journal import Entry
from privacy.records.jws import TrustedKeys, sign, thumbprint, verify_issued, verify_listed

ROLES = "lykta-roles"
FOLDER = "officers"
Right = Literal["open", "export", "order", "sign", "command"]
"""sign: a basis, view or configuration, and sending it to a node; command: commands to nodes."""
RIGHTS: tuple[Right, ...] = get_args(Right)
NAME = r"[a-z][a-z0-9-]{0,39}"


class Roles(Struct, frozen=True, forbid_unknown_fields=True):
    """The officers' rights by name. number: increases by one with each change."""

    number: int
    issued: datetime
    officers: dict[str, tuple[Right, ...]]


def roles(keys: Path) -> Roles:
    """The list in force; `RecordError` if no trusted CA signed it."""
    cas = TrustedKeys({thumbprint(key): key for key in map(public_key, authority(keys).cas)})
    return verify_listed(read(keys / "roles.jws"), ROLES, cas, Roles)


def set_rights(keys: Path, changed: dict[str, tuple[Right, ...]]) -> Roles:
    """Change rights and sign the new list, which is returned. An officer without rights is removed; new officers get a key."""
    before = roles(keys) if (keys / "roles.jws").exists() else Roles(0, datetime.now(UTC), {})
    for name, rights in changed.items():
        check_name(name)
        if rights and not (keys / FOLDER / f"{name}.key").exists():
            make_folder(keys / FOLDER, CLOSED)
            issue(keys, keys / FOLDER / name, name, OFFICER)
    officers = {name: rights for name, rights in {**before.officers, **changed}.items() if rights}
    after = Roles(before.number + 1, datetime.now(UTC), officers)
    for name, rights in changed.items():
        log_access(keys, "officer", {"name": name, "rights": " ".join(rights), "roles": after.number})
    write(keys / "roles.jws", sign(after, issuer(keys), ROLES), 0o644, replace=True)
    return after


def check_roles(keys: Path, entries: Sequence[Entry]) -> None:
    """`RecordError` if the list in force is older than the last one in the access log."""
    noted = max((int(entry.facts["roles"] or 0) for entry in entries if entry.kind == OFFICER), default=0)
    number = roles(keys).number
    if number < noted:
        raise RecordError(
            f"roles: the list in force is number {number}, the access log has number {noted}", "an older list was restored"
        )


def check_name(name: str) -> None:
    """`UsageError` unless it can be an officer's name, which is also that of a file and a certificate."""
    if not re.fullmatch(NAME, name):
        raise UsageError(f"officer: must be lower case, digits and hyphens, 40 at most (got {name!r})", "for instance eva-ek")


def authorize(keys: Path, name: str | None, right: Right, facts: Facts) -> Officer:
    """The officer, if the list grants the right and the key proves it; else `AccessError`, with an entry in the access log.

    name    None or empty: the only officer whose key is in the folder
    facts   what the attempt was about, for that entry
    """
    allowed = roles(keys).officers
    name = name or _only_officer(keys)
    try:
        if right not in allowed.get(name, ()):
            raise AccessError(f"officer: {name!r} may not {right}", "lykta-central officer KEYS lists the rights")
        return _prove_key(keys, name)
    except AccessError as problem:
        log_access(keys, "refused", {"claimed": name[:80], "right": right, "reason": str(problem)[:200], **facts})
        raise


def check_two_people(decided: str, performed: str) -> None:
    """`UsageError` unless both are named and differ in more than case, spaces and punctuation (R33b)."""
    if not _normalized(decided) or _normalized(decided) == _normalized(performed):
        raise UsageError(
            f"decided: must be another person than the one who performs (got {decided!r} and {performed!r})",
            "two people must be responsible",
        )


def _prove_key(keys: Path, name: str) -> Officer:
    """Sign and verify with the officer's key; `AccessError` unless its certificate is valid and in this name."""
    try:
        officer = Officer(name, signer(keys / FOLDER, name))
        proof = sign(Deed(name, "admit", datetime.now(UTC), {}), officer.signer, DEED)
        _, party = verify_issued(proof, DEED, authority(keys), OFFICER, Deed)
    except (EnrolmentError, RecordError) as problem:
        raise AccessError(f"officer: {name}: {problem}", "an officer acts with their own key") from problem
    if party.name != name:
        raise AccessError(f"officer: {name}: the key is {party.name}'s", "an officer acts with their own key")
    return officer


def _only_officer(keys: Path) -> str:
    found = [path.stem for path in (keys / FOLDER).glob("*.key")]
    if len(found) != 1:
        raise UsageError(f"as: must name the officer: {len(found)} have keys here", "--as NAME, or set LYKTA_OFFICER")
    return found[0]


def _normalized(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "-".join(re.findall(r"[^\W_]+", folded))


def describe(held: Roles) -> list[str]:
    """The list as lines of text."""
    lines = [f"  {name:20} {' '.join(rights)}" for name, rights in sorted(held.officers.items())]
    return [f"roles {held.number} of {held.issued:%Y-%m-%d %H:%M} UTC", *lines]

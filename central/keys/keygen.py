"""Makes, replaces and retires the centre's keys. docs/KEY-DRILLS.md says what to do in an emergency."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pyrage

from central.keys.access_log import UNIT, log_access
from central.keys.broker import ROLES
from central.keys.certificates import issue, issue_again, issued_by_current_ca, make_ca, pem
from central.keys.key_folder import (
    authority,
    authority_with_retired,
    old_numbers,
    read,
    retire,
    set_aside,
    signer,
    write,
    write_pair,
)
from central.keys.officers import FOLDER, RIGHTS, check_name, set_rights
from central.keys.recipients import current, set_recipients
from central.keys.revoking import write_crl
from privacy.errors import UsageError
from privacy.files import CLOSED, OPEN, make_folder
from privacy.records.seal import Recipient

__all__ = ["add_custodian", "authority", "authority_with_retired", "issue", "keygen", "read", "retire_key", "rotate", "signer"]

FIRST = "officer-1"
SERVERS = ("ingest", "broker")
CLIENTS = tuple(ROLES)
"""Certificates with which the centre's own programs connect to the broker."""


def keygen(folder: Path, hosts: Sequence[str], officer: str = FIRST) -> None:
    """Make all keys in a new folder; `UsageError` if it already holds keys.

    hosts     names and addresses of broker and ingest, for their certificates
    officer   the first officer, with all rights
    """
    if any(folder.glob("*.key")):
        raise UsageError(f"keygen: {folder}: holds keys already", "name a new folder; keys are never overwritten")
    check_name(officer)
    check_hosts(hosts)
    make_folder(folder.parent, OPEN)
    make_folder(folder, CLOSED)
    make_ca(folder)
    for name in ("basis", "command"):
        write_pair(folder, name)
    for name in ("receipt", *CLIENTS):
        issue(folder, folder / name, name, name)
    issue(folder, folder / UNIT, "centre", UNIT)
    for server in SERVERS:
        issue(folder, folder / server, server, "server", hosts=hosts)
    write_crl(folder, {})
    identity = _new_identity(folder)
    set_recipients(folder, [identity])
    log_access(folder, "keygen", {"recipient": identity})
    set_rights(folder, {officer: RIGHTS})


def rotate(folder: Path, name: str) -> None:
    """Replace a key. The old one gets a number; it still opens clips and is still trusted, until it is retired.

    The old private key is not needed, so this also works after a loss. For ingest and broker: as `reissue`. For the clients of the
    broker: a new key and certificate; a folder of an earlier version gets those that it lacks in this way.
    """
    if name in SERVERS:
        reissue(folder, name, ())
        return
    if name in CLIENTS:
        log_access(folder, "rotate", {"key": name})
        issue(folder, folder / name, name, name, replace=True)
        return
    steps = _step_for(name, {"identity": _rotate_identity, "ca": _rotate_ca, "receipt": _rotate_receipt}, _rotate_pair)
    log_access(folder, "rotate", {"key": name})
    steps(folder, name)


def reissue(folder: Path, server: str, hosts: Sequence[str]) -> None:
    """Replace key and certificate of ingest or broker. hosts: names and addresses; if empty, those of the present certificate."""
    check_hosts(hosts)
    log_access(folder, "rotate", {"key": server, "hosts": " ".join(hosts)})
    if hosts:
        issue(folder, folder / server, server, "server", hosts=hosts, replace=True)
    else:
        issue_again(folder, folder / server)


def check_hosts(hosts: Sequence[str]) -> None:
    for host in hosts:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9a-fA-F:]+", host):
            raise UsageError(f"keygen: --host: must be a name or an address (got {host[:80]!r})", "for instance ingest.example.org")


def retire_key(folder: Path, name: str) -> None:
    """Stop trusting the earlier keys of this name, and delete their private keys."""
    if name == "identity":
        raise UsageError(
            "keygen: --retire: an old identity opens old clips",
            "delete identity-N.txt when the last clip sealed to it is deleted",
        )
    steps = _step_for(name, {"ca": _retire_ca}, retire)
    if not old_numbers(folder, name):
        raise UsageError(f"keygen: --retire: there is no earlier {name} key", f"keygen {folder} --rotate {name} makes a new one")
    log_access(folder, "retire", {"key": name})
    steps(folder, name)


def add_custodian(folder: Path, recipient: str) -> None:
    """Add a recipient (age1…) who can open all clips sealed from now on."""
    Recipient.parse(recipient)
    lines = current(folder)
    if recipient in lines:
        raise UsageError(f"keygen: --custodian: {recipient} is one already", "nothing was changed")
    log_access(folder, "custodian", {"recipient": recipient})
    set_recipients(folder, [*lines, recipient])


Step = Callable[[Path, str], None]


def _step_for(name: str, special: dict[str, Step], otherwise: Step) -> Step:
    if name not in ("identity", "ca", "basis", "command", "receipt"):
        raise UsageError(
            f"keygen: key: must be identity, ca, basis, command or receipt; --rotate also takes "
            f"{', '.join((*SERVERS, *CLIENTS))} (got {name!r})",
            "see docs/KEY-DRILLS.md",
        )
    return special.get(name, otherwise)


def _new_identity(folder: Path) -> str:
    """Make a new identity that opens clips; returns its recipient (age1…)."""
    identity = pyrage.x25519.Identity.generate()
    write(folder / "identity.txt", f"{identity}\n".encode(), 0o600)
    return str(identity.to_public())


def _rotate_identity(folder: Path, name: str) -> None:
    """Replaces the first recipient, the centre's own; custodians stay."""
    set_aside(folder, name)
    set_recipients(folder, [_new_identity(folder), *current(folder)[1:]])


def _rotate_pair(folder: Path, name: str) -> None:
    set_aside(folder, name)
    write_pair(folder, name)


def _rotate_receipt(folder: Path, name: str) -> None:
    set_aside(folder, name)
    issue(folder, folder / name, name, name)


def _rotate_ca(folder: Path, name: str) -> None:
    """Afterwards ca.pem lists both CAs, and certificates of both are accepted."""
    number = max([*old_numbers(folder, name), *old_numbers(folder / "retired", name)], default=0) + 1
    write(folder / f"ca-{number}.pem", pem(authority(folder).cas[0]), 0o644)
    if (folder / "ca.key").exists():
        (folder / "ca.key").rename(folder / f"ca-{number}.key")
    make_ca(folder)
    write_crl(folder, {})


def _retire_ca(folder: Path, name: str) -> None:
    """Reissue the centre's own certificates, then drop the old CA: last, so that an interrupted run can be repeated."""
    own = [folder / name for name in ("receipt", UNIT, *SERVERS, *CLIENTS) if (folder / f"{name}.pem").exists()]
    own += [path.with_suffix("") for path in sorted((folder / FOLDER).glob("*.key"))]
    for target in own:
        if not issued_by_current_ca(folder, target):
            issue_again(folder, target)
    set_rights(folder, {})
    write(folder / "ca.pem", pem(authority(folder).cas[0]), 0o644, replace=True)
    write_crl(folder, {})
    retire(folder, name)

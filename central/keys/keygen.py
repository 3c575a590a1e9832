"""Making, replacing and retiring the centre's keys. How each is used in an emergency: docs/KEY-DRILLS.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pyrage

from central.keys.access_log import UNIT, note
from central.keys.certificates import issue, issue_again, issued_by_force, make_ca, pem
from central.keys.key_folder import authority, evidence, numbers, read, retire, set_aside, signer, write, write_pair
from central.keys.officers import FOLDER, RIGHTS, check_name, set_rights
from central.keys.recipients import change, present
from central.keys.revoking import write_crl
from privacy.errors import UsageError
from privacy.files import CLOSED, OPEN, make_folder
from privacy.records.seal import Recipient

__all__ = ["add_custodian", "authority", "evidence", "issue", "keygen", "read", "retire_key", "rotate", "signer"]

FIRST = "officer-1"
SERVERS = ("ingest", "broker")


def keygen(folder: Path, hosts: Sequence[str], officer: str = FIRST) -> None:
    """Make all keys; an existing folder of keys is never overwritten."""
    if any(folder.glob("*.key")):
        raise UsageError(f"keygen: {folder}: holds keys already", "name a new folder; keys are never overwritten")
    check_name(officer)
    check_hosts(hosts)
    make_folder(folder.parent, OPEN)
    make_folder(folder, CLOSED)
    make_ca(folder)
    for name in ("basis", "command"):
        write_pair(folder, name)
    for name in ("receipt", "ops"):
        issue(folder, folder / name, name, name)
    issue(folder, folder / UNIT, "centre", UNIT)
    for server in SERVERS:
        issue(folder, folder / server, server, "server", hosts=hosts)
    write_crl(folder, {})
    identity = _new_identity(folder)
    change(folder, [identity])
    note(folder, "keygen", {"recipient": identity})
    set_rights(folder, {officer: RIGHTS})


def rotate(folder: Path, name: str) -> None:
    """A new key comes into force; the one before keeps a number, still opens and is still trusted until it is retired.

    Also after a loss: nothing of the old private key is needed.
    """
    if name in SERVERS:
        reissue(folder, name, ())
        return
    steps = _named(name, {"identity": _rotate_identity, "ca": _rotate_ca, "receipt": _rotate_receipt}, _rotate_pair)
    note(folder, "rotate", {"key": name})
    steps(folder, name)


def reissue(folder: Path, server: str, hosts: Sequence[str]) -> None:
    """A new key and certificate for ingest or broker, for these hosts; without any for those of its present certificate."""
    check_hosts(hosts)
    note(folder, "rotate", {"key": server, "hosts": " ".join(hosts)})
    if hosts:
        issue(folder, folder / server, server, "server", hosts=hosts, replace=True)
    else:
        issue_again(folder, folder / server)


def check_hosts(hosts: Sequence[str]) -> None:
    for host in hosts:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9a-fA-F:]+", host):
            raise UsageError(f"keygen: --host: must be a name or an address (got {host[:80]!r})", "for instance ingest.example.org")


def retire_key(folder: Path, name: str) -> None:
    """Trust what had this name before no longer, and destroy its private half."""
    if name == "identity":
        raise UsageError(
            "keygen: --retire: an old identity opens old clips", "delete identity-N.txt once the last clip sealed to it is gone"
        )
    steps = _named(name, {"ca": _retire_ca}, retire)
    if not numbers(folder, name):
        raise UsageError(f"keygen: --retire: there is no {name} from before", f"keygen {folder} --rotate {name} makes a new one")
    note(folder, "retire", {"key": name})
    steps(folder, name)


def add_custodian(folder: Path, recipient: str) -> None:
    """One more who can open every clip sealed from now on."""
    Recipient.parse(recipient)
    lines = present(folder)
    if recipient in lines:
        raise UsageError(f"keygen: --custodian: {recipient} is one already", "nothing was changed")
    note(folder, "custodian", {"recipient": recipient})
    change(folder, [*lines, recipient])


Step = Callable[[Path, str], None]


def _named(name: str, special: dict[str, Step], otherwise: Step) -> Step:
    if name not in ("identity", "ca", "basis", "command", "receipt"):
        raise UsageError(
            f"keygen: key: must be identity, ca, basis, command or receipt, or to rotate broker or ingest (got {name!r})",
            "see docs/KEY-DRILLS.md",
        )
    return special.get(name, otherwise)


def _new_identity(folder: Path) -> str:
    """A new clip identity; returns its recipient."""
    identity = pyrage.x25519.Identity.generate()
    write(folder / "identity.txt", f"{identity}\n".encode(), 0o600)
    return str(identity.to_public())


def _rotate_identity(folder: Path, name: str) -> None:
    """The centre's own recipient is the first line; custodians stay."""
    set_aside(folder, name)
    change(folder, [_new_identity(folder), *present(folder)[1:]])


def _rotate_pair(folder: Path, name: str) -> None:
    set_aside(folder, name)
    write_pair(folder, name)


def _rotate_receipt(folder: Path, name: str) -> None:
    set_aside(folder, name)
    issue(folder, folder / name, name, name)


def _rotate_ca(folder: Path, name: str) -> None:
    """ca.pem then lists both, and what both issued is good."""
    number = max([*numbers(folder, name), *numbers(folder / "retired", name)], default=0) + 1
    write(folder / f"ca-{number}.pem", pem(authority(folder).cas[0]), 0o644)
    if (folder / "ca.key").exists():
        (folder / "ca.key").rename(folder / f"ca-{number}.key")
    make_ca(folder)
    write_crl(folder, {})


def _retire_ca(folder: Path, name: str) -> None:
    """Issue anew what the centre itself uses, then let go of the old CA: last, so that a second try finds what is left."""
    own = [folder / name for name in ("receipt", "ops", UNIT, *SERVERS)]
    own += [path.with_suffix("") for path in sorted((folder / FOLDER).glob("*.key"))]
    for target in own:
        if not issued_by_force(folder, target):
            issue_again(folder, target)
    set_rights(folder, {})
    write(folder / "ca.pem", pem(authority(folder).cas[0]), 0o644, replace=True)
    write_crl(folder, {})
    retire(folder, name)

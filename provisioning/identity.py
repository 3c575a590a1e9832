"""Loads the node's identity and the centre's keys from the disk, and the records that are verified with them.

Each unit has a signing key of its own, certified by the centre's CA for the unit's role: only the camera may sign manifests. Only
the uplink has the TLS key. This module must not import numpy: io and uplink load it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from drivers.creds import unsealed
from privacy.errors import AccessError, EnrolmentError, RecordError, coded
from privacy.files import on_disk, read, read_own
from privacy.records.basis import BASIS, VIEW, Basis, Permit, Profile, View, check_records
from privacy.records.jws import Authority, Signer, TrustedKeys, load_chain, load_private_key, peek, verify_key_set, verify_listed
from privacy.records.order import ORDER, Order
from provisioning.keystore import matching
from provisioning.layout import Layout

Unit = Literal["camera", "io", "uplink", "retention"]
UNITS: tuple[Unit, ...] = ("camera", "io", "uplink", "retention")
TLS_AND_UNITS = ("tls", *UNITS)
BASIS_KEYS = "lykta-basis-keys"
COMMAND_KEYS = "lykta-command-keys"
_NO_KEY = b"none"
"""The value of SetCredential= in the units: the content of the credential if there is no key."""


@dataclass(frozen=True)
class TlsFiles:
    ca: Path
    certificate: Path
    key: Path


def load_signer(layout: Layout, unit: Unit) -> Signer:
    """A unit's signing key with its certificate; `EnrolmentError` if the node has none."""
    key = load_private_key(_key(layout, f"{unit}.key"))
    _read(layout.certificates / f"{unit}.pem")
    chain = matching(layout.certificates, unit, key.public_key())
    if chain is None:
        raise RecordError(f"credentials: {unit}.pem is not the certificate of {unit}.key", "place both files of one enrolment")
    return Signer(key, chain)


def tls_files(layout: Layout) -> TlsFiles:
    """The uplink's files for mutual TLS; `EnrolmentError` if one is missing."""
    files = TlsFiles(layout.trust / "ca.pem", layout.certificates / "tls.pem", layout.credentials / "tls.key")
    for path in (files.ca, files.certificate):
        _read(path)
    key = load_private_key(_key(layout, files.key.name)).public_key()
    if load_chain(read_own(files.certificate))[0].public_key() != key and matching(layout.certificates, "tls", key):
        # Power was lost between the two steps of a renewal: `lykta renew` will complete it.
        return replace(files, certificate=layout.certificates / "tls.next.pem")
    return files


def renewal_of(layout: Layout, unit: str) -> Path:
    """The file with a unit's pending request for a certificate of its next key."""
    return layout.applied / f"{unit}.renewal.jws"


def load_authority(layout: Layout) -> Authority:
    return Authority(load_chain(_read(layout.trust / "ca.pem")))


def basis_keys(layout: Layout) -> TrustedKeys:
    with coded("basis_keys_invalid"):
        return verify_key_set(_read(layout.trust / "basis-keys.jws"), BASIS_KEYS, load_authority(layout))


def command_keys(layout: Layout) -> TrustedKeys:
    return verify_key_set(_read(layout.trust / "command-keys.jws"), COMMAND_KEYS, load_authority(layout))


def recipients(layout: Layout) -> tuple[str, ...]:
    """The age recipients that clips are sealed to, if the centre's CA signed the list; otherwise `RecordError`."""
    from privacy.records.recipients import read_list  # imported here: io does not need it, and it takes memory

    with coded("recipients_invalid"):
        return read_list(_read(layout.trust / "recipients.txt"), load_authority(layout))


def load_records(layout: Layout) -> tuple[Basis, View]:
    """Basis and view with verified signatures. Whether they are for this node is not checked."""
    # First, so that a node without an identity gets that error.
    load_authority(layout)
    with coded("basis_invalid"):
        basis = verify_basis(layout, _record(layout.basis))
    with coded("view_invalid"):
        return basis, verify_view(layout, basis, _record(layout.view))


def verify_basis(layout: Layout, token: bytes) -> Basis:
    return verify_listed(token, BASIS, basis_keys(layout), Basis)


def verify_view(layout: Layout, basis: Basis, token: bytes) -> View:
    """The view, if it is signed by a key that the basis lists (by any basis key if the basis lists none); else `RecordError`."""
    keys = basis_keys(layout).keys
    return verify_listed(
        token, VIEW, TrustedKeys({k: key for k, key in keys.items() if not basis.view_keys or k in basis.view_keys}), View
    )


def load_permit(layout: Layout, site: str, node: str, profile: Profile, stack: str) -> Permit:
    """The verified records, if they are for this node, mask profile and stack; otherwise `RecordError` or `EnrolmentError`."""
    basis, view = load_records(layout)
    with coded("basis_revoked"):
        check_revoked(layout, basis.id)
    with coded("view_revoked"):
        check_revoked(layout, view.id)
    return check_records(basis, view, site, node, profile, stack)


def revocations(layout: Layout) -> Path:
    """The folder of the orders that revoked a basis or a view."""
    return layout.camera / "revoked"


def check_revoked(layout: Layout, *ids: str) -> None:
    """`RecordError` if one of these records was revoked by an order that was carried out (R05)."""
    try:
        paths = sorted(revocations(layout).iterdir()) if revocations(layout).exists() else []
    except PermissionError as problem:
        raise AccessError(
            f"{revocations(layout)}: {problem.strerror}", "use sudo: only the camera's user may read revoked records"
        ) from problem
    for path in paths:
        # Not verified again: the order was verified when it was carried out, only the camera writes to this folder, and the order's
        # key may have been retired since.
        order = _revoking(path)
        if order.record in ids:
            raise RecordError(f"{order.record}: was revoked by order {order.number}", "place a newly signed record with another id")


def _revoking(path: Path) -> Order:
    """An order that revoked a record. `RecordError` if it is damaged, which keeps the camera closed: the record that it revoked is
    then unknown."""
    try:
        return peek(read(path, path.name), ORDER, Order)
    except RecordError as problem:
        hint = "have the centre send the order again; then remove this file"
        raise RecordError(f"{path}: {problem}", hint, "revocation_unreadable") from problem


def _record(path: Path) -> bytes:
    with on_disk(path, "check the disk"):
        try:
            return read_own(path)
        except FileNotFoundError as problem:
            hint = f"place the signed record at {path}"
            raise RecordError(f"{path.name}: is missing: the camera stays closed", hint, f"{path.stem}_missing") from problem


def _key(layout: Layout, name: str) -> bytes:
    """A private key: from systemd's credentials or a plain file; for root on the command line, decrypted from the sealed file."""
    path, sealed = layout.credentials / name, (layout.certificates / name).with_suffix(".cred")
    if "CREDENTIALS_DIRECTORY" not in os.environ and not path.exists() and sealed.exists():
        return unsealed(sealed, name)
    secret = _read(path)
    if secret.strip() in (b"", _NO_KEY):
        raise EnrolmentError(
            f"not enrolled: {sealed} is missing, or was sealed on another machine",
            "place the node's bundle and run `lykta seal-keys`",
        )
    return secret


def _read(path: Path) -> bytes:
    """A file that every enrolled node has; `EnrolmentError` if it is missing."""
    with on_disk(path, "check the disk", denied="run as the service's user"):
        try:
            return read_own(path)
        except FileNotFoundError as problem:
            raise EnrolmentError(f"not enrolled: {path} is missing", "place the node's bundle under etc/lykta") from problem

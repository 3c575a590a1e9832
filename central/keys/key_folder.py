"""Reads and writes the centre's folder of keys. A key in force has the plain name; earlier ones have a number (basis-1.key).

ca.key ca.pem                       the CA; ca.pem lists all trusted CAs, the one in force first
basis.key basis.pub, command.…      keys without certificate: nodes know them from key sets that the CA signs
receipt ingest broker ops access    .key and .pem
officers/NAME.key .pem, roles.jws   the officers' keys; their rights, signed by the CA
identity.txt recipients.txt         the identity that opens clips; the recipients of new clips, the centre's first
recipients-known.txt                all recipients ever in recipients.txt: the ingest refuses clips sealed to others
issued.jsonl crl.pem                all issued certificates; the revoked ones
access/ orders/                     the access log; all signed orders
retired/                            public keys that are no longer trusted, for verifying old evidence
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from privacy.errors import EnrolmentError, RecordError
from privacy.files import OPEN, create, make_folder, read_own, sync_folder
from privacy.records.jws import Authority, PrivateKey, Signer, TrustedKeys, load_chain, load_private_key, thumbprint

RETIRED = "retired"
LONGEST = 64 << 20
"""Most bytes of a file here: issued.jsonl and crl.pem grow for years."""


def read(path: Path) -> bytes:
    """The bytes of a file; `EnrolmentError` if it cannot be read."""
    try:
        return read_own(path, most=LONGEST)
    except OSError as problem:
        raise EnrolmentError(f"keys: {path}: {problem.strerror}", "lykta-central keygen DIR makes them") from problem


def write(path: Path, data: bytes, mode: int, *, replace: bool = False) -> None:
    """Write a file in one step, with these permissions from the start, synced. `FileExistsError` if it exists, unless `replace`."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(create(part, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if replace:
        part.replace(path)
    else:
        path.hardlink_to(part)
        part.unlink()
    sync_folder(path.parent)


def write_key(path: Path, key: PrivateKey, *, replace: bool = False) -> None:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write(path, key.private_bytes(*form), 0o600, replace=replace)


def write_pair(folder: Path, name: str) -> None:
    """Make a key without a certificate: NAME.key and NAME.pub."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_key(folder / f"{name}.key", key)
    write(folder / f"{name}.pub", key.public_key().public_bytes(*form), 0o644)


def signer(folder: Path, name: str) -> Signer:
    """The private key NAME.key, with its certificate if there is one."""
    certificate = folder / f"{name}.pem"
    chain = load_chain(read(certificate)) if certificate.exists() else ()
    # ca.pem may list several CAs; the first is the one of ca.key.
    return Signer(load_private_key(read(folder / f"{name}.key")), chain[:1])


def authority(folder: Path) -> Authority:
    """The CAs that are trusted now."""
    return Authority(load_chain(read(folder / "ca.pem")))


def authority_with_retired(folder: Path) -> Authority:
    """The CAs that are trusted now and the retired ones, for verifying records of their time."""
    before = [load_chain(read(path)) for path in sorted((folder / RETIRED).glob("ca-*.pem"))]
    return Authority(authority(folder).cas + tuple(ca for chain in before for ca in chain))


def public_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise RecordError("certificate: not an elliptic-curve key", "only P-256 is used")
    return key


def trusted_keys(folder: Path, name: str) -> TrustedKeys:
    """The keys of that name that nodes shall trust: the one in force and earlier ones that are not retired."""
    paths = [folder / f"{name}.pub", *(folder / f"{name}-{n}.pub" for n in old_numbers(folder, name))]
    keys = [serialization.load_pem_public_key(read(path)) for path in paths if path.exists() or path.stem == name]
    return TrustedKeys({thumbprint(key): key for key in keys if isinstance(key, ec.EllipticCurvePublicKey)})


def old_numbers(folder: Path, name: str) -> list[int]:
    """The numbers of earlier files of this name, oldest first."""
    found = (re.fullmatch(rf"{name}-([0-9]+)\.[a-z]+", path.name) for path in folder.glob(f"{name}-*"))
    return sorted({int(match[1]) for match in found if match})


def set_aside(folder: Path, name: str) -> None:
    """Rename the files in force to the next number, so that their plain name is free."""
    number = max([*old_numbers(folder, name), *old_numbers(folder / RETIRED, name)], default=0) + 1
    for path in sorted(folder.glob(f"{name}.*")):
        path.rename(folder / f"{name}-{number}{path.suffix}")
    sync_folder(folder)


def retire(folder: Path, name: str) -> None:
    """Delete the private keys of earlier files of this name, and move the public ones to retired/, for verifying old evidence."""
    make_folder(folder / RETIRED, OPEN)
    for number in old_numbers(folder, name):
        for path in sorted(folder.glob(f"{name}-{number}.*")):
            if path.suffix == ".key":
                path.unlink()
            else:
                path.rename(folder / RETIRED / path.name)
    sync_folder(folder / RETIRED)
    sync_folder(folder)

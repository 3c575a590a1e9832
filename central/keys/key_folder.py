"""The centre's folder of keys: how its files are read and written. What is in force has the plain name, what came before a number.

ca.key ca.pem                       the CA; ca.pem lists all that are trusted, the one in force first
basis.key basis.pub, command.…      bare keys: nodes know them from key sets that the CA signs
receipt ingest broker ops access    .key and .pem
officers/NAME.key .pem, roles.jws   who may open, export and order
identity.txt recipients.txt         the clip identity; who clips are sealed to, the centre's own recipient first
recipients-known.txt                all that ever were in recipients.txt: the ingest takes no clip that is sealed to anybody else
issued.jsonl crl.pem                every certificate that was issued; those that were revoked
access/ orders/                     the access log; every order that was signed
retired/                            public halves of what is no longer trusted but signed evidence
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
"""Bytes of a file here: the list of all certificates, and of the revoked ones, grow for years."""


def read(path: Path) -> bytes:
    try:
        return read_own(path, most=LONGEST)
    except OSError as problem:
        raise EnrolmentError(f"keys: {path}: {problem.strerror}", "lykta-central keygen DIR makes them") from problem


def write(path: Path, data: bytes, mode: int, *, replace: bool = False) -> None:
    """A whole file that only its mode's readers ever see; without `replace` it never takes the place of another."""
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
    """A new bare key: NAME.key and, for key sets, NAME.pub."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_key(folder / f"{name}.key", key)
    write(folder / f"{name}.pub", key.public_key().public_bytes(*form), 0o644)


def signer(folder: Path, name: str) -> Signer:
    """A key of the folder, with its certificate where it has one."""
    certificate = folder / f"{name}.pem"
    chain = load_chain(read(certificate)) if certificate.exists() else ()
    # The CA's own signatures are known by its key: a node has its certificate.
    return Signer(load_private_key(read(folder / f"{name}.key")), chain[:1])


def authority(folder: Path) -> Authority:
    """The CAs in force: for what is made now."""
    return Authority(load_chain(read(folder / "ca.pem")))


def evidence(folder: Path) -> Authority:
    """The CAs in force and those before: for what was signed while they were."""
    before = [load_chain(read(path)) for path in sorted((folder / RETIRED).glob("ca-*.pem"))]
    return Authority(authority(folder).cas + tuple(ca for chain in before for ca in chain))


def public_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise RecordError("certificate: not an elliptic-curve key", "only P-256 is used")
    return key


def listed(folder: Path, name: str) -> TrustedKeys:
    """The bare keys of that name that nodes are told to trust: the one in force, and those that are not retired yet."""
    paths = [folder / f"{name}.pub", *(folder / f"{name}-{n}.pub" for n in numbers(folder, name))]
    keys = [serialization.load_pem_public_key(read(path)) for path in paths if path.exists() or path.stem == name]
    return TrustedKeys({thumbprint(key): key for key in keys if isinstance(key, ec.EllipticCurvePublicKey)})


def numbers(folder: Path, name: str) -> list[int]:
    """The numbers of what had this name before, oldest first."""
    found = (re.fullmatch(rf"{name}-([0-9]+)\.[a-z]+", path.name) for path in folder.glob(f"{name}-*"))
    return sorted({int(match[1]) for match in found if match})


def set_aside(folder: Path, name: str) -> None:
    """Give what is in force a number, so that its plain name is free."""
    number = max([*numbers(folder, name), *numbers(folder / RETIRED, name)], default=0) + 1
    for path in sorted(folder.glob(f"{name}.*")):
        path.rename(folder / f"{name}-{number}{path.suffix}")
    sync_folder(folder)


def retire(folder: Path, name: str) -> None:
    """Destroy the private halves of what had this name before, and keep the public ones for evidence only."""
    make_folder(folder / RETIRED, OPEN)
    for number in numbers(folder, name):
        for path in sorted(folder.glob(f"{name}-{number}.*")):
            if path.suffix == ".key":
                path.unlink()
            else:
                path.rename(folder / RETIRED / path.name)
    sync_folder(folder / RETIRED)
    sync_folder(folder)

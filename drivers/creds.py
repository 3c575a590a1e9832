"""Credentials sealed to this machine, by systemd-creds: to its TPM where it has one, else to the key in /var/lib/systemd.

A card that is read in another machine gives no key; the identity works until it is revoked (R30).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from privacy.errors import AccessError, StorageError

_PROGRAM = "systemd-creds"


def seal(name: str, secret: bytes) -> bytes:
    """What a unit names in LoadCredentialEncrypted=. name: that of the credential, e.g. camera.key. As root."""
    return _run(["encrypt", f"--name={name}", "-", "-"], secret, name)


def unseal(name: str, path: Path) -> bytes:
    """The secret, where no service manager hands it out: to root at the command line."""
    return _run(["decrypt", f"--name={name}", str(path), "-"], b"", name)


def _run(words: list[str], data: bytes, name: str) -> bytes:
    try:
        done = subprocess.run([_PROGRAM, *words], input=data, capture_output=True, check=False, timeout=30)
    except FileNotFoundError as problem:
        raise StorageError(f"{name}: there is no {_PROGRAM} here", "Debian 12 or 13 has it in systemd") from problem
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip()
        raise AccessError(f"{name}: {_PROGRAM} {words[0]}: {told}", "run it as root, on the machine that sealed it")
    return done.stdout

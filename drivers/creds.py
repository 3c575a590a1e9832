"""systemd-creds: secrets that only this machine can read, by its TPM or its own key, and only under their name.

A card that is read in another machine gives no key; the identity works until it is revoked (R30).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from privacy.errors import StorageError
from privacy.files import read_own

_WAIT_S = 60
_TPM = Path("/dev/tpmrm0")


def unsealed(path: Path, name: str) -> bytes:
    """What a sealed file holds. Raises OSError for a file that is not there, `StorageError` for one of another machine."""
    return _run("decrypt", name, read_own(path))


def sealed(secret: bytes, name: str) -> bytes:
    """The secret as LoadCredentialEncrypted=`name` takes it. As root.

    To the TPM too where there is one: systemd's own choice leaves it out on boards whose firmware does not know it, as a Pi's.
    """
    return _run("encrypt", name, secret, "--with-key=host+tpm2" if _TPM.exists() else "--with-key=host")


def _run(verb: str, name: str, data: bytes, *options: str) -> bytes:
    words = ["systemd-creds", verb, f"--name={name}", *options, "-", "-"]
    try:
        done = subprocess.run(words, input=data, capture_output=True, timeout=_WAIT_S, check=False)
    except FileNotFoundError as problem:
        raise StorageError(f"{name}: there is no systemd-creds here", "Debian 12 or 13 has it in systemd") from problem
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip()
        raise StorageError(f"systemd-creds {verb} {name}: {told}", "run it as root; was the card moved?")
    return done.stdout

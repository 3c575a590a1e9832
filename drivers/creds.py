"""systemd-creds: encrypts secrets so that only this machine can read them (by its TPM or its host key), under their own name only.

A storage card that is read in another machine reveals no key. The node's identity stays valid until it is revoked (R30).
"""

from __future__ import annotations

from pathlib import Path

from privacy.errors import StorageError
from privacy.files import read_own

_WAIT_S = 60
_TPM = Path("/dev/tpmrm0")


def unsealed(path: Path, name: str) -> bytes:
    """The secret in a sealed file. Raises OSError if the file is missing, `StorageError` if another machine sealed it."""
    return _run("decrypt", name, read_own(path))


def sealed(secret: bytes, name: str) -> bytes:
    """The secret, encrypted for LoadCredentialEncrypted=`name`. Needs root.

    Uses the TPM too if there is one: by default systemd ignores it on boards whose firmware does not support it, such as a Pi.
    """
    return _run("encrypt", name, secret, "--with-key=host+tpm2" if _TPM.exists() else "--with-key=host")


def _run(verb: str, name: str, data: bytes, *options: str) -> bytes:
    import subprocess  # under systemd a service gets its keys without this program

    words = ["systemd-creds", verb, f"--name={name}", *options, "-", "-"]
    try:
        done = subprocess.run(words, input=data, capture_output=True, timeout=_WAIT_S, check=False)
    except FileNotFoundError as problem:
        raise StorageError(f"{name}: systemd-creds is not installed", "in Debian 12 and 13 it is part of systemd") from problem
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise StorageError(f"systemd-creds {verb} {name}: {reason}", "run it as root; was the card moved from another machine?")
    return done.stdout

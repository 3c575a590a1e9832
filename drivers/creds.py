"""systemd-creds: secrets that only this machine can read, by its TPM or its own key, and only under their name."""

from __future__ import annotations

import subprocess
from pathlib import Path

from privacy.errors import StorageError

_WAIT_S = 60


def unsealed(path: Path, name: str) -> bytes:
    """What a sealed file holds. Raises OSError for a file that is not there, `StorageError` for one of another machine."""
    return _run("decrypt", name, path.read_bytes())


def sealed(secret: bytes, name: str) -> bytes:
    """The secret as LoadCredentialEncrypted=`name` takes it."""
    return _run("encrypt", name, secret)


def _run(verb: str, name: str, data: bytes) -> bytes:
    words = ["systemd-creds", verb, f"--name={name}", "-", "-"]
    done = subprocess.run(words, input=data, capture_output=True, timeout=_WAIT_S, check=False)
    if done.returncode:
        raise StorageError(f"systemd-creds {verb} {name}: {done.stderr.decode(errors='replace').strip()}", "was the card moved?")
    return done.stdout

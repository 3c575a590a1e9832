"""Seals the keys of a bundle to this machine: <name>.key becomes <name>.cred, which the units load."""

from __future__ import annotations

from drivers.creds import sealed, unsealed
from privacy.errors import EnrolmentError, StorageError
from privacy.files import PRIVATE, place, read_own, sync_folder
from provisioning.layout import Layout


def seal_keys(layout: Layout) -> list[str]:
    """Seal all plain keys; returns their names. A plain key is deleted after the sealed one was written and decrypted again."""
    folder = layout.certificates
    plain = sorted(folder.glob("*.key"))
    if not plain and not list(folder.glob("*.cred")):
        raise EnrolmentError(f"not enrolled: {folder} holds no keys", "place the node's bundle under etc/lykta")
    for key in plain:
        secret, target = read_own(key), key.with_suffix(".cred")
        place(target, sealed(secret, key.name), mode=PRIVATE)
        if unsealed(target, key.name) != secret:
            raise StorageError(f"{target}: decrypts to another key", "the plain key was kept; does the TPM work?")
        key.unlink()
    sync_folder(folder)
    return [key.name for key in plain]

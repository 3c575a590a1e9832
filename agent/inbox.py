"""Handing on what the centre signed: to the camera at once, or into the inbox if it is away. Nothing is verified here.

The inbox is read by the camera at its start and every ten seconds, and by `lykta retention` while the camera is off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from agent.control import ask
from privacy.errors import StorageError, UnreachableError
from privacy.files import place
from provisioning.layout import Layout

What = Literal["receipt", "order"]
_PATIENCE_S = 10.0


def hand_over(layout: Layout, what: What, name: str, token: str) -> dict[str, Any] | None:
    """The camera's answer, None if it is away and the inbox has it now; its refusal as `LyktaError`.

    name   of the file in the inbox: the object's id, or the order's number
    """
    try:
        return ask(layout.socket("camera", "uplink"), {"verb": what, "jws": token}, timeout=_PATIENCE_S)
    except UnreachableError:
        path = folder_of(layout, what) / f"{name}.jws"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            place(path, token.encode())
        except OSError as problem:
            raise StorageError(f"inbox: {path}: {problem.strerror}", "free space or check the disk") from problem
        return None


def folder_of(layout: Layout, what: What) -> Path:
    return layout.inbox / f"{what}s"

"""What a service says of itself on its sockets, typed: nonsense in its place counts as no answer."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from agent.messages import Owner, StateName
from agent.runtime.control import ask_for
from privacy.foreign import END

Name = Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,64}" + END)]
Value = bool | int | float | str | dict[Name, int] | None


class Standing(Struct, frozen=True):
    """The state of a service, why (a stable code), since when and until when, and who has to act."""

    state: StateName
    reason: Annotated[str, Meta(pattern=r"^[a-z0-9_]{0,64}" + END)]
    since: datetime
    until: datetime | None
    owner: Owner


class ServiceStatus(Struct, frozen=True):
    """A service's answer to the verb status. detail: numbers, counts by cause and words beside its state."""

    standing: Standing
    detail: dict[Name, Value]
    schema: str = ""
    service: str = ""
    pid: int = 0


def status_of(path: Path) -> ServiceStatus:
    """Of the service that answers on this socket; `UnreachableError` if it does not."""
    return ask_for(ServiceStatus, path, {"verb": "status"})

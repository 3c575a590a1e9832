"""Why a service refuses to work: its own reason and who has to act, stored in /run for the uplink, which reports it.

systemd's failure hook knows only the exit code. The service stores this before it ends, and its next start removes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from agent.messages import Owner
from drivers.clock import SystemClock
from privacy.errors import ConfigError, EnrolmentError, LyktaError, ModelError, RecordError
from privacy.files import PUBLIC, place, read
from privacy.foreign import END, decode
from provisioning.layout import Layout

SETTINGS, CONFIGURATION = "settings_invalid", "config_invalid"
"""lykta.toml; the signed configuration from the centre."""
OWNERS: Final[Mapping[str, Owner]] = {
    "basis_missing": "lawyer",
    "basis_invalid": "lawyer",
    "basis_keys_invalid": "ops",
    "basis_of_other_node": "lawyer",
    "basis_without_stop": "lawyer",
    "basis_revoked": "lawyer",
    "basis_mismatch": "ops",
    "stack_not_assessed": "ops",
    "view_missing": "technician",
    "view_invalid": "technician",
    "view_of_other_node": "technician",
    "view_of_other_basis": "technician",
    "view_not_permitted": "technician",
    "view_revoked": "lawyer",
    "revocation_unreadable": "ops",
    "recipients_invalid": "ops",
    "records_invalid": "technician",
    SETTINGS: "technician",
    CONFIGURATION: "ops",
    "models_invalid": "technician",
    "self_test_failed": "technician",
    "not_enrolled": "technician",
}
"""Who has to act: the municipality's lawyer signs a basis, ops sign configurations and key lists, a technician draws a view and
places files."""


class Refusal(Struct, frozen=True):
    """code: a stable reason. boot_id, t_ms: the boot, and when in it, milliseconds."""

    code: Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,64}" + END)]
    owner: Owner
    boot_id: str
    t_ms: int


def code_of(problem: BaseException) -> str:
    """The reason why a service refuses to work; "" for a failure that is no refusal."""
    if isinstance(problem, RecordError):
        return problem.code or "records_invalid"
    if isinstance(problem, ModelError):
        return problem.code
    if isinstance(problem, ConfigError):
        return SETTINGS
    return "not_enrolled" if isinstance(problem, EnrolmentError) else ""


def leave(layout: Layout, service: str, code: str, clock: SystemClock) -> None:
    """Store the reason. If /run refuses, the exit code remains."""
    refusal = Refusal(code, OWNERS.get(code, "technician"), clock.boot_id, clock.mono_ms())
    with suppress(OSError):
        place(layout.refusal(service), msgspec.json.encode(refusal), mode=PUBLIC)


def take_back(layout: Layout, service: str) -> None:
    """At the start of a service: it does not refuse, as far as is known."""
    layout.refusal(service).unlink(missing_ok=True)


def left(layout: Layout, service: str, boot_id: str) -> Refusal | None:
    """The reason that a service left in this boot; None if it left none, or it is damaged."""
    try:
        found = decode(read(layout.refusal(service), "refusal"), Refusal, "refusal")
    except (OSError, LyktaError):
        return None
    return found if found.boot_id == boot_id else None

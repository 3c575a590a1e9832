"""The signed, versioned configuration from operations, whose values override lykta.toml. Centre and node both refuse settings that
it may not change."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from privacy.errors import RecordError
from privacy.records.basis import Label

CONFIG = "lykta-config"
MAY_SET: dict[str, tuple[str, ...]] = {
    "camera": ("fps", "bitrate"),
    "mask": ("profile", "stack", "threads"),
    "record": ("mode", "pre_roll", "post_roll", "longest", "quota_mb", "quota_share"),
    "light": ("hours", "presence_s"),
    "upload": ("what", "hours", "kbit_s", "budget_mb_day"),
}
"""The settings that may be changed remotely. Not among them: identity, address of the centre, wiring, source of trusted time, and
values that were measured on site."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """A configuration for one node.

    version    rises with each configuration
    settings   by section and key, as in lykta.toml; only those that override it
    """

    site: Label
    node: Label
    version: Annotated[int, Meta(ge=1)]
    settings: dict[str, dict[str, Any]]

    def __post_init__(self) -> None:
        check_settings(self.settings)


def check_settings(settings: dict[str, dict[str, Any]]) -> None:
    """`RecordError` at the first setting that may not be changed remotely."""
    for section, values in settings.items():
        for key in values:
            if key not in MAY_SET.get(section, ()):
                raise RecordError(
                    f"config: {section}.{key}: may not be set remotely",
                    "allowed: " + ", ".join(f"{name} ({', '.join(keys)})" for name, keys in MAY_SET.items()),
                )


def merged(base: dict[str, Any], over: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The sections of `base`, with the values of `over` replacing theirs; neither argument is changed."""
    both = dict(base)
    for section, values in over.items():
        below = base.get(section)
        both[section] = {**below, **values} if isinstance(below, dict) else dict(values)
    return both

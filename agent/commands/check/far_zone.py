"""Checks whether the view masks the zone where people are too small to be detected (R46), as far as view and settings tell."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET

from agent.commands.check.findings import Finding
from agent.runtime.config import Config
from privacy.masking.networks.models import stack_of
from privacy.records.basis import View
from privacy.records.far_zone import CHILD_M, FarLine, least_height
from provisioning.identity import load_records
from provisioning.layout import Layout


def camera(layout: Layout, config: Config) -> list[Finding]:
    """Findings about the signed view; `RecordError` if there is none. Opens no camera."""
    _, view = load_records(layout)
    picture = config.camera
    least = least_height(picture.width, picture.height, stack_of(config.mask.stack).long_side)
    size = f"{least} pixels high in a picture of {picture.width}x{picture.height} ({least / picture.height:.0%} of its height)"
    if view.far is UNSET:
        what = f"view {view.id} has no far line: people too small to be found may be shown"
        hint = f"draw its `far` line across the ground where a person of {CHILD_M} m is less than {size}, and sign it again"
        return [Finding("camera", "warn", what, f"{hint}: docs/MASKING.md")]
    what = f"view {view.id} masks all above {view.far.left:.0%} (left) to {view.far.right:.0%} (right) of the height"
    unknown = "not checked: whether people below are large enough, which needs lens, height and tilt"
    rod = f"stand a rod of {CHILD_M} m on the ground at the line: it must be at least {size}"
    return [Finding("camera", "ok", f"{what}; {unknown}", rod), *_hidden(view, view.far)]


def _hidden(view: View, far: FarLine) -> Iterator[Finding]:
    """Findings for areas that lie wholly above the far line; a corner on the line counts as above."""
    for number, area in enumerate(view.areas):
        if all(y <= far.at(x) for x, y in area.polygon):
            what = f"view {view.id}: areas[{number}]: lies above the far line: nothing of it is shown"
            yield Finding("camera", "warn", what, "leave the area out, or place the camera nearer")

"""The use of each number and word of a service: a group of health messages, or only on the node, with the reason.

A type declares it beside the field. `agent.uplink.health` makes the messages from these declarations alone, and docs/HEALTH.md is
their table.
"""

from __future__ import annotations

from functools import cache
from typing import Any, get_type_hints

from msgspec import Meta, Struct

from agent.messages import HealthGroup

_UNKNOWN = "not known yet"


class Route(Struct, frozen=True):
    """The use of a number or a word.

    groups  of health messages; name: used there, if different; each: prefixed by the service's name
    unit    of the number, "" for a plain number or a word; says: what it is, in one sentence
    change  difference to what was sent last that makes a message; factor: the same as a ratio; None: it never makes one.
            A word, and a value that appears or disappears, makes one if `change` is set
    absent  the reason for None
    reason  why it is not published
    """

    groups: tuple[HealthGroup, ...] = ()
    name: str = ""
    each: bool = False
    unit: str = ""
    says: str = ""
    change: float | None = None
    factor: float | None = None
    absent: str = _UNKNOWN
    reason: str = ""

    def name_of(self, field: str, service: str) -> str:
        """The name in the message."""
        return f"{service}_{field}" if self.each else self.name or field


def published(
    group: HealthGroup,
    says: str,
    unit: str = "",
    *,
    name: str = "",
    each: bool = False,
    change: float | None = None,
    factor: float | None = None,
    absent: str = _UNKNOWN,
) -> Meta:
    """Annotation: published in this group. Each key of a dictionary is a number, prefixed by `name` and an underscore."""
    return Meta(extra={"route": Route((group,), name, each, unit, says, change, factor, absent)})


def local(reason: str) -> Meta:
    """Annotation: not in health messages; the value is sent in another way, or not at all."""
    return Meta(extra={"route": Route(reason=reason)})


@cache
def routes(kind: type[Struct]) -> dict[str, Route]:
    """The route of each field, by its name; fields without one are missing."""
    hints: dict[str, Any] = get_type_hints(kind, include_extras=True)
    found = {name: _route(hints[name]) for name in kind.__struct_fields__}
    return {name: route for name, route in found.items() if route}


def _route(hint: Any) -> Route | None:
    extras = [one.extra for one in getattr(hint, "__metadata__", ()) if isinstance(one, Meta)]
    return next((extra["route"] for extra in extras if extra and "route" in extra), None)

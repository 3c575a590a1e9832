"""docs/HEALTH.md from the declarations of the types: `python -m tests.support.health_table` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_origin, get_type_hints

from msgspec import Struct

from agent.runtime.routes import Route, routes
from agent.runtime.status import STATUS
from agent.uplink.health.cadence import EVERY_S, LEAST_S, LOOK_S
from agent.uplink.health.groups import GROUPS
from agent.uplink.health.readings import KINDS

PLACE = Path(__file__).parents[2] / "docs/HEALTH.md"
HEAD = f"""# Health

What a node says about itself at `lykta/v1/<site>/<node>/health/<group>`, QoS 1, not retained (`agent.messages.Health`). A node
looks every {LOOK_S:.0f} s. A group is sent when a value differs from what was sent last as the column *sent when* says, at most
once in {LEAST_S:.0f} s, and all groups are sent together every {EVERY_S / 60:.0f} min. `clock` is sent each minute while the
time is not trusted: a command names the node's own time, and then only a new message says it.

- A value that cannot be read is `null` in `values`, with the reason in `unreadable`. Nothing is left out and nothing is guessed.
- Words stand in `words`: stable codes, and the kernel's name of an interface. All else is a number in `values`.
- Counts begin anew at each start of the service, those of an outbox with its database.
- Shares of frames and masks are of five minutes, in quarters, and never make a message (R44): a finer or prompter one would say how
  many people there were, and when. Exact counts of frames stay on the node (`lykta status`).
- `<…>` in a name stands for each key that occurs. Hours in bands are another message, `stats/hour` (`agent.messages.HourStats`).

This file is made from the types by `python -m tests.support.health_table`; a test holds both equal.
"""


def rows(group: str) -> list[str]:
    """A line of the table for each number and word of a group."""
    kinds: list[tuple[str, type[Struct]]] = [*STATUS.items(), *(("", kind) for kind in KINDS)]
    found = [
        (_name(kind, field, route, service), route)
        for service, kind in kinds
        for field, route in routes(kind).items()
        if group in route.groups
    ]
    return [f"| `{name}` | {route.says} | {route.unit} | {_when(route)} |" for name, route in found]


def _name(kind: type[Struct], field: str, route: Route, service: str) -> str:
    hints: dict[str, Any] = get_type_hints(kind)
    name = route.name_of(field, service)
    return f"{name}_<…>" if get_origin(hints[field]) is dict else name


def _when(route: Route) -> str:
    if route.factor is not None:
        return f"changed {route.factor:g}-fold"
    if route.change is None:
        return "never by itself"
    return f"changed by {route.change:g}" if route.change != 1 else "changed"


def text() -> str:
    head = "| name | what | unit | sent when |\n|---|---|---|---|"
    return HEAD + "".join(f"\n## {group}\n\n{head}\n" + "\n".join(rows(group)) + "\n" for group in GROUPS)


if __name__ == "__main__":
    PLACE.write_text(text())

"""The port of a stop's pins: what may be wired to a node, and what an adapter promises. Adapter: `wired_pins`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

LampState = Literal["off", "blinking", "steady"]
Input = Literal["help_button", "service_button", "light_current", "tamper", "door", "light_sensor", "motion"]
Output = Literal["help_lamp", "light", "ir_light", "status_led", "fan"]
INPUTS: tuple[Input, ...] = ("help_button", "service_button", "light_current", "tamper", "door", "light_sensor", "motion")
OUTPUTS: tuple[Output, ...] = ("help_lamp", "light", "ir_light", "status_led", "fan")


class Pins(Protocol):
    """The contacts and lamps of a stop.

    An implementer promises: `changed` is called once for each change, from a thread of its own; a lamp changes at once; a
    part that is not fitted is never closed, and shows nothing.
    """

    fitted: frozenset[str]

    def on_change(self, changed: Callable[[Input, bool], None]) -> None: ...

    def closed(self, part: Input) -> bool: ...

    def show(self, part: Output, state: LampState) -> None: ...

    def shown(self, part: Output) -> LampState: ...

    def work(self, part: Input, closed: bool) -> None: ...

    def close(self) -> None: ...

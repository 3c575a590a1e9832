"""The GPIO port: the inputs and outputs that can be wired to a node, and the contract of an adapter. Adapter: `wired_pins`."""

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

    Contract: `changed` is called once for each change of a contact while `run` runs. A lamp changes at once, and blinks while `run`
    runs. A part that is not fitted counts as an open contact and as a lamp that is off.

    failures   reads of contacts that failed, after which the contact works on; a change that ended meanwhile may be lost
    """

    fitted: frozenset[str]

    @property
    def failures(self) -> int: ...

    def run(self, going_on: Callable[[], bool]) -> None:
        """The body of the adapter's thread, while `going_on`, which is asked at least every second. `LyktaError` for a line that
        stays broken."""
        ...

    def on_change(self, changed: Callable[[Input, bool], None]) -> None: ...

    def closed(self, part: Input) -> bool: ...

    def show(self, part: Output, state: LampState) -> None: ...

    def shown(self, part: Output) -> LampState: ...

    def work(self, part: Input, closed: bool) -> None: ...

    def close(self) -> None: ...

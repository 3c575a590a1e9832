"""When the camera meters the light, and when it is night. Pure: what each picture's metadata says comes from outside.

Exposure is locked between meterings: every change of it makes the whole picture jump, and what the masker has learned with it
(R19). It is metered at the start, and again when the light has gone far from what was metered, for longer than a cloud takes.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

METER_S = 2.0
FAR = 1.8
"""Light this many times more or less than when it was metered: more than half a stop, and still within what x264 and the
detector bear."""
PATIENCE_S = 5.0
NIGHT_LUX, DAY_LUX = 5.0, 30.0
"""The gap is wide because the infrared light that night switches on is light, too."""
DWELL_S = 10.0
Advice = Literal["", "meter", "lock"]


class Light(Struct, frozen=True):
    """Of one picture. mono_s: when; exposure_us, gain: with what it was taken; lux: the estimate of the scene's light."""

    mono_s: float
    exposure_us: int
    gain: float
    lux: float


class Exposure:
    """One camera's course of light."""

    def __init__(self) -> None:
        self._metering_since: float | None = None
        self._metered_lux = 0.0
        self._far_since: float | None = None
        self._night_since: float | None = None
        self.locked = False
        self.night = False

    def see(self, light: Light) -> Advice:
        """What to do now: meter, or lock with the exposure of this picture."""
        self._judge_night(light)
        if not self.locked:
            return self._meter(light)
        ratio = (light.lux + 0.1) / (self._metered_lux + 0.1)
        if 1 / FAR < ratio < FAR:
            self._far_since = None
            return ""
        self._far_since = light.mono_s if self._far_since is None else self._far_since
        if light.mono_s - self._far_since < PATIENCE_S:
            return ""
        self.locked, self._metering_since, self._far_since = False, light.mono_s, None
        return "meter"

    def _meter(self, light: Light) -> Advice:
        self._metering_since = light.mono_s if self._metering_since is None else self._metering_since
        if light.mono_s - self._metering_since < METER_S:
            return ""
        self.locked, self._metered_lux = True, light.lux
        return "lock"

    def _judge_night(self, light: Light) -> None:
        turns = light.lux > DAY_LUX if self.night else light.lux < NIGHT_LUX
        if not turns:
            self._night_since = None
            return
        self._night_since = light.mono_s if self._night_since is None else self._night_since
        if light.mono_s - self._night_since >= DWELL_S:
            self.night, self._night_since = not self.night, None

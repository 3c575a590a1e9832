"""Decides when the camera meters its exposure, and when it is night. Pure: it is given the metadata of each picture.

Exposure is locked between meterings: each change makes the whole picture jump, which invalidates what the masker has learned
(R19). The camera meters at the start, and again when the light has differed clearly from the metered light for `PATIENCE_S`,
so that a passing cloud does not cause it.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

METER_S = 2.0
FAR = 1.8
"""The camera meters again when the light is this many times brighter or darker than at the last metering. That is a little under
one stop, within which encoding and detection still work."""
PATIENCE_S = 5.0
"""Seconds for which the light must differ before the camera meters again."""
NIGHT_LUX, DAY_LUX = 5.0, 30.0
"""Night begins below the first and ends above the second. The gap is wide because the infrared lamp that is switched on at night
raises the measured light."""
DWELL_S = 10.0
"""Seconds for which a threshold must be passed before night begins or ends."""
Advice = Literal["", "meter", "lock"]


class Light(Struct, frozen=True):
    """Exposure metadata of one picture.

    mono_s        monotonic time, seconds
    exposure_us   exposure time, microseconds
    gain          analogue gain
    lux           the camera's estimate of the light in the scene
    """

    mono_s: float
    exposure_us: int
    gain: float
    lux: float


class Exposure:
    """Exposure and night state of one camera, from the light of its pictures."""

    def __init__(self) -> None:
        self._metering_since: float | None = None
        self._metered_lux = 0.0
        self._far_since: float | None = None
        self._night_since: float | None = None
        self.locked = False
        self.night = False

    def see(self, light: Light) -> Advice:
        """Take the light of the next picture. Returns "meter" (start metering), "lock" (keep this picture's exposure) or ""."""
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

"""Whether a camera repeats itself: a sensor's noise makes no two pictures alike, byte for byte.

A driver that hangs, or a signal that somebody feeds in, shows a place that is no longer there. In the dark a sensor clips, and
pictures without noise are ordinary: nothing is said then.
"""

from __future__ import annotations

import zlib

from privacy.masking.frames import Frame
from privacy.masking.light import level

FROZEN_NS = 10_000_000_000
DARK = 24.0
"""Mean luma under which identical pictures prove nothing: black is 16, and a clipped sensor stays near it."""


def fingerprint(frame: Frame) -> int | None:
    """CRC-32 (ISO 3309) of a raw picture, all planes; None where it is too dark to tell."""
    return None if level(frame) < DARK else zlib.crc32(frame.buffer.data)


class FrozenWatch:
    """Fed with the fingerprint of each picture that is looked at, in the order of time."""

    def __init__(self) -> None:
        self._same: int | None = None
        self._since_ns = 0

    def see(self, fingerprint: int | None, mono_ns: int) -> bool:
        """Whether every picture of the last `FROZEN_NS` was the same."""
        if fingerprint is None or fingerprint != self._same:
            self._same, self._since_ns = fingerprint, mono_ns
        return self._same is not None and mono_ns - self._since_ns >= FROZEN_NS

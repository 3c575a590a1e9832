"""Detects a camera that repeats one picture: because of sensor noise no two real pictures are identical.

A driver that hangs, or a signal that somebody feeds in, shows a scene that is no longer real. In the dark a sensor clips its
values, and identical pictures are normal: they are not checked.
"""

from __future__ import annotations

import zlib

from privacy.masking.frames import Frame
from privacy.masking.light import level

FROZEN_NS = 10_000_000_000
_ROWS = 16
DARK = 24.0
"""Mean luma below which identical pictures are normal: black is 16, and a clipped sensor stays near it."""


def fingerprint(frame: Frame) -> int | None:
    """CRC-32 (ISO 3309) of all planes of a raw picture; None if it is too dark for this check."""
    return None if level(frame) < DARK else zlib.crc32(frame.buffer.data)


class DistinctCount:
    """Counts the pictures that differ from the one before, by every sixteenth row: also of a sample no two are identical. A picture
    that is too dark for this check counts as distinct."""

    def __init__(self) -> None:
        self.count = 0
        self._before: int | None = None

    def see(self, frame: Frame) -> None:
        now = None if level(frame) < DARK else zlib.crc32(frame.planes[0][::_ROWS].tobytes())
        self.count += now is None or now != self._before
        self._before = now


class FrozenWatch:
    """Compares the fingerprints of the pictures that the detector got, in the order of time."""

    def __init__(self) -> None:
        self._same: int | None = None
        self._since_ns = 0

    def see(self, fingerprint: int | None, mono_ns: int) -> bool:
        """Whether all pictures of the last `FROZEN_NS` or longer were identical."""
        if fingerprint is None or fingerprint != self._same:
            self._same, self._since_ns = fingerprint, mono_ns
        return self._same is not None and mono_ns - self._since_ns >= FROZEN_NS

"""The detector port: who and what stands in a picture. Adapters: `privacy.stacks` (networks); an AI camera can be another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from privacy.frames import Frame

Kind = Literal["person", "face", "vehicle"]


@dataclass(frozen=True, slots=True)
class Detection:
    """One find. Corners in pixels of the frame, which may lie outside of it; score 0..1."""

    kind: Kind
    left: float
    top: float
    right: float
    bottom: float
    score: float


class Detector(Protocol):
    """Promises: never writes to the frame; every box is finite; raises `DetectorError` rather than guess.

    What it cannot promise (being in time, being right) the delay line and the masker guard against.
    """

    name: str
    models: dict[str, str]
    """File name to sha256 of what was loaded."""

    def detect(self, frame: Frame) -> tuple[Detection, ...]: ...

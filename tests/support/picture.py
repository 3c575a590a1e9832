"""The README's picture: a drawn bus stop, masked by the real engine. python -m tests.support.picture OUT.png

Drawn, because footage of other people's making does not belong in this repository; the boxes are the detector's own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from privacy.masking.delay import Verdict
from privacy.masking.frames import Frame, Plane
from privacy.masking.masker import Masker
from privacy.masking.networks.detectors import open_stack
from privacy.masking.networks.models import installed
from privacy.masking.self_test import draw_person
from tests.support.nodes import MODELS
from tests.support.scenes import painted

WIDTH, HEIGHT = 960, 540


def stop_scene() -> Plane:
    """Dusk, a road, a shelter with a bench, a lamp, a bus at a distance; BGR."""
    sky = np.linspace((120, 96, 70), (196, 168, 140), HEIGHT).astype(np.uint8)
    scene = np.repeat(sky[:, None, :], WIDTH, axis=1).copy()
    cv2.rectangle(scene, (0, 330), (WIDTH, HEIGHT), (92, 90, 88), -1)
    cv2.rectangle(scene, (0, 430), (WIDTH, HEIGHT), (66, 64, 62), -1)
    for x in range(20, WIDTH, 130):
        cv2.rectangle(scene, (x, 486), (x + 60, 493), (190, 200, 205), -1)
    for x, tall in ((0, 210), (90, 160), (190, 240), (620, 190), (720, 250), (850, 170)):
        cv2.rectangle(scene, (x, 330 - tall), (x + 86, 330), (88, 78, 72), -1)
        for wx in range(x + 10, x + 76, 22):
            for wy in range(330 - tall + 14, 320, 30):
                cv2.rectangle(scene, (wx, wy), (wx + 10, wy + 14), (120, 178, 210), -1)
    cv2.rectangle(scene, (330, 190), (620, 202), (60, 52, 46), -1)
    for x in (338, 606):
        cv2.rectangle(scene, (x, 202), (x + 8, 428), (60, 52, 46), -1)
    cv2.rectangle(scene, (400, 372), (560, 382), (70, 92, 120), -1)
    cv2.rectangle(scene, (700, 120), (706, 428), (60, 60, 60), -1)
    cv2.circle(scene, (703, 116), 16, (150, 220, 250), -1)
    return scene


def masked(scene: Plane) -> Plane:
    """The scene as the node would encode it."""
    frame = Frame(cv2.cvtColor(scene, cv2.COLOR_BGR2YUV_I420), WIDTH, HEIGHT, 0, 0, 0)
    detector = open_stack(installed(MODELS), MODELS)
    Masker(WIDTH, HEIGHT, None).mask(frame, Verdict(painted(detector.detect(frame), WIDTH, HEIGHT)))
    return cv2.cvtColor(frame.buffer, cv2.COLOR_YUV2BGR_I420)


def main() -> int:
    scene = stop_scene()
    people = (
        (385, 436, 170, (90, 60, 40)),
        (480, 430, 160, (40, 40, 150)),
        (555, 440, 172, (60, 110, 60)),
        (800, 470, 190, (110, 90, 40)),
    )
    for x, feet, tall, coat in people:
        draw_person(scene, x, feet, tall, coat, (70, 60, 56))
    Path(sys.argv[1]).write_bytes(
        cv2.imencode(".png", np.hstack((scene, masked(scene))), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

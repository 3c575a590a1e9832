"""Read from standard input by the node's Python under a service's own unit, so that no file of ours has to be within its reach.

Does what the service does with the hardware, and prints one JSON object: each step with its figure or its error. argv: SERVICE
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

MODELS = Path("/var/lib/lykta/models")
WIDTH, HEIGHT, PICTURES = 1280, 720, 20


def only_unix_sockets() -> str:
    """AF_NETLINK is what udev's enumeration would need; without it libcamera must fall back to sysfs."""
    refused = []
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
        try:
            socket.socket(family, socket.SOCK_RAW if family == socket.AF_NETLINK else socket.SOCK_STREAM).close()
        except OSError:
            refused.append(family.name)
    assert len(refused) == 3, f"refused only {refused}"
    return "inet, inet6 and netlink refused"


def no_writable_code() -> str:
    import mmap

    try:
        mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except PermissionError:
        return "memory that is writable and executable is refused"
    raise AssertionError("memory that is writable and executable was given")


def imports() -> str:
    import agent.camera.service  # noqa: F401
    import drivers.camera.pi_camera  # noqa: F401

    return f"{len(sys.modules)} modules"


def enumerates() -> str:
    from picamera2 import Picamera2

    cameras = Picamera2.global_camera_info()
    assert cameras, "libcamera finds no camera in sysfs"
    return "; ".join(f"{camera['Model']} at {camera['Id']}" for camera in cameras)


def detects() -> str:
    from privacy.masking.networks.detectors import open_stack
    from privacy.masking.networks.models import installed

    name = installed(MODELS)
    detector = open_stack(name, MODELS, 2)
    times = []
    for index in range(8):
        begin = time.monotonic()
        detector.detect(_picture(index))
        times.append(time.monotonic() - begin)
    return f"{name}: {sorted(times)[len(times) // 2] * 1000:.0f} ms a look, 2 threads"


def encodes() -> str:
    return _encoded(None)


def encodes_by_hardware() -> str:
    """The board's own encoder, which the node takes where there is one and a bit rate is set."""
    figure = _encoded(2_000_000)
    assert figure.startswith("h264_v4l2m2m") or not Path("/dev/video11").exists(), f"there is one, but {figure}"
    return figure


def _encoded(bitrate: int | None) -> str:
    from drivers.media.encoder import H264Encoder
    from privacy.masking.delay import Verdict
    from privacy.masking.masker import Masker

    masker, encoder = Masker(WIDTH, HEIGHT, None), H264Encoder(WIDTH, HEIGHT, 10, bitrate=bitrate)
    begin, size = time.monotonic(), 0
    for index in range(PICTURES):
        masked = masker.mask(_picture(index), Verdict())
        size += sum(len(packet.data) for packet in encoder.encode(masked))
    size += sum(len(packet.data) for packet in encoder.end())
    assert size, "no packet came"
    return f"{encoder.name}: {(time.monotonic() - begin) / PICTURES * 1000:.1f} ms a picture of {WIDTH}x{HEIGHT}, {size} bytes"


def _picture(index: int):  # type: ignore[no-untyped-def]
    import numpy as np

    from privacy.masking.frames import Frame

    rows, columns = np.mgrid[0 : HEIGHT * 3 // 2, 0:WIDTH]
    buffer = np.ascontiguousarray((rows + columns + 8 * index) % 200 + 20, dtype=np.uint8)
    return Frame(buffer, WIDTH, HEIGHT, index, index * 100_000_000, 0)


STEPS: dict[str, tuple[Callable[[], str], ...]] = {
    "camera": (only_unix_sockets, no_writable_code, imports, enumerates, detects, encodes, encodes_by_hardware),
    "io": (only_unix_sockets, no_writable_code, imports),
}

if __name__ == "__main__":
    found = {}
    for step in STEPS[sys.argv[1]]:
        try:
            found[step.__name__] = {"passed": True, "figure": step()}
        except Exception as problem:  # noqa: BLE001 - whatever a board throws belongs into the list
            found[step.__name__] = {"passed": False, "figure": f"{type(problem).__name__}: {problem}"}
    sys.stdout.write(json.dumps(found) + "\n")

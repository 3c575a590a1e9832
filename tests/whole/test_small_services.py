"""io (at most 40 MB) and uplink (at most 45 MB) load nothing that they do not use. `make bench` prints what they take."""

from __future__ import annotations

import subprocess
import sys

import pytest

PICTURES = {"numpy", "cv2", "onnxruntime", "av", "picamera2", "libcamera"}
LARGE = {"psutil", "systemd", "_bz2", "_lzma", "typing_extensions", "typer", "rich"}
NEVER = {
    # gpiozero alone would bring importlib.metadata; io reads its few bytes without OpenSSL.
    "io": PICTURES | LARGE | {"_hashlib", "_ssl", "paho", "http.client"},
    "uplink": PICTURES | LARGE | {"importlib.metadata", "importlib.resources", "subprocess", "zipfile", "gpiozero"},
}
LOADS = "import sys; from agent.services import load; load(sys.argv[1]); print(*(name for name, one in sys.modules.items() if one))"


@pytest.mark.parametrize("service", NEVER)
def test_a_small_service_loads_no_library_that_it_does_not_use(service: str) -> None:
    """No pixel can then reach it either: it has nothing to hold one with."""
    loaded = subprocess.run([sys.executable, "-c", LOADS, service], capture_output=True, text=True, check=True).stdout.split()
    assert f"agent.{service}.service" in loaded
    assert NEVER[service] & set(loaded) == set()

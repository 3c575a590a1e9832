"""libcamera's virtual cameras, wired to a node in a container: the memory and the settings that they need."""

from __future__ import annotations

import re
import shutil
import subprocess

from tests.container.rig import HERE, Container

LIBRARY = "opt/lykta/lib/python3.13/site-packages"
HEAP = "/opt/lykta/lib/lykta-test-heap.so"
PIPELINE = "/usr/share/libcamera/pipeline/virtual/virtual.yaml"
UNIT = f"[Service]\nEnvironment=LD_PRELOAD={HEAP} LYKTA_TEST_FPS=15\nRestrictAddressFamilies=AF_NETLINK\n"


def cameras(*names: str) -> str:
    sizes = "".join(
        f"  - width: {width}\n    height: {height}\n    frame_rates: [15, 30]\n" for width, height in ((1280, 720), (640, 480))
    )
    one = '"{0}":\n  supported_formats:\n' + sizes + '  test_pattern: "bars"\n  location: "CameraLocationFront"\n  model: "{0}"\n'
    return "%YAML 1.1\n---\n" + "".join(one.format(name) for name in names)


def virtual(container: Container, names: tuple[str, ...] = ("Virtual0",), **settings: str) -> None:
    """Wire cameras to a node that is off."""
    program = container.file(HEAP)
    words = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(program), str(HERE / "virtual/heap.c"), "-ldl"]
    subprocess.run(words, check=True)
    shutil.copy(HERE / "virtual/lykta_virtual_camera.py", container.file(LIBRARY))
    container.file(f"{LIBRARY}/lykta_virtual_camera.pth").write_text("import lykta_virtual_camera\n")
    pipeline = container.file(PIPELINE)
    pipeline.parent.mkdir(parents=True, exist_ok=True)
    pipeline.write_text(cameras(*names))
    container.drop_in("lykta-camera.service", UNIT)
    configure(container, **{"source": '"picamera2"', "width": "1280", "height": "720", "fps": "15"} | settings)


def configure(container: Container, **settings: str) -> None:
    path = container.file("/etc/lykta/lykta.toml")
    text = path.read_text()
    for name, value in settings.items():
        text = re.sub(rf"(?m)(^\[camera\]\n(?:[^\[].*\n)*?){name} = .*\n", r"\1", text)
        text = text.replace("[camera]\n", f"[camera]\n{name} = {value}\n")
    part = path.with_name("lykta.part")
    part.write_text(text)
    part.rename(path)

"""Run by Debian 13's Python in the arm64 tree: imports one library and does one small thing with it. usage: check.py LIBRARY

Each in a process of its own: a library that dies under emulation takes no other with it. What it prints is the figure.
"""

from __future__ import annotations

import io
import os
import socket
import sys
import threading
from collections.abc import Callable


def av() -> str:
    import av
    import numpy

    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 320, 240, "yuv420p", __import__("fractions").Fraction(1, 10)
    picture = av.VideoFrame.from_ndarray(numpy.full((360, 320), 90, numpy.uint8), format="yuv420p")
    data = b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])
    decoder = av.CodecContext.create("h264", "r")
    frames = [frame for packet in decoder.parse(data) + decoder.parse(None) for frame in decoder.decode(packet)] + decoder.decode(
        None
    )
    assert [(frame.width, frame.height) for frame in frames] == [(320, 240)]
    return f"{av.__version__}: a picture through libx264 and back, {len(data)} bytes"


def cryptography() -> str:
    import cryptography
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, x25519
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    key = ec.generate_private_key(ec.SECP256R1())
    key.public_key().verify(key.sign(b"word", ec.ECDSA(hashes.SHA256())), b"word", ec.ECDSA(hashes.SHA256()))
    one, other = x25519.X25519PrivateKey.generate(), x25519.X25519PrivateKey.generate()
    shared = one.exchange(other.public_key())
    assert shared == other.exchange(one.public_key())
    assert ChaCha20Poly1305(shared).decrypt(bytes(12), ChaCha20Poly1305(shared).encrypt(bytes(12), b"clip", None), None) == b"clip"
    return f"{cryptography.__version__}: ES256, X25519, ChaCha20-Poly1305"


def cv2() -> str:
    import cv2
    import numpy

    picture = numpy.zeros((64, 64, 3), numpy.uint8)
    cv2.rectangle(picture, (8, 8), (40, 40), (255, 255, 255), -1)
    good, data = cv2.imencode(".jpg", picture)
    assert good
    assert abs(int(cv2.imdecode(data, cv2.IMREAD_COLOR)[20, 20, 0]) - 255) < 8
    kernel = numpy.ones((3, 3), numpy.uint8)
    assert cv2.dilate(picture, kernel)[7, 7, 0] == 255
    return f"{cv2.__version__}: drawn, dilated, through JPEG and back"


def detect() -> str:
    """The node's own networks on ONNX Runtime: the heaviest thing it does."""
    import time
    from pathlib import Path

    import numpy

    from privacy.masking.frames import Frame
    from privacy.masking.networks.detectors import open_stack
    from privacy.masking.networks.models import installed

    models = Path("/mnt/models")
    name = installed(models)
    detector = open_stack(name, models, 2, 0)
    noise = numpy.random.default_rng(1).integers(0, 255, 640 * 480 * 3 // 2, numpy.uint8)
    frame = Frame(noise.reshape(720, 640), 640, 480, 0, 0, 0)
    begin = time.monotonic()
    found = detector.detect(frame)
    return f"{name}: one look at noise, {len(found)} found, {time.monotonic() - begin:.1f} s under emulation"


def gpiod() -> str:
    import gpiod

    try:
        gpiod.Chip("/dev/null")
    except (OSError, ValueError) as problem:
        return f"{gpiod.__version__}: the kernel was asked, and refused as it must ({type(problem).__name__})"
    raise AssertionError("/dev/null is no chip")


def gpiozero() -> str:
    from gpiozero import LED, Button
    from gpiozero.pins.mock import MockFactory

    factory = MockFactory()
    pressed = threading.Event()
    button, lamp = Button(17, pin_factory=factory), LED(27, pin_factory=factory)
    button.when_pressed = pressed.set
    factory.pin(17).drive_low()
    assert pressed.wait(10)
    lamp.on()
    assert factory.pin(27).state
    return "a contact of the mock heard, a lamp lit"


def joserfc() -> str:
    from joserfc import jws
    from joserfc.jwk import ECKey

    key = ECKey.generate_key("P-256")
    token = jws.serialize_compact({"alg": "ES256"}, b"{}", key)
    assert jws.deserialize_compact(token, key).payload == b"{}"
    return f"a compact JWS of {len(token)} bytes signed and verified"


def libcamera() -> str:
    import libcamera

    return f"{libcamera.CameraManager.singleton().version}: {len(libcamera.CameraManager.singleton().cameras)} cameras here"


def msgspec() -> str:
    import msgspec

    class Word(msgspec.Struct, forbid_unknown_fields=True):
        count: int

    assert msgspec.json.decode(msgspec.json.encode(Word(3)), type=Word) == Word(3)
    try:
        msgspec.json.decode(b'{"count": "3"}', type=Word)
    except msgspec.ValidationError:
        return f"{msgspec.__version__}: a struct through JSON; a wrong type refused"
    raise AssertionError("a wrong type was taken")


def numpy() -> str:
    import numpy

    matrix = numpy.arange(9.0).reshape(3, 3) + numpy.eye(3)
    assert numpy.allclose(matrix @ numpy.linalg.inv(matrix), numpy.eye(3))
    return f"{numpy.__version__}: a matrix and its inverse"


def paho() -> str:
    from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5

    with socket.create_server(("127.0.0.1", 0)) as server:
        client = Client(CallbackAPIVersion.VERSION2, client_id="lykta", protocol=MQTTv5)
        client.connect_async("127.0.0.1", server.getsockname()[1])
        client.loop_start()
        peer, _ = server.accept()
        first = peer.recv(64)
        client.loop_stop()
    assert first[0] == 0x10
    assert b"MQTT\x05" in first
    return f"CONNECT of MQTT 5 on the wire, {len(first)} bytes"


def picamera2() -> str:
    from drivers.camera.pi_camera import library

    return f"imported with Debian's libcamera, as the node does; cameras here: {library().global_camera_info()}"


def psutil() -> str:
    import psutil

    assert psutil.Process().pid == os.getpid()
    return f"{psutil.__version__}: {psutil.virtual_memory().total >> 20} MB of memory seen"


def rich() -> str:
    from rich.console import Console
    from rich.table import Table

    table, out = Table("what"), io.StringIO()
    table.add_row("lykta")
    Console(file=out).print(table)
    assert "lykta" in out.getvalue()
    return "a table drawn"


def starlette() -> str:
    import asyncio

    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    sent: list[dict[str, object]] = []

    async def call() -> None:
        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("lykta"))])
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
        await app(scope, lambda: asyncio.sleep(0), send)

    asyncio.run(call())
    assert sent[0]["status"] == 200
    assert sent[1]["body"] == b"lykta"
    return "one request answered"


def systemd() -> str:
    from systemd import daemon

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind("\0lykta-arm64")
        os.environ["NOTIFY_SOCKET"] = "@lykta-arm64"
        assert daemon.notify("READY=1")
        assert ear.recv(64) == b"READY=1"
    return "READY=1 on the notify socket"


def typer() -> str:
    import typer
    from typer.testing import CliRunner

    app = typer.Typer()
    app.command()(lambda: typer.echo("lykta"))
    assert CliRunner().invoke(app).output.strip() == "lykta"
    return f"{typer.__version__}: a command run"


def uvicorn() -> str:
    import http.client
    import time

    import uvicorn

    async def answer(scope: dict[str, object], receive: object, send: Callable[[dict[str, object]], object]) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[misc]
        await send({"type": "http.response.body"})  # type: ignore[misc]

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(answer, lifespan="off", log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.05)
        client = http.client.HTTPConnection(*listening.getsockname())
        client.request("GET", "/")
        status = client.getresponse().status
        server.should_exit = True
        thread.join(30)
    assert status == 204
    return "one request on a socket answered"


def lykta() -> str:
    """Every module of the node; the converters run at set-up only, and their onnx is not on a node."""
    import importlib
    import pkgutil

    names = [
        module.name
        for package in ("agent", "drivers", "privacy", "provisioning")
        for module in pkgutil.walk_packages([f"/mnt/lykta/{package}"], f"{package}.")
        if module.name not in ("provisioning.setup.nanodet", "provisioning.setup.rtmdet")
    ]
    for name in names:
        importlib.import_module(name)
    return f"{len(names)} modules of the node imported"


CHECKS: dict[str, Callable[[], str]] = {
    check.__name__: check
    for check in (
        *(av, cryptography, cv2, detect, gpiod, gpiozero, joserfc, libcamera, lykta, msgspec, numpy, paho),
        *(picamera2, psutil, rich, starlette, systemd, typer, uvicorn),
    )
}

if __name__ == "__main__":
    sys.stdout.write(CHECKS[sys.argv[1]]() + "\n")

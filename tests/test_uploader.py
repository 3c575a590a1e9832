"""The uploader of a real `lykta uplink`: to the centre's own ingest, and to an odd one that somebody else made."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.broker import NAME, Broker, Centre, until
from tests.stop import LYKTA, MOST_MB, Stop

MEGABYTE = 1_000_000


class Ingest:
    """`lykta-central ingest` as a process."""

    def __init__(self, centre: Centre, store: Path, port: int) -> None:
        words = [LYKTA.with_name("lykta-central"), "ingest", "--keys", centre.folder, "--store", store, "--port", str(port)]
        self.store, self._process = store, subprocess.Popen(words, stderr=subprocess.DEVNULL)

    def file(self, clip: str, name: str) -> Path:
        return self.store / NAME / clip / name

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture
def ingest(folder: Path, broker: Broker, ingest_port: int) -> Iterator[Ingest]:
    ingest = Ingest(broker.centre, folder / "store", ingest_port)
    yield ingest
    ingest.close()


def test_clips_reach_the_ingest_and_their_receipts_the_camera(stop: Stop, broker: Broker, ingest: Ingest) -> None:
    """Promise 3, R27: the bytes arrive whole, and only the camera, on the centre's receipt, frees a clip."""
    camera = stop.neighbour("camera")
    clips = [stop.seal_clip(11 * MEGABYTE), stop.seal_clip(1000)]
    sealed = {clip: (stop.layout.spool / clip / "clip.age").read_bytes() for clip in clips}
    with broker.ear() as heard:
        stop.start()
        until(lambda: camera.receipts == clips, f"both are freed: {stop.log.read_text()}", 60)
        until(lambda: all(stop.messages(heard(), f"clip/{clip}") for clip in clips), "both are announced")
    assert all(ingest.file(clip, "clip.age").read_bytes() == sealed[clip] for clip in clips)
    assert not list(stop.layout.spool.glob("*/manifest.jws"))
    until(lambda: stop.detail("uploaded") == 2, "both are counted")
    assert stop.peak_mb() < MOST_MB


def test_a_camera_that_is_away_delays_its_own_clips_end_only(stop: Stop, ingest: Ingest) -> None:
    """The others go up all the same; when the camera is back, each is freed by the receipt that the centre kept."""
    (stop.layout.run / "camera").mkdir(parents=True)
    clips = [stop.seal_clip(1000), stop.seal_clip(1000)]
    stop.start()
    until(lambda: all(ingest.file(clip, "receipt.jws").exists() for clip in clips), "both are up", 40)
    until(lambda: "camera: does not answer" in stop.detail("upload_error"), "the trouble is told")
    camera = stop.neighbour("camera")
    until(lambda: camera.receipts == clips, "both are freed", 40)
    until(lambda: stop.detail("upload_error") == "", "the trouble is over")


class OddIngest(ThreadingHTTPServer):
    """An ingest made by somebody else: breaks off once, refuses one clip, asks for one file that is nobody's business."""

    def __init__(self, centre: Centre, port: int) -> None:
        super().__init__(("127.0.0.1", port), OddAnswers)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(centre.ca))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(centre.folder / "ingest.pem", centre.folder / "ingest.key")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.lock = threading.Lock()
        self.broken = False
        self.parts: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.refused = self.nosy = ""
        self.stalled = threading.Event()
        self.stall = False


class OddAnswers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OddIngest

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def do_POST(self) -> None:
        body = json.loads(self._body())
        if self.path.endswith("/complete"):
            self._say(200, {"receipt": "the centre's receipt"})
        elif body["id"] == self.server.refused:
            self._say(403, {"error": "object: belongs to another", "hint": "use the node's own"})
        else:
            self._say(200, {"parts": self._parts(body["id"]), "receipt": None})

    def do_PUT(self) -> None:
        body = self._body()
        if self.server.stall:
            self.server.stalled.set()
            threading.Event().wait(60)
        with self.server.lock:
            self.server.puts.append(self.path)
            if self.path.endswith("/500") and not self.server.broken:
                self.server.broken = True
                self.close_connection = True
                return
            self.server.parts[self.path] = body
        self._say(200, {})

    def _parts(self, clip: str) -> list[dict[str, Any]]:
        file = "../../etc/lykta/credentials/tls.key" if clip == self.server.nosy else "clip.age"
        urls = [(offset, f"/{clip}/{offset}") for offset in (0, 500)]
        return [{"file": file, "part": o, "offset": o, "size": 500, "url": u, "done": u in self.server.parts} for o, u in urls]

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _say(self, status: int, what: dict[str, Any]) -> None:
        data = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def odd(broker: Broker, ingest_port: int) -> Iterator[OddIngest]:
    server = OddIngest(broker.centre, ingest_port)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_broken_upload_goes_on_from_the_missing_part(stop: Stop, odd: OddIngest) -> None:
    clip = stop.seal_clip(2000)
    stop.start()
    until(lambda: len(odd.parts) == 2, "both parts are there", 40)
    data = (stop.layout.spool / clip / "clip.age").read_bytes()
    assert odd.parts == {f"/{clip}/0": data[:500], f"/{clip}/500": data[500:1000]}
    assert odd.puts[:3] == [f"/{clip}/0", f"/{clip}/500", f"/{clip}/500"]


def test_one_clip_that_is_refused_keeps_no_other_waiting(stop: Stop, odd: OddIngest) -> None:
    """And an ingest that asks for what is no sealed file gets nothing (R30: the node's keys are no part of a clip)."""
    odd.refused, odd.nosy, good = stop.seal_clip(2000), stop.seal_clip(2000), stop.seal_clip(2000)
    stop.start()
    until(lambda: len(odd.parts) == 2, "the good one is there", 40)
    assert {path.split("/")[1] for path in odd.puts} == {good}
    until(lambda: "object: belongs to another" in stop.detail("upload_error"), "it is told")
    assert (stop.layout.spool / odd.refused / "manifest.jws").exists()


def test_a_stop_does_not_wait_for_a_slow_upload(stop: Stop, odd: OddIngest) -> None:
    odd.stall = True
    stop.seal_clip(2000)
    stop.start()
    assert odd.stalled.wait(20)
    assert stop.end() == 0, stop.log.read_text()

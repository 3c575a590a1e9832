"""The camera service as systemd and a technician see it: command in; exit code, messages, clips out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest

from agent.runtime.status import CameraStatus
from privacy.masking.mask_record import NOTHING, MaskHeader, MaskRecord
from tests.support.broker import PATIENCE
from tests.support.nodes import BIN, PROJECT, VIDEO, Node, ago, stop, until


def swap(token: bytes) -> bytes:
    """The same record with another payload under the old signature."""
    header, payload, signature = token.split(b".")
    return b".".join((header, payload[:-4] + b"AAAA", signature))


def tear_model(node: Node) -> None:
    models = node.layout.models.resolve()
    node.layout.models.unlink()
    shutil.copytree(models, node.layout.models)
    for victim in node.layout.models.glob("*.onnx"):
        victim.write_bytes(victim.read_bytes()[:-100])


def add_key(node: Node) -> None:
    text = node.layout.config.read_text()
    node.layout.config.write_text(text.replace("[camera]\n", "[camera]\nzoom = 3\n"))


REFUSALS = {
    "no basis": (lambda node: node.layout.basis.unlink(), "basis.jws"),
    "no view": (lambda node: node.layout.view.unlink(), "view.jws"),
    "edited basis": (lambda node: node.layout.basis.write_bytes(swap(node.layout.basis.read_bytes())), "signature"),
    "another node's basis": (lambda node: node.sign("basis", node="stop-2"), "stop-2"),
    "another node's view": (lambda node: node.sign("view", node="stop-2"), "stop-2"),
    "a stronger mask was assessed": (lambda node: node.sign("basis", least_profile="full"), "basis_mismatch"),
    "the stack was not assessed": (lambda node: node.sign("basis", stacks=["another"]), "stacks"),
    "the view was drawn for another basis": (lambda node: node.sign("view", basis="basis-0"), "basis-0"),
    "a model file is torn": (tear_model, "sha256"),
    "an unknown key in the configuration": (add_key, "camera.zoom"),
}


def traced(node: Node, trace: Path) -> list[str]:
    return ["strace", "-f", "-qq", "-e", "trace=open,openat,openat2", "-o", str(trace), *node.words("camera")]


@pytest.mark.parametrize("case", REFUSALS)
def test_without_valid_records_the_camera_is_never_opened(node: Node, tmp_path: Path, case: str) -> None:
    """R01, R04, R05: exit 5 (systemd then does not start it again), one error with a hint; by the system calls it made, the
    camera's device, here the video file, was never opened."""
    spoil, word = REFUSALS[case]
    spoil(node)
    done = subprocess.run(traced(node, tmp_path / "trace"), capture_output=True, text=True, timeout=PATIENCE * 60, check=False)
    assert done.returncode == 5, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert word in errors[0]
    assert "\nhint: " in done.stderr
    calls = (tmp_path / "trace").read_text()
    assert "lykta.toml" in calls  # the trace does see what is opened
    assert VIDEO.name not in calls


@pytest.mark.parametrize(
    ("changes", "state", "reason", "owner"),
    [
        ({"hours": []}, "off", "outside_hours", "nobody"),
        ({"begin": ago(days=9), "end": ago(days=1)}, "blind", "basis_expired", "lawyer"),
        ({"begin": ago(days=-1)}, "off", "basis_not_yet", "nobody"),
    ],
)
def test_outside_its_hours_the_lens_is_closed_and_that_is_rest(
    node: Node, tmp_path: Path, changes: dict[str, object], state: str, reason: str, owner: str
) -> None:
    """R07, R01: a coming basis and the night are state `off`, an expired basis is a lawyer's fault; the service lives and films
    nothing."""
    node.sign("basis", **changes)
    service = subprocess.Popen(traced(node, tmp_path / "trace"), stderr=subprocess.DEVNULL)
    until(lambda: node.state("camera") == (state, reason), f"{state} for {reason}")
    assert node.status("camera")["standing"]["owner"] == owner
    os.kill(node.status("camera")["pid"], signal.SIGTERM)
    assert service.wait(PATIENCE * 10) == 0
    assert VIDEO.name not in (tmp_path / "trace").read_text()


def test_a_stop_that_waits_for_a_slow_disk_is_no_failure(node: Node, tmp_path: Path) -> None:
    """14.24: a camera told to stop ended with 1, and the centre was alarmed, where each write took 0.7 s as on a worn card."""
    node.sign("basis", hours=[])
    slow = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", "trace=fsync", "-e", "inject=fsync:delay_exit=700000"]
    service = subprocess.Popen([*slow, *node.words("camera")], stderr=(tmp_path / "said").open("wb"))
    until(lambda: node.state("camera")[0] == "off", "it rests")
    os.kill(node.status("camera")["pid"], signal.SIGTERM)
    assert service.wait(PATIENCE * 10) == 0, (tmp_path / "said").read_text()


def test_unknown_time_closes_the_lens(node: Node) -> None:
    """R07. The suite's machine has no mark of systemd-timesyncd, or this test has nothing to show."""
    if Path("/run/systemd/timesync/synchronized").exists():
        pytest.skip("this machine's time is synced by systemd-timesyncd")
    node.settings(clock__trust='"timesync"')
    service = node.start("camera")
    until(lambda: node.state("camera") == ("off", "time_unknown"), "off")
    assert stop(service) == 0


def test_a_clip_from_trigger_to_manifest(node: Node) -> None:
    """R27, R32: notify by finished work, a sealed clip that stock tools open, masks for every frame, a chain in the journal."""
    heard = listen_for_notices(node.root / "notify")
    service = node.start("camera", NOTIFY_SOCKET=str(node.root / "notify"))
    until(lambda: "READY=1" in heard, "READY")
    until(lambda: "WATCHDOG=1" in heard, "WATCHDOG")
    assert heard.index("STATUS=ready: filming") < heard.index("READY=1") < heard.index("WATCHDOG=1")
    node.trigger()
    until(lambda: helped(node), "the clip of the press is sealed")
    assert stop(service) == 0
    until(lambda: "STOPPING=1" in heard, "STOPPING")
    [manifest] = helped(node)
    clip = node.layout.spool / str(manifest["clip"])
    assert clip in node.clips()
    assert node.run("clips", "verify").returncode == 0
    video = node.root / "clip.mp4"
    video.write_bytes(
        subprocess.run(["age", "-d", "-i", node.centre / "identity.txt", clip / "clip.age"], capture_output=True, check=True).stdout
    )
    probe = subprocess.run(
        ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", video], capture_output=True, check=True
    )
    (stream,) = json.loads(probe.stdout)["streams"]  # one track: no audio (R13)
    assert stream["codec_name"] == "h264"
    assert stream["pix_fmt"] == "yuv420p"
    assert int(stream["nb_read_frames"]) == manifest["frames"] == len(records_of(node, clip))
    checked = node.run("check", "journal", "records", "keys", "models")
    assert checked.returncode == 0, checked.stdout


def helped(node: Node) -> list[dict[str, Any]]:
    """The complete clips of a press, as the list has them: whoever walks by on the video has others."""
    clips = json.loads(node.run("clips", "list", "--json").stdout)["clips"]
    return [clip for clip in clips if (clip["trigger"], clip["state"]) == ("help", "complete")]


def listen_for_notices(path: Path) -> list[str]:
    """What a service tells its manager, as systemd hears it. The list grows until the test ends."""
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind(str(path))
    heard: list[str] = []

    def listen() -> None:
        while True:
            heard.extend(ear.recv(4096).decode().splitlines())

    threading.Thread(target=listen, daemon=True).start()
    return heard


def records_of(node: Node, clip: Path) -> list[MaskRecord]:
    words = ["age", "-d", "-i", node.centre / "identity.txt", clip / "masks.age"]
    lines = subprocess.run(words, capture_output=True, check=True).stdout.splitlines()
    msgspec.json.decode(lines[0], type=MaskHeader)
    return [msgspec.json.decode(line, type=MaskRecord) for line in lines[1:]]


def masked_whole(node: Node) -> set[str]:
    """Why frames were masked whole, if the status says it of all of them; its numbers are read while another thread counts on."""
    status = msgspec.convert(node.status("camera")["detail"], CameraStatus)
    return set(status.full_by_cause) if status.frames == status.full == sum(status.full_by_cause.values()) else set()


@pytest.mark.parametrize("broken", ["RaisingDetector", "HangingDetector", "GarbageDetector", "NaNDetector", "SlowDetector"])
def test_a_broken_detector_yields_only_fully_masked_frames(node: Node, broken: str) -> None:
    """R18: raises, hangs, returns garbage, is slow: the node goes on and its clip is one tone, with the cause in each record.

    R26: each frame that was masked as a whole is counted by its cause.
    """
    with (node.root / "log").open("wb") as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "tests.support.broken_camera", broken],
            cwd=PROJECT, env=os.environ | {"LYKTA_ROOT": str(node.root)}, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    until(lambda: node.status("camera").get("detail", {}).get("frames", 0) > 5, "frames")
    node.trigger()
    clip = until(node.clips, "a clip is sealed")[0]
    until(lambda: node.state("camera") == ("blind", "detector_down"), "the node says that it is blind")
    causes = until(lambda: masked_whole(node), "a report in which each frame is counted as masked whole, by its cause")
    service.terminate()
    # A thread that hangs is an error at the end, but never keeps the process.
    assert service.wait(PATIENCE * 10) == (1 if broken == "HangingDetector" else 0), node.log()
    records = records_of(node, clip)
    assert records
    assert all(record.cause for record in records)
    assert {record.cause for record in records} <= causes
    video = node.root / "clip.mp4"
    central = [BIN / "lykta-central", "open", clip, "--keys", node.centre, "-o", video]
    subprocess.run(central, check=True, capture_output=True)
    with av.open(str(video)) as container:
        for picture in container.decode(video=0):
            luma = np.frombuffer(memoryview(picture.planes[0]), np.uint8)
            assert np.abs(luma.astype(int) - NOTHING[0]).max() <= 12


def test_a_folder_too_deep_for_sockets_is_refused(tmp_path: Path) -> None:
    """Found under a test runner that adds a folder: the kernel takes 107 bytes, and the service said that it should not happen."""
    node = Node(tmp_path / ("deep" * 25), tmp_path)
    node.root.mkdir()
    for service in ("camera", "io", "uplink"):
        refused = node.run(service)
        assert refused.returncode == 2
        assert "error: LYKTA_ROOT: its sockets' paths would be" in refused.stderr
        assert "hint: a shorter folder" in refused.stderr


def test_a_second_instance_is_refused(node: Node) -> None:
    service = node.start("camera")
    until(lambda: node.state("camera")[0] == "ready", "ready")
    second = node.run("camera")
    assert second.returncode == 2
    assert "runs already" in second.stderr
    assert "hint: " in second.stderr
    assert node.state("camera")[0] == "ready"
    assert stop(service) == 0


def test_what_cannot_be_opened_is_blind_and_films_once_it_can(node: Node, tmp_path: Path) -> None:
    """One clear error, the state says why, nothing is filmed; no restart is needed once the cause is gone."""
    late = tmp_path / "late.avi"
    node.settings(camera__file=f'"{late}"')
    service = node.start("camera")
    until(lambda: node.state("camera") == ("blind", "no_camera"), "blind")
    time.sleep(1)
    late.symlink_to(VIDEO)
    until(lambda: node.state("camera") == ("ready", "filming"), "it films", 30)
    assert stop(service) == 0
    assert node.log().count(f"{late}: no such file") == 1


@pytest.mark.parametrize("number", [None, 0])
def test_a_machine_without_a_camera_is_blind(node: Node, number: int | None) -> None:
    """No library, or no camera on it: the reason names which; the service goes on telling it."""
    node.settings(camera__source='"picamera2"', **({} if number is None else {"camera__number": str(number)}))
    service = node.start("camera")
    until(lambda: node.state("camera")[0] == "blind", "blind")
    assert node.state("camera")[1] in ("camera_library", "no_camera")
    assert stop(service) == 0


def test_a_power_cut_in_a_clip_leaves_a_torn_clip_that_opens(node: Node) -> None:
    """Promise 3: kill -9 while a clip runs; the next start signs what stands, and the centre opens it."""
    node.settings(camera__bitrate="4000000", record__post_roll="30")
    service = node.start("camera")
    until(lambda: node.state("camera")[0] == "ready", "ready")
    until(lambda: node.status("camera")["detail"].get("frames", 0) > 20, "pictures in the ring")
    node.trigger()
    until(lambda: any(path.stat().st_size > 300_000 for path in node.layout.spool.glob("*/clip.age")), "a clip runs")
    service.kill()
    service.wait()
    assert node.clips() == []
    again = node.start("camera")
    clip = until(node.clips, "the torn clip is finished")[0]
    stop(again)
    shown = json.loads(node.run("clips", "show", clip.name, "--json").stdout)["manifest"]
    assert shown["state"] == "torn"
    assert node.run("clips", "verify", clip.name).returncode == 0
    target = node.root / "torn.mp4"
    subprocess.run([BIN / "lykta-central", "open", clip, "--keys", node.centre, "-o", target], check=True, capture_output=True)
    probe = ["ffprobe", "-v", "quiet", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", target]
    assert int(subprocess.run(probe, capture_output=True, check=True).stdout) > 10


def test_a_full_disk_costs_the_clip_and_nothing_else(node: Node) -> None:
    """The clip is dropped and said to be; filming and status go on; the journal's chain holds."""
    alone = ["unshare", "-m", "--propagation", "unchanged"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip(f"this kernel lets nobody make a small disk ({' '.join(alone)})")
    node.settings(camera__bitrate="8000000", record__post_roll="60")
    node.layout.spool.mkdir(parents=True)
    small = f'mount -t tmpfs -o size=600k tmpfs "{node.layout.spool}" && exec "$@"'
    with (node.root / "log").open("wb") as log:
        service = subprocess.Popen([*alone, "sh", "-c", small, "sh", *node.words("camera")], stdout=log, stderr=log)
    until(lambda: node.state("camera")[0] == "ready", "ready")
    until(lambda: node.status("camera")["detail"].get("frames", 0) > 10, "pictures in the ring")
    node.trigger()
    until(lambda: node.state("camera") == ("degraded", "disk_refuses_clips"), "degraded")
    before = node.status("camera")["detail"]["frames"]
    until(lambda: node.status("camera")["detail"]["frames"] > before + 5, "filming goes on")
    os.kill(node.status("camera")["pid"], signal.SIGTERM)
    assert service.wait(PATIENCE * 10) == 0, node.log()
    kinds = [line["kind"] for line in journal_of(node)]
    assert "clip_dropped" in kinds
    assert node.run("check", "journal").returncode == 0


def journal_of(node: Node) -> list[dict[str, object]]:
    from privacy.records.chains import verify_chain
    from provisioning.identity import load_authority

    chain = verify_chain(node.layout.journal("camera"), "camera", load_authority(node.layout))
    return [msgspec.to_builtins(entry) for entry in chain.entries]

"""`lykta uplink` as a process between a real broker, an ingest and its neighbours on the node."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import jsonschema
import psutil
import pytest

from agent.messages import Alarm, Describe, Health, HealthGroup, Help, RecordInForce, State
from central.fleet.contract.schemas import files
from central.keys.broker import access_list
from drivers.clock import SystemClock
from drivers.gpio.port import INPUTS
from privacy.files import place
from privacy.records.jws import sign
from provisioning.identity import UNITS, load_signer
from tests.support.broker import NAME, PATIENCE, Broker, Centre, Published, until
from tests.support.records import BASIS
from tests.support.stop import LYKTA, MOST_MB, Stop


class Yesterday(SystemClock):
    """A node's clock a day ago, in a boot before this one."""

    def __init__(self) -> None:
        super().__init__("host")
        self.boot_id = "the boot before"

    def now(self) -> datetime:
        return datetime.now(UTC) - timedelta(days=1)


def presses(stop: Stop, heard: list[Published]) -> list[str]:
    return [message.body.press for message in stop.messages(heard, "event/help") if isinstance(message.body, Help)]


def states(stop: Stop, heard: list[Published]) -> list[tuple[str, str]]:
    bodies = [message.body for message in stop.messages(heard, "state")]
    return [(body.state, body.reason) for body in bodies if isinstance(body, State)]


def connected(stop: Stop) -> None:
    until(lambda: stop.detail("connected"), "the uplink is connected")


# -- messages ----------------------------------------------------------------------------------------------------------


def test_birth_event_and_health_are_what_the_schema_says(stop: Stop, broker: Broker) -> None:
    """The node says what it is and how it is; what another process put reaches the broker unchanged."""
    camera, io = stop.neighbour("camera"), stop.neighbour("io")
    camera.standing["reason"], io.standing["reason"] = "filming", "listening"
    with broker.ear() as heard:
        stop.start()
        stop.outbox().put(Help("press-1", "pressed"), Alarm("help", "pressed", "press-1"))
        groups = ["system", "power", "storage", "camera", "privacy", "link", "clock", "buffer", "agent"]
        tails = {"state", "describe", "event/help", "alarm/help", *[f"health/{group}" for group in groups]}
        until(lambda: tails <= {one.tail for one in heard()}, f"all are heard: {stop.log.read_text()}")
        until(lambda: ("ready", "filming") in states(stop, heard()), "the node is ready")
        validator = jsonschema.Draft202012Validator(files()["message"])
        for one in heard():
            validator.validate(json.loads(one.payload))
        until(lambda: stop.outbox().pending() == 0, "nothing waits")
        [describe] = [m.body for m in stop.messages(heard(), "describe") if isinstance(m.body, Describe)]
        assert "help button" in describe.sensors
        [privacy] = [m.body for m in stop.messages(heard(), "health/privacy") if isinstance(m.body, Health)]
        assert privacy.values["mask_coverage"] == pytest.approx(0.25)
        assert not {"frames", "masked", "full", "full_late"} & privacy.values.keys()
        [camera_says] = [m.body for m in stop.messages(heard(), "health/camera") if isinstance(m.body, Health)]
        assert camera_says.words == {"view": "as_known"}
        assert camera_says.unreadable["gain"] == "the camera does not say, or is not filming"
        [link] = [m.body for m in stop.messages(heard(), "health/link") if isinstance(m.body, Health)]
        assert link.values["connected"] in (0, 1)
        assert {"round_trip_ms", "signal_dbm", "connected_share", "sent_mb_mqtt"} <= link.values.keys()
        [agent] = [m.body for m in stop.messages(heard(), "health/agent") if isinstance(m.body, Health)]
        assert agent.values["uplink_restarts"] == 0
        assert agent.values["uplink_threads"] > 3
    until(lambda: (stop.detail("round_trip_ms") or 0) > 0, "the broker's answers are timed")
    reported = {f"{kind}/reported" for kind in ("basis", "view", "config")}
    with broker.ear() as later:
        until(
            lambda: {one.tail for one in later() if one.retain} == {"state", "describe", "journal", "alarm/help", *reported},
            "only what stands was retained",
        )


def test_every_sensor_in_use_is_declared(stop: Stop, broker: Broker) -> None:
    """R15: the camera, and each contact and sensor that is wired; none that is not."""
    wired = [part for part in INPUTS if part != "door"]
    with stop.layout.config.open("a") as settings:
        settings.write("\n[pins]\n" + "".join(f"{part} = {line}\n" for line, part in enumerate(wired, 2)))
    with broker.ear(f"{stop.here}/describe") as heard:
        stop.start()
        until(heard, "it says what it is")
        [described] = [message.body for message in stop.messages(heard(), "describe")]
    assert isinstance(described, Describe)
    sensors = {sensor.partition(":")[0].replace(" ", "_") for sensor in described.sensors}
    assert sensors & {"camera", *INPUTS} == {"camera", *wired}


def test_the_description_is_sent_anew_when_it_changes(stop: Stop, broker: Broker) -> None:
    """17.1: stop, area, records with their ends, certificates' ends and intervals; with a new basis in force all of it again."""
    signer = load_signer(stop.layout, "camera")
    with broker.ear(f"{stop.here}/describe") as heard:
        stop.start()
        until(heard, "it says what it is")
        place(stop.layout.basis, sign(BASIS, signer, "lykta-basis"))
        until(lambda: len(heard()) >= 2, "it says what is in force now")
        place(stop.layout.basis, b"no record")
        until(lambda: len(heard()) >= 3, "it says that nothing is in force")
        first, second, third = [message.body for message in stop.messages(heard(), "describe")]
    assert isinstance(first, Describe)
    assert isinstance(second, Describe)
    assert (first.stop, first.area, first.records) == ("", "city", {})
    assert (second.stop, second.records["basis"]) == (BASIS.stop, RecordInForce(BASIS.id, BASIS.end))
    assert first.certificates.keys() == {"tls", *UNITS}
    assert all(end and end > datetime.now(UTC) for end in first.certificates.values())
    assert first.intervals.keys() == {*get_args(HealthGroup)}
    assert third == first


def test_hundreds_of_messages_come_in_order_and_once(stop: Stop, broker: Broker) -> None:
    """More than the window, put while the broker answers: no lock is taken crosswise and nothing is sent twice."""
    wanted = [f"press-{number}" for number in range(1000)]
    with broker.ear(f"{stop.here}/event/help") as heard:
        stop.start()
        connected(stop)
        outbox = stop.outbox()
        for first in range(0, 1000, 10):
            outbox.put(*[Help(press, "pressed") for press in wanted[first : first + 10]])
        until(lambda: len(presses(stop, heard())) >= 1000, "all are heard", 60)
        until(lambda: outbox.pending() == 0, "nothing waits")
        assert presses(stop, heard()) == wanted
        assert stop.peak_mb() < MOST_MB


def test_a_broker_that_is_down_costs_nothing_but_time(stop: Stop, broker: Broker) -> None:
    """Promise 3: messages wait and come in order; what is old says so; the reason is told once and stands in the status."""
    with broker.ear(f"{stop.here}/event/help") as heard:
        broker.stop()
        stop.start()
        until(lambda: (stop.status() or {})["standing"]["reason"] == "broker_unreachable", "the reason is told")
        standing = (stop.status() or {})["standing"]
        assert (standing["state"], standing["owner"]) == ("degraded", "ops")
        stop.outbox(Yesterday()).put(Help("old-1", "pressed"), Help("old-2", "pressed"))
        stop.outbox().put(Help("new", "pressed"))
        broker.start()
        until(lambda: len(presses(stop, heard())) >= 3, "all are heard", 60)
        messages = stop.messages(heard(), "event/help")
    assert presses(stop, heard()) == ["old-1", "old-2", "new"]
    assert [message.envelope.hist for message in messages] == [True, True, False]
    assert stop.log.read_text().count("broker_unreachable hint=") == 1
    until(lambda: (stop.status() or {})["standing"]["state"] == "ready", "all is well again")


def test_what_expired_while_it_waited_is_counted_and_not_sent(stop: Stop, broker: Broker) -> None:
    """Promise 3: and what has some life left carries just that to the broker."""
    stop.outbox(Yesterday()).put(Help("pointless", "pressed"), expiry_s=60)
    stop.outbox(Yesterday()).put(Help("late", "pressed"), expiry_s=100_000)
    with broker.ear(f"{stop.here}/event/help") as heard:
        stop.start()
        until(lambda: presses(stop, heard()) == ["late"], "the late one is heard")
        assert heard()[0].expiry_s in range(13_000, 13_601)
    until(lambda: stop.detail("expired") == 1 and stop.outbox().pending() == 0, "the other one is counted")


def test_a_restart_of_broker_and_uplink_loses_nothing(stop: Stop, broker: Broker) -> None:
    """Promise 3: killed on the way, twice; at least once, and in order of first arrival."""
    wanted = [f"press-{number}" for number in range(300)]
    with broker.ear(f"{stop.here}/event/help") as heard:
        stop.start()
        connected(stop)
        outbox = stop.outbox()
        for number, press in enumerate(wanted):
            outbox.put(Help(press, "pressed"))
            if number == 100:
                broker.stop()
            if number == 200 and stop.process:
                stop.process.kill()
                stop.process.wait(PATIENCE * 10)
        broker.start()
        stop.start()
        until(lambda: set(presses(stop, heard())) == set(wanted), "all are heard", 60)
        assert list(dict.fromkeys(presses(stop, heard()))) == wanted


def test_a_foreign_certificate_is_refused_and_nothing_is_lost(stop: Stop, broker: Broker, folder: Path) -> None:
    """The operator reads which certificate is wrong; the messages wait until it is put right."""
    good = {path: path.read_bytes() for path in stop.layout.credentials.glob("tls.*")}
    for path in good:
        path.unlink()
    Centre(folder / "other").issue(NAME, "tls", stop.layout.credentials)
    stop.start()
    stop.outbox().put(Help("press-1", "pressed"))
    until(lambda: (stop.status() or {})["standing"]["reason"] == "certificate_refused", "the reason is told")
    assert "certificate_refused hint=the broker refuses tls.pem" in stop.log.read_text()
    assert stop.end() == 0
    for path, data in good.items():
        path.write_bytes(data)
    with broker.ear() as heard:
        stop.start()
        until(lambda: presses(stop, heard()) == ["press-1"], "it is heard")


def test_a_message_that_the_broker_refuses_stays(stop: Stop, broker: Broker) -> None:
    """Promise 3: a wrong access list at the centre is told and costs no message; the others go on."""
    broker.stop()
    lines = access_list().splitlines(keepends=True)
    (broker.folder / "broker.acl").write_text("".join(one for one in lines if one != "pattern write lykta/v1/%u/event/+\n"))
    broker.start()
    with broker.ear() as heard:
        stop.start()
        stop.outbox().put(Help("press-1", "pressed"))
        until(lambda: "broker refuses event/help: Not authorized" in stop.log.read_text(), "the refusal is told")
        until(lambda: states(stop, heard()), "the state is heard")
    assert stop.end() == 0
    broker.stop()
    (broker.folder / "broker.acl").write_text(access_list())
    broker.start()
    with broker.ear() as heard:
        stop.start()
        until(lambda: presses(stop, heard()) == ["press-1"], "it is heard")


def test_a_disk_that_refuses_the_uplinks_writes_stops_no_message(stop: Stop, broker: Broker) -> None:
    """Promise 3: uploads make room, so the uplink goes on over a full disk, says so, and lets go when it can write again."""
    outbox = stop.outbox()
    with broker.ear(f"{stop.here}/event/help") as heard:
        stop.start()
        connected(stop)
        until(lambda: outbox.pending() == 0, "nothing waits")
        assert stop.process is not None
        for number in range(100):
            outbox.put(Help(f"press-{number}", "pressed"))
        # Stands for a full disk: no file of this process may grow past a size that SQLite's log has passed already.
        psutil.Process(stop.process.pid).rlimit(psutil.RLIMIT_FSIZE, (48 * 1024, psutil.RLIM_INFINITY))
        outbox.put(Help("press-100", "pressed"))
        until(lambda: len(presses(stop, heard())) == 101, "all are heard")
        until(lambda: "outbox:" in (stop.detail("storage_error") or ""), "the trouble is told")
        assert outbox.pending() > 0
        psutil.Process(stop.process.pid).rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
        until(lambda: outbox.pending() == 0, "all are let go")
        until(lambda: stop.detail("storage_error") == "", "the trouble is over")
        assert len(presses(stop, heard())) == 101


# -- the node's state --------------------------------------------------------------------------------------------------


def test_the_node_is_what_its_services_are(stop: Stop, broker: Broker) -> None:
    """The camera's rest passes with its reason and end; a missing io degrades; each change is one message."""
    camera = stop.neighbour("camera")
    with broker.ear() as heard:
        stop.start()
        until(lambda: ("degraded", "io_silent") in states(stop, heard()), "io is missed")
        io = stop.neighbour("io")
        until(lambda: states(stop, heard())[-1] == ("ready", "filming"), "the node is ready")
        io.standing = {**io.standing, "state": "degraded", "reason": "lamp_dark", "owner": "technician"}
        until(lambda: states(stop, heard())[-1] == ("degraded", "lamp_dark"), "io's trouble is the node's")
        camera.standing = {**camera.standing, "state": "off", "reason": "hours", "until": "2026-03-02T05:00:00Z"}
        until(lambda: states(stop, heard())[-1] == ("off", "hours"), "the camera rests")
        body = stop.messages(heard(), "state")[-1].body
        assert isinstance(body, State)
        assert (body.until, body.owner) == (datetime(2026, 3, 2, 5, tzinfo=UTC), "nobody")
        assert body.services["io"] == "degraded"
        assert stop.end() == 0
        until(lambda: states(stop, heard())[-1] == ("stopping", "told_to"), "the stop is said")
    with broker.ear(f"{stop.here}/state") as later:
        until(lambda: states(stop, later()) == [("stopping", "told_to")], "the last word stands")


@pytest.mark.slow
def test_silence_is_told_a_cameras_as_blind_a_nodes_as_lost(stop: Stop, broker: Broker, folder: Path) -> None:
    killed = Stop(folder / "killed", broker, "city/stop-2")
    for one in (stop, killed):
        one.neighbour("camera")
        one.neighbour("io")
    with broker.ear() as heard:
        stop.start()
        killed.start()
        until(lambda: all(("ready", "filming") in states(one, heard()) for one in (stop, killed)), "both are ready")
        stop.leaves("camera")
        killed.close()
        until(lambda: states(stop, heard())[-1] == ("blind", "camera_silent"), "the camera is missed", 60)
        assert states(stop, heard())[-2] == ("degraded", "camera_silent")
        until(lambda: states(killed, heard())[-1] == ("lost", "link_lost"), "the node is missed", 60)
        body = stop.messages(heard(), "state")[-1].body
        assert isinstance(body, State)
        assert (body.owner, body.services["camera"], body.services["io"]) == ("technician", "silent", "ready")


# -- commands ----------------------------------------------------------------------------------------------------------


def test_a_command_is_handed_on_unchanged_and_an_unknown_one_is_not(stop: Stop, broker: Broker) -> None:
    """The service verifies; the uplink only carries, and only what somebody obeys."""
    io = stop.neighbour("io")
    stop.start()
    connected(stop)
    until(lambda: f"{stop.here}/cmd/#" in broker.log.read_text(), "the uplink has subscribed")
    broker.publish(f"{stop.here}/cmd/selfdestruct", "x.y.z")
    broker.publish(f"{stop.here}/cmd/ack", "eyJh.eyJi.c2ln")
    until(lambda: io.commands, "the command has come")
    assert io.commands == [{"verb": "command", "name": "ack", "jws": "eyJh.eyJi.c2ln"}]
    until(lambda: stop.detail("ignored_commands") == 1, "the unknown one is counted")


# -- the process -------------------------------------------------------------------------------------------------------


def test_it_is_ready_without_a_broker_and_stays_small(stop: Stop, broker: Broker, folder: Path) -> None:
    """READY means that messages are taken care of, not that the centre is up; the service fits a Zero 2 W's memory."""
    broker.stop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.settimeout(PATIENCE * 20)
        stop.start(NOTIFY_SOCKET=str(folder / "notify"))
        heard: list[bytes] = []
        while not {b"READY=1", b"WATCHDOG=1"} <= set(heard):
            heard.append(manager.recv(4096))
        broker.start()
        connected(stop)
    assert stop.process is not None
    assert stop.peak_mb() < MOST_MB
    loaded = Path(f"/proc/{stop.process.pid}/maps").read_text() if os.access(f"/proc/{stop.process.pid}/maps", os.R_OK) else ""
    assert not [word for word in ("numpy", "cv2", "libav", "libsystemd", "psutil", "lzma") if word in loaded]


def test_a_second_one_and_one_without_identity_end_with_their_codes(stop: Stop) -> None:
    stop.start()
    environment = os.environ | {"LYKTA_ROOT": str(stop.root)}
    second = subprocess.run([LYKTA, "uplink"], env=environment, capture_output=True, text=True, timeout=PATIENCE * 20, check=False)
    assert second.returncode == 2
    assert "runs already here" in second.stderr
    assert stop.end() == 0
    (stop.layout.credentials / "tls.key").unlink()
    bare = subprocess.run([LYKTA, "uplink"], env=environment, capture_output=True, text=True, timeout=PATIENCE * 20, check=False)
    assert bare.returncode == 7
    assert "hint:" in bare.stderr

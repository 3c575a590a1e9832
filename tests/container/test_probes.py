"""The privacy claim is read from unit files; here it is tried from inside, by a program in the place of each service.

The exposure score does not see side doors: a unit with D-Bus and a resolver within reach scores the same.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.container.rig import HERE, LAB, Container
from tests.support.nodes import until

SHUT = {"EACCES", "EPERM", "ENOENT", "EROFS", "ESRCH", "EAFNOSUPPORT", "ECONNREFUSED", "ENXIO", "ENOTDIR"}
SERVICES = ("camera", "io", "uplink")
DEVICES = {
    "/dev/video0": (81, 0),
    "/dev/media0": (239, 0),
    "/dev/gpiochip0": (254, 0),
    "/dev/mem": (1, 1),
    "/dev/kmsg": (1, 11),
    "/dev/watchdog": (10, 130),
}
BUSES = (
    "/run/dbus/system_bus_socket",
    "/run/systemd/private",
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/systemd/userdb/io.systemd.DynamicUser",
    "/run/systemd/io.system.ManagedOOM",
)


def probed(container: Container, service: str, facts: dict[str, list[str]]) -> dict[str, str]:
    """What a program finds that runs as the unit, in its sandbox, with its user and credentials; the unit rests afterwards."""
    unit, out = f"lykta-{service}.service", f"/run/lykta/{service}/probe.json"
    program = f"/usr/bin/python3 /{LAB}/probe.py {out} '{json.dumps(facts)}'"
    lines = ("Type=oneshot", "Restart=no", "WatchdogSec=0", "ExecStart=", f"ExecStart={program}")
    container.file(f"/{LAB}/probe.py").write_bytes((HERE / "probe.py").read_bytes())
    container.drop_in(unit, "[Service]\n" + "\n".join(lines) + "\n")
    container.must("systemctl", "restart", unit)
    found: dict[str, str] = json.loads(container.file(out).read_bytes())
    container.file(f"/etc/systemd/system/{unit}.d/test.conf").unlink()
    container.must("systemctl", "daemon-reload")
    return found


def replaced(container: Container, service: str, facts: dict[str, list[str]]) -> dict[str, str]:
    """The same of a service, which is itself again afterwards."""
    found = probed(container, service, facts)
    container.must("systemctl", "restart", "--no-block", f"lykta-{service}")
    until(lambda: container.state(service)[0] == "ready", f"{service} is itself again", 60)
    return found


@pytest.fixture(scope="module")
def found(running: Container) -> dict[str, dict[str, str]]:
    """All three, each while the other two run."""
    until(lambda: running.state("camera")[0] == "ready", "the camera films", 60)
    until(lambda: running.told()[0] == "ready", "the centre hears it")
    for path, (major, minor) in DEVICES.items():
        node = running.file(path)
        node.unlink(missing_ok=True)
        os.mknod(node, 0o20666, os.makedev(major, minor))
        node.chmod(0o666)
    running.press()
    until(lambda: list(running.file("/var/lib/lykta/spool").glob("*/manifest.jws")), "a clip lies in the spool", 60)
    return {service: replaced(running, service, facts_of(running, service)) for service in SERVICES}


def facts_of(container: Container, service: str) -> dict[str, Any]:
    """What the program tries, as the service."""
    others = [name for name in SERVICES if name != service]
    (clip, *_) = sorted(container.file("/var/lib/lykta/spool").glob("*/manifest.jws"))
    spool = f"/var/lib/lykta/spool/{clip.parent.name}"
    return {
        "port": container.installed.ports.broker,
        "pids": [str(container.pid(name)) for name in others] + ["1"],
        "devices": list(DEVICES),
        "sockets": [*BUSES, *(f"/run/lykta/{name}/{kind}.sock" for name in others for kind in ("ctl", "uplink"))],
        "datagrams": ["/run/lykta/trigger/camera.sock"],
        "reads": [
            *(f"/run/credentials/lykta-{name}.service" for name in others),
            *(f"/etc/lykta/credentials/{name}.cred" for name in (*SERVICES, "tls")),
            *(f"/var/lib/lykta/journal/{name}" for name in others),
            *(f"/var/lib/lykta/{name}" for name in ("camera", "uplink", "inbox")),
            *(("/var/lib/lykta/outbox",) if service == "io" else ("/var/lib/lykta/io", "/var/lib/lykta/io/outbox.db")),
            *(f"{spool}/clip.age", "/etc/shadow", "/root", "/home"),
        ],
        "writes": [
            *("/etc", "/etc/lykta", "/etc/lykta/trust", "/usr/bin", "/opt/lykta/bin"),
            *("/run", "/run/systemd", "/run/lykta", "/run/lykta/last"),
            "/var/lib/lykta/outbox" if service == "io" else "/var/lib/lykta/io",
            *("/var/lib", "/var/lib/lykta", "/var/lib/lykta/models", "/var/lib/lykta/applied", "/var/lib/lykta/spool", spool),
            *(f"/var/lib/lykta/journal/{name}" for name in others),
            *(f"/run/lykta/{name}" for name in others),
        ],
        "removes": ["/etc/lykta/basis.jws", *([] if service == "camera" else [f"{spool}/clip.age", f"{spool}/manifest.jws"])],
        "programs": [
            *("/tmp", "/var/tmp", "/dev/shm", f"/run/lykta/{service}"),
            *("/var/lib/lykta/io" if service == "io" else "/var/lib/lykta/outbox", f"/var/lib/lykta/journal/{service}"),
        ],
    }


def open_doors(found: dict[str, str]) -> set[str]:
    """What went, of what was tried; an answer that is neither is a fault of the probe."""
    odd = {what: how for what, how in found.items() if what != "core limit" and how != "ok" and how not in SHUT}
    assert odd == {}, "neither went nor was refused"
    return {what for what, how in found.items() if how == "ok"}


def test_the_camera_has_no_network_no_pins_and_no_neighbour(found: dict[str, dict[str, str]]) -> None:
    """R17: of what was tried it may write and read what it sealed itself, and that is all."""
    own = {name for name in open_doors(found["camera"]) if "/var/lib/lykta/spool" not in name}
    assert own == {"read /var/lib/lykta/camera", "read /var/lib/lykta/inbox"}


def test_io_has_nothing_but_pins(found: dict[str, dict[str, str]]) -> None:
    """Promise 5 and R17: no picture, no clip, no network; one word to the camera, which it may send into a full queue."""
    assert open_doors(found["io"]) == {"tell /run/lykta/trigger/camera.sock"}


def test_the_page_of_a_visit_has_the_cameras_masked_pictures_alone(running: Container, found: dict[str, dict[str, str]]) -> None:
    """R35: no network, no key, no clip, no journal; of all sockets the one that the camera has for it."""
    facts = facts_of(running, "setup")
    facts["sockets"].append("/run/lykta/camera/setup.sock")
    assert open_doors(probed(running, "setup", facts)) == {"call /run/lykta/camera/setup.sock"}


def test_a_compromised_uplink_cannot_delete_forge_command_or_see(found: dict[str, dict[str, str]]) -> None:
    """It has the network, the sealed clips, the journals as they stand, its own inbox and the sockets for signed envelopes."""
    doors = open_doors(found["uplink"])
    sealed = {name for name in doors if name.startswith("read /var/lib/lykta/spool/")}
    assert len(sealed) == 1
    assert doors - sealed == {
        *("socket INET", "socket INET6", "socket NETLINK", "connect broker"),
        *("call /run/lykta/camera/uplink.sock", "call /run/lykta/io/uplink.sock"),
        *("read /var/lib/lykta/journal/camera", "read /var/lib/lykta/journal/io"),
        *("read /var/lib/lykta/uplink", "read /var/lib/lykta/inbox"),
        # names of the broker and the ingest
        "call /run/systemd/resolve/io.systemd.Resolve",
    }


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_leaves_memory_for_the_disk(running: Container, found: dict[str, dict[str, str]], service: str) -> None:
    """R17: a limit of one byte refuses core files and pipes alike; no swap."""
    assert found[service]["core limit"] == "(1, 1)"
    assert running.show(f"lykta-{service}", "MemorySwapMax") == "0"
    assert running.show(f"lykta-{service}", "MemoryZSwapMax") == "0"


def test_exposure(running: Container) -> None:
    """As systemd 257 scores the units that run; probes stand beside it because the score does not see side doors."""
    lines = running.must("systemd-analyze", "security", "--no-pager").splitlines()
    score = {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("lykta-")}
    assert score["lykta-camera.service"] <= 0.5
    assert score["lykta-io.service"] <= 0.5
    assert score["lykta-uplink.service"] <= 1.1

"""`lykta link`: from a dead broker to the modem's power and the reboot, as a command (R30)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.control import Request, listen
from agent.messages import Rescue, decode
from agent.outbox import Mark, Outbox
from agent.rescue import Memory
from drivers.clock import SystemClock
from tests.site import NAME, Site

BOOT = Path("/proc/sys/kernel/random/boot_id")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site.made(tmp_path_factory.mktemp("bare"))


@pytest.fixture
def site(bare: Site, tmp_path: Path) -> Site:
    return bare.copy(tmp_path)


@contextmanager
def answering(site: Site, service: str, detail: dict[str, Any], heard: list[str] | None = None) -> Iterator[None]:
    """A service's own socket server, with this to say."""
    stop, path = threading.Event(), site.layout.socket(service, "ctl")
    path.parent.mkdir(parents=True, exist_ok=True)

    def reconnect(request: Request) -> Request:
        (heard if heard is not None else []).append(request["verb"])
        return {"reconnect": True}

    replies = {"status": lambda _: {"standing": {}, "detail": detail}, "reconnect": reconnect}
    thread = threading.Thread(target=listen, args=(path, replies, stop))
    thread.start()
    while not path.exists():
        time.sleep(0.01)
    try:
        yield
    finally:
        stop.set()
        thread.join()


def quiet(site: Site, seconds: float, **changes: Any) -> None:
    """A memory that says the broker was last there so long ago."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    memory = Memory(BOOT.read_text().strip(), now, 1e6, 1e6 - seconds, 1e6)
    site.layout.link.parent.mkdir(parents=True, exist_ok=True)
    site.layout.link.write_bytes(msgspec.json.encode(msgspec.structs.replace(memory, **changes)))


def remembered(site: Site) -> Memory:
    return msgspec.json.decode(site.layout.link.read_bytes(), type=Memory)


def told(site: Site) -> list[tuple[str, str]]:
    outbox = Outbox(site.layout.outbox, *NAME, SystemClock("host"))
    bodies = [decode(one.payload).body for one in outbox.take(Mark(), 100)]
    outbox.close()
    return [(body.rung, body.result) for body in bodies if isinstance(body, Rescue)]


def rehearsed(site: Site) -> list[str]:
    path = site.layout.run / "rehearsed"
    return path.read_text().splitlines() if path.exists() else []


def setting(site: Site, text: str) -> None:
    with site.layout.config.open("a") as file:
        file.write(f"\n{text}\n")


def never(site: Site) -> None:
    """Records whose time is over: outside assessed hours at any hour of the test."""
    site.layout.basis.write_bytes(site.record("basis", begin="2020-01-01T00:00:00Z", end="2020-02-01T00:00:00Z"))
    site.layout.view.write_bytes(site.record("view"))


def test_the_uplink_is_asked_to_reconnect(site: Site) -> None:
    heard: list[str] = []
    with answering(site, "uplink", {"away_s": 901.0}, heard):
        quiet(site, 901)
        code, said = site.run("link")
    assert (code, said["rungs"]) == (0, [{"rung": "reconnect", "result": "done"}])
    assert (heard, rehearsed(site)) == (["reconnect"], [])
    assert told(site) == [("reconnect", "done")]


def test_a_silent_uplink_is_restarted(site: Site) -> None:
    quiet(site, 901)
    assert site.run("link")[0] == 0
    assert rehearsed(site) == ["restart lykta-uplink"]


def test_a_broker_that_is_there_needs_nothing(site: Site) -> None:
    with answering(site, "uplink", {"away_s": 0.0}):
        quiet(site, 7 * 3600)
        assert site.run("link")[1]["rungs"] == []
    assert told(site) == []


@pytest.mark.parametrize(("port", "file"), [("1-1.2", "1-1:1.0/1-1-port2"), ("1-2", "1-0:1.0/usb1-port2")])
def test_the_modem_is_switched_by_its_usb_port(site: Site, port: str, file: str) -> None:
    setting(site, f'[modem]\npower = "usb"\nusb_port = "{port}"')
    disable = site.root / "sys/bus/usb/devices" / file / "disable"
    disable.parent.mkdir(parents=True)
    disable.write_text("1")
    quiet(site, 1801)
    assert site.run("link")[0] == 0
    assert (disable.read_text(), rehearsed(site), told(site)) == ("0", [f"port {port}"], [("modem", "done")])


def test_a_port_that_is_not_there_is_told_as_failed(site: Site) -> None:
    setting(site, '[modem]\npower = "usb"\nusb_port = "1-1.4"')
    quiet(site, 1801)
    assert site.run("link")[0] == 1
    assert told(site) == [("modem", "failed")]


def test_a_reboot_is_remembered_and_told_before_it_is_done(site: Site) -> None:
    never(site)
    with answering(site, "io", {"call": "none"}):
        quiet(site, 6 * 3600 + 1)
        assert site.run("link")[0] == 0
        assert remembered(site).rebooted_s is not None
        assert site.run("link")[1]["rungs"] != [{"rung": "reboot", "result": "done"}]
    assert rehearsed(site).count("reboot") == 1
    assert ("reboot", "done") in told(site)
    assert ("reboot", "daily") in told(site)


@pytest.mark.parametrize(("call", "held", "reason"), [("open", False, "help"), ("none", True, "hold")])
def test_no_reboot_for_a_call_or_a_hold(site: Site, call: str, held: bool, reason: str) -> None:
    never(site)
    if held:
        (site.layout.spool / "clip").mkdir(parents=True)
        (site.layout.spool / "clip/hold.jws").write_bytes(b"x")
    with answering(site, "io", {"call": call}):
        quiet(site, 7 * 3600)
        site.run("link")
    assert ("reboot", reason) in told(site)
    assert "reboot" not in rehearsed(site)


def test_no_reboot_where_the_hours_are_unknown(site: Site) -> None:
    """Without records nobody can say that it is outside the hours."""
    site.layout.basis.unlink(missing_ok=True)
    with answering(site, "io", {"call": "none"}):
        quiet(site, 7 * 3600)
        site.run("link")
    assert ("reboot", "hours") in told(site)
    assert "reboot" not in rehearsed(site)


def test_a_torn_memory_begins_anew(site: Site) -> None:
    quiet(site, 0)
    site.layout.link.write_bytes(b'{"boot":')
    assert site.run("link")[0] == 0
    assert remembered(site).rebooted_s is not None


def test_a_dry_run_changes_nothing(site: Site) -> None:
    quiet(site, 7 * 3600)
    before = site.layout.link.read_bytes()
    code, said = site.run("link", "--dry-run")
    assert code == 0
    assert said["dry_run"]
    assert said["rungs"]
    assert site.layout.link.read_bytes() == before
    assert rehearsed(site) == []
    assert not site.layout.outbox.exists()

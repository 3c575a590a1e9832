"""A visit where it happens: button, path unit, page in its sandbox, a technician's real SSH, a browser's requests (R35, R41)."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

from privacy.records.zone import stockholm
from tests.container.rig import LAB, Container, Installed, booted
from tests.support.broker import listens
from tests.support.nodes import until

_LOOK = """
import http.cookiejar, sys, time, urllib.error, urllib.request
browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
print(b"Visit at" in browser.open("http://127.0.0.1:8080/", timeout=10).read())
browser.open(urllib.request.Request("http://127.0.0.1:8080/admit", data=sys.argv[1].encode(), method="POST"), timeout=10)
for _ in range(100):
    try:
        print(browser.open("http://127.0.0.1:8080/picture", timeout=10).read()[:3].hex())
        break
    except urllib.error.HTTPError:
        time.sleep(0.2)
print(browser.open(urllib.request.Request("http://127.0.0.1:8080/end", method="POST"), timeout=10).status)
"""


_SSH = [
    *("ssh", "-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"),
    *("-o", "ExitOnForwardFailure=yes", "-i", f"/{LAB}/tech"),
]


def at_night_on_a_commissioning_day(container: Container) -> None:
    here = datetime.now(stockholm()).date()
    days = [here.isoformat(), (here + timedelta(days=1)).isoformat()]
    container.file("/etc/lykta/basis.jws").write_bytes(container.sign("basis", hours=[], commissioning=days))
    settings = container.file("/etc/lykta/lykta.toml")
    settings.write_text(settings.read_text().replace("[pins]\n", "[pins]\nservice_button = 22\n"))


def technician(container: Container) -> None:
    """Somebody with a key, in the technicians' group, whose SSH forwards port 8080 to the page."""
    container.must("useradd", "--create-home", "--groups", "lykta-cli", "tech")
    container.must("ssh-keygen", "-qt", "ed25519", "-N", "", "-f", f"/{LAB}/tech")
    container.must("install", "-D", "-o", "tech", "-m", "600", f"/{LAB}/tech.pub", "/home/tech/.ssh/authorized_keys")
    tunnel = ["-N", "-L", "8080:/run/lykta/setup/page.sock", "tech@127.0.0.1"]
    container.must("systemd-run", "--unit=lab-tunnel", *_SSH, *tunnel)
    until(lambda: container.run("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080").returncode == 0, "SSH forwards")


def test_an_installer_looks_by_ssh(installed: Installed, folder: Path) -> None:
    """From the held button to the journal; root gets in by no key."""
    with booted(installed, folder, at_night_on_a_commissioning_day) as container:
        until(lambda: container.state("camera") == ("off", "outside_hours"), "the camera rests", 30)
        technician(container)
        container.must("install", "-D", "-m", "600", f"/{LAB}/tech.pub", "/root/.ssh/authorized_keys")
        assert "Permission denied" in container.run(*_SSH, "root@127.0.0.1", "true").stderr
        assert container.show("lykta-setup", "ActiveState") == "inactive"
        container.set_contact("service_button", closed=True)
        until(lambda: container.show("lykta-setup", "ActiveState") == "active", "the page is started")
        until(lambda: container.told() == ("setup", "visit"), "the centre knows of the visit")
        until(lambda: listens(container.file("/run/lykta/setup/page.sock")), "the page listens")
        word = json.loads(container.must("/opt/lykta/bin/lykta", "status", "--json"))["services"]["camera"]["detail"]["visit_word"]
        seen = container.must("/opt/lykta/bin/python", "-c", _LOOK, word).split()
        assert seen == ["True", "ffd8ff", "200"]
        until(lambda: container.show("lykta-setup", "ActiveState") == "inactive", "the page ends with the visit")
        assert container.show("lykta-setup", "Result") == "success"
        until(lambda: container.told() == ("off", "outside_hours"), "the camera rests again")
        assert list(container.file("/var/lib/lykta/spool").iterdir()) == []
        assert container.must("systemctl", "--failed", "--plain", "--no-legend") == ""

"""A visit, as an installer has it: the service button held, a phone that looks, and two lines in the journal left behind (R35)."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.camera.visit import EVERY_NS, Visit
from agent.runtime.control import listen
from privacy.errors import LyktaError, MediaError
from privacy.masking.delay import Verdict
from privacy.masking.mask_record import TONES
from privacy.masking.masker import Masker
from privacy.records.basis import VISIT_MS, rule_visit
from privacy.records.zone import stockholm
from tests.support.asking import answering, ask
from tests.support.broker import PATIENCE
from tests.support.nodes import Node, stop, until
from tests.support.records import ANY_TIME, BASIS
from tests.support.scenes import picture, view

QUARTER = [[0.0, 0.0], [0.5, 0.0], [0.5, 0.5], [0.0, 0.5]]


def days(first: int = 0) -> list[str]:
    """The day that is so many from now, local, and the next: a test may run past midnight."""
    here = datetime.now(stockholm()).date() + timedelta(days=first)
    return [here.isoformat(), (here + timedelta(days=1)).isoformat()]


def connects(path: Path) -> bool:
    """A socket is there a moment before somebody listens on it."""
    with socket.socket(socket.AF_UNIX) as line:
        return line.connect_ex(str(path)) == 0


# -- the rule ----------------------------------------------------------------------------------------------------------


@given(
    ANY_TIME,
    st.sets(st.dates(date(2025, 12, 1), date(2027, 2, 1)), max_size=5),
    st.integers(0, 2**40),
    st.integers(0, 2 * VISIT_MS),
)
def test_a_visit_is_an_hour_at_most_on_its_days_within_the_basis(now: datetime, days: set[date], begun: int, lasted: int) -> None:
    """R35, by who has a calendar and a watch; and by no other clock than the one since boot is its hour counted."""
    here = now.astimezone(stockholm()).date()
    for given_days in (days, days | {here}):
        basis = msgspec.structs.replace(BASIS, commissioning=tuple(sorted(given_days)))
        ruling = rule_visit(basis, now, True, begun, begun + lasted)
        assert ruling.open == (here in given_days and lasted < VISIT_MS and BASIS.begin <= now < BASIS.end)
        assert not rule_visit(basis, now, False, begun, begun + lasted).open
        if ruling.open and ruling.until:
            assert now < ruling.until <= min(now + timedelta(milliseconds=VISIT_MS - lasted), BASIS.end)


def test_a_basis_that_names_no_day_allows_no_visit() -> None:
    assert not rule_visit(BASIS, datetime(2026, 6, 1, tzinfo=UTC), True, 0, 0).open


def test_a_visit_takes_masked_frames_only() -> None:
    """R24: the run-time half of what mypy says; of what was refused nothing can be shown."""
    visit = Visit(0)
    with pytest.raises(TypeError, match="only a MaskedFrame"):
        visit.leaves(picture(0))  # type: ignore[arg-type]
    assert visit.pictures == 0
    with pytest.raises(MediaError, match="no picture yet"):
        visit.newest()


def test_the_noisiest_picture_goes_through_the_socket(tmp_path: Path) -> None:
    """A night's noise does not compress: an answer that is too long would read as a camera that does not answer."""
    noise = picture(0, width=640, height=640)
    noise.buffer[:] = np.random.default_rng(1).integers(0, 255, noise.buffer.shape, np.uint8)
    visit, done = Visit(0), Event()
    visit.leaves(Masker(640, 640, view()).mask(noise, Verdict()))
    path = tmp_path / "sock"
    reply = answering({"picture": lambda _: {"jpeg": b64encode(visit.newest().jpeg).decode()}})
    camera = Thread(target=listen, args=(path, reply, lambda: not done.is_set()))
    camera.start()
    until(lambda: connects(path), "somebody listens")
    assert b64decode(ask(path, {"verb": "picture", "phone": ""})["jpeg"]) == visit.newest().jpeg
    assert len(visit.newest().jpeg) > 300_000
    done.set()
    camera.join()


# -- on the node -------------------------------------------------------------------------------------------------------


@dataclass
class Site:
    """A node at night on one of its commissioning days, only a quarter of its picture to be seen."""

    node: Node
    services: list[subprocess.Popen[bytes]]

    def hold(self) -> None:
        ask(self.node.layout.socket("io", "ctl"), {"verb": "set", "name": "service_button", "closed": True})

    def let_go(self) -> None:
        ask(self.node.layout.socket("io", "ctl"), {"verb": "set", "name": "service_button", "closed": False})

    def begin(self) -> None:
        self.hold()
        until(lambda: self.node.state("camera") == ("setup", "visit"), "the visit begins")
        self.let_go()

    def page(self) -> subprocess.Popen[bytes]:
        until(self.node.layout.visit.exists, "systemd may start the page")
        page = self.node.start("setup", log="page")
        until(lambda: connects(self.node.layout.page), "the page is there")
        self.services.append(page)
        return page

    def curl(self, path: str, jar: Path, *words: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body, as a browser with this jar of cookies gets them through the socket."""
        fixed = ["curl", "-s", "-i", "--unix-socket", str(self.node.layout.page), "-b", str(jar), "-c", str(jar), *words]
        out = subprocess.run([*fixed, f"http://localhost{path}"], capture_output=True, check=True, timeout=PATIENCE * 30).stdout
        head, _, body = out.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body

    def word(self) -> str:
        """What `lykta status` prints for the visit."""

        def said() -> str:
            camera = json.loads(self.node.run("status", "--json").stdout)["services"]["camera"]
            return str(camera["detail"]["visit_word"]) if camera else ""

        return str(until(said, "the camera answers"))

    def admit(self, jar: Path, *words: str) -> int:
        """Open the page and say the word, as the browser with that jar."""
        self.curl("/", jar)
        return self.curl("/admit", jar, "-X", "POST", "--data-binary", self.word(), *words)[0]

    def entries(self) -> list[dict[str, Any]]:
        shown = self.node.run("journal", "show", "camera", "--last", "99", "--json").stdout
        return [entry for entry in json.loads(shown)["entries"] if entry["kind"].startswith("visit")]


@pytest.fixture
def site(node: Node) -> Iterator[Site]:
    node.sign("basis", hours=[], commissioning=days())
    node.sign("view", areas=[{"kind": "stop", "paragraph": "KBL11.5b", "workplace": False, "polygon": QUARTER}])
    node.settings(pins__service_button="22")
    services = [node.start("camera"), node.start("io", log="io")]
    until(lambda: node.state("camera") == ("off", "outside_hours"), "the camera rests")
    until(lambda: node.state("io")[0] == "ready", "io is ready")
    yield Site(node, services)
    for service in services:
        service.kill()
        service.wait()


def test_a_visit_from_the_button_to_the_journal(site: Site, tmp_path: Path) -> None:
    """R35: masked pictures to the first phone, at most two a second, to no other; nothing recorded; journalled; over when told."""
    site.begin()
    page = site.page()
    phone, other = tmp_path / "phone", tmp_path / "other"
    status, headers, body = site.curl("/", phone)
    assert (status, b"linkoping-demo/stop-1" in body) == (200, True)
    assert "samesite=strict" in headers["set-cookie"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert site.curl("/picture", phone)[0] == 409, "no picture without the word"
    assert site.admit(phone) == 200
    until(lambda: site.curl("/picture", phone)[0] == 200, "the first picture")
    taken: dict[int, bytes] = {}

    def look() -> bytes:
        _, headers, jpeg = site.curl("/picture", phone)
        taken[int(headers["x-taken-ms"])] = jpeg
        return jpeg

    until(lambda: look() and len(set(taken.values())) > 4, "five different pictures")
    jpeg = look()
    assert min(np.diff(sorted(taken))) >= EVERY_NS // 1_000_000 - 1
    assert site.admit(other) == 409, "the word is for one phone"
    status, _, body = site.curl("/picture", other)
    assert (status, "another phone" in json.loads(body)["error"]) == (409, True)
    assert site.curl("/picture", tmp_path / "none", "-b", "")[0] == 409
    assert site.curl("/end", other, "-X", "POST")[0] == 409
    everything_outside_the_view_is_painted(jpeg)
    assert site.node.clips() == []
    assert site.curl("/end", phone, "-X", "POST")[0] == 200
    assert page.wait(PATIENCE * 30) == 0
    until(lambda: site.node.state("camera") == ("off", "outside_hours"), "the camera rests again")
    assert not site.node.layout.visit.exists()
    assert list(site.node.layout.spool.iterdir()) == []
    until(lambda: len(site.entries()) == 2, "begin and end are in the journal")
    begun, over = (entry["facts"] for entry in site.entries())
    assert (begun["profile"], over["reason"]) == ("strict", "ended_on_site")
    assert over["pictures"] >= len(taken)
    assert list(site.node.root.rglob("*.jp*g")) == []
    assert "presence" not in site.node.run("outbox", "list").stdout


@pytest.mark.parametrize(
    "words",
    [
        ["-H", "Host: rebound.example:8080"],
        ["-H", "Host:"],
        ["-H", "Host: localhost.rebound.example"],
        ["-H", "Origin: http://rebound.example:8080"],
        ["-H", "Origin: null"],
        ["-H", "Sec-Fetch-Site: cross-site"],
    ],
)
def test_another_site_in_the_same_browser_gets_nothing(site: Site, tmp_path: Path, words: list[str]) -> None:
    """14.C13: a page whose name was pointed at this address and that came first got the pictures."""
    site.begin()
    site.page()
    jar = tmp_path / "jar"
    assert site.admit(jar, *words) in (400, 409)
    for path in ("/picture", "/state"):
        assert site.curl(path, jar, *words)[0] in (400, 409)
    assert site.curl("/end", jar, "-X", "POST", *words)[0] in (400, 409)
    assert site.admit(jar) == 200
    assert site.curl("/picture", jar, *words)[0] in (400, 409)
    until(lambda: site.curl("/picture", jar)[0] == 200, "the visit's own page shows a picture")


def test_a_word_is_not_found_by_trying(site: Site, tmp_path: Path) -> None:
    """Ten wrong words end the visit; a word too long is read no further."""
    site.begin()
    page = site.page()
    jar = tmp_path / "jar"
    site.curl("/", jar)
    assert site.curl("/admit", jar, "-X", "POST", "--data-binary", "x" * 100_000)[0] == 409
    for _ in range(10):
        assert site.curl("/admit", jar, "-X", "POST", "--data-binary", "aaaaaaaa")[0] == 409
    until(lambda: site.node.state("camera") == ("off", "outside_hours"), "the visit is over")
    assert page.wait(PATIENCE * 30) == 0
    until(lambda: site.entries()[-1]["facts"].get("reason") == "wrong_words", "the journal says why")


def test_the_uplink_does_not_learn_the_word(site: Site) -> None:
    """What goes over its socket may go over the network."""
    site.begin()
    word = site.word()
    assert word not in json.dumps(ask(site.node.layout.socket("camera", "uplink"), {"verb": "status"}))
    with pytest.raises(LyktaError, match="unknown verb"):
        ask(site.node.layout.socket("camera", "uplink"), {"verb": "visit"})


def everything_outside_the_view_is_painted(jpeg: bytes) -> None:
    """Three quarters hold the mask's tones alone, but for what JPEG makes of their edges; the fourth shows something."""
    luma = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE).astype(int)
    height, width = luma.shape
    assert max(width, height) == 640
    tones = [round((y - 16) * 255 / 219) for y, _, _ in TONES]
    painted = np.min([abs(luma - tone) for tone in tones], axis=0) <= 3
    assert painted[height // 2 + 16 :].mean() > 0.97
    assert painted[:, width // 2 + 16 :].mean() > 0.97
    assert painted[: height // 2 - 16, : width // 2 - 16].mean() < 0.9


def test_no_visit_on_another_day_nor_without_a_hold(node: Node, site: Site) -> None:
    """A press that is too short is none; on a day that the basis does not name the lens stays shut, and the journal says so."""
    assert stop(site.services[0]) == 0
    node.sign("basis", hours=[], commissioning=days(2))
    site.services[0] = node.start("camera")
    until(lambda: node.state("camera") == ("off", "outside_hours"), "the camera rests")
    site.hold()
    site.let_go()
    site.hold()
    until(lambda: len(site.entries()) == 1, "it is refused")
    assert (site.entries()[0]["kind"], site.entries()[0]["facts"]["reason"]) == ("visit_refused", "no_commissioning_day")
    assert node.state("camera") == ("off", "outside_hours")
    assert not node.layout.visit.exists()
    refused = node.run("setup")
    assert (refused.returncode, "there is no visit" in refused.stderr) == (4, True)


def test_a_visit_ends_with_the_basis(site: Site) -> None:
    """What was signed to end now ends now, whoever looks. A machine that is too slow to begin the visit before is given longer."""
    node = site.node
    for seconds in (25, 50, 100, 200):
        assert stop(site.services[0]) == 0
        node.sign("basis", hours=[], commissioning=days(), end=(datetime.now(UTC) + timedelta(seconds=seconds)).isoformat())
        site.services[0] = node.start("camera")
        until(lambda: node.state("camera")[0] == "off", "the camera rests")
        site.hold()
        until(lambda: node.state("camera") in (("setup", "visit"), ("blind", "basis_expired")), "the visit begins, or is too late")
        begun = node.state("camera") == ("setup", "visit")
        site.let_go()
        if begun:
            break
    until(lambda: node.state("camera") == ("blind", "basis_expired"), "it is over", 240)
    until(lambda: [entry["facts"].get("reason") for entry in site.entries()][-1:] == ["basis_not_in_force"], "it is in the journal")


def test_a_visit_in_assessed_hours_stops_the_recording(node: Node, site: Site) -> None:
    """Filming ends for as long as somebody looks, a press for help records nothing meanwhile; then it goes on."""
    assert stop(site.services[0]) == 0
    node.sign("basis", commissioning=days())
    site.services[0] = node.start("camera")
    until(lambda: node.state("camera") == ("ready", "filming"), "it films")
    site.begin()
    ask(node.layout.socket("io", "ctl"), {"verb": "press", "name": "help"})
    until(lambda: node.status("io")["detail"]["lamp"] == "blinking", "help is as it was")
    time.sleep(2)
    before = set(node.clips())
    with pytest.raises(LyktaError):
        ask(node.layout.socket("camera", "setup"), {"verb": "end", "phone": ""})
    setup = node.layout.socket("camera", "setup")
    with pytest.raises(LyktaError, match="no phone has said its word"):
        ask(setup, {"verb": "end", "phone": "mine"})
    ask(setup, {"verb": "admit", "phone": "mine", "word": site.word()})
    ask(setup, {"verb": "end", "phone": "mine"})
    until(lambda: node.state("camera") == ("ready", "filming"), "it films again")
    assert set(node.clips()) == before


def test_a_camera_that_starts_again_has_no_visit_any_more(site: Site) -> None:
    """Fail closed: nothing of a visit is on a disk; the page ends too."""
    site.begin()
    page = site.page()
    site.services[0].kill()
    site.services[0].wait()
    site.services[0] = site.node.start("camera")
    until(lambda: site.node.state("camera") == ("off", "outside_hours"), "the camera rests")
    assert not site.node.layout.visit.exists()
    assert page.wait(PATIENCE * 60) == 0

"""The console's pages over HTTP: what they say, to whom, and in which language."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from agent.messages import Alarm, Describe, Help, Presence
from central.fleet.alarm_catalogue import CATALOGUE
from central.fleet.console.texts import CODES, TEXTS
from privacy.records.zone import stockholm
from provisioning.layout import CODE
from tests.support.broker import Centre, until
from tests.support.clips import central, made, refused
from tests.support.collecting import Talker, rows
from tests.support.consoles import Console, serving, store

FOLDER = CODE / "central/fleet/console"
NOW = datetime.now(UTC)
AGO = NOW - timedelta(hours=2)


def test_every_text_is_in_both_languages_and_used() -> None:
    both = {**TEXTS, **{f"code {name}": words for name, words in CODES.items()}}
    assert [key for key, words in both.items() if not (words.en.strip() and words.sv.strip())] == []
    sources = [path.read_text() for path in (*FOLDER.glob("*.py"), *FOLDER.glob("templates/*.html"))]
    named = {key for source in sources for key in re.findall(r"""\bt\(["'](\w+)["']\)""", source)}
    assert named - TEXTS.keys() == set()
    kinds = ("state_", "letter_", "owner_", "stage_", "result_", "record_", "help_", "value_", "unit_")
    spoken = {key for key in TEXTS if any(f'"{key}"' in source for source in sources if f'"{key}": Words' not in source)}
    assert {key for key in TEXTS if not key.startswith(kinds)} - named - spoken == set()


@pytest.mark.parametrize(
    ("language", "title", "why", "bring", "state"),
    [
        ("en", "Who needs a visit", "the memory card is worn out or refuses writes", "memory card with the node", "blind"),
        (
            "sv-SE,sv;q=0.9",
            "Vilka behöver besök",
            "minneskortet är slitet eller vägrar skrivning",
            "minneskort med nodens avbild",
            "blind",
        ),
    ],
)
def test_the_start_page_says_who_needs_a_visit_and_what_to_bring(
    console: Console, language: str, title: str, why: str, bring: str, state: str
) -> None:
    page = console.page("/", language)
    assert f'<html lang="{language[:2]}">' in page
    visits = page.partition('id="live-visits"')[2].partition("</ol>")[0]
    assert title in page
    assert (why in visits, bring in visits, visits.count("<li>")) == (True, True, 3)
    assert "Resecentrum" in visits
    for name in ("Centrum", "Väst", "Storgatan", "Hållplats 112"):
        assert name in page
    assert re.search(rf'class="tile {state}"[^>]*>\s*<b aria-hidden="true">B</b>', page)


def test_a_press_is_above_everything_and_only_an_officer_has_the_button(console: Console, pressed: str) -> None:
    for path in ("/", "/visits", "/clips", "/node/city/stop-1", "/area?name=Centrum"):
        page = console.page(path)
        assert page.index("HELP – somebody waits") < page.index("<main")
        assert "Hållplats 12" in page.partition("<main")[0]
        assert "<form" not in page.partition("<main")[0]
    page = console.page("/", X_User="eva-ek")
    assert f'value="{pressed}"' in page.partition("<main")[0]
    assert "Officer: <strong>eva-ek</strong>" in page


def test_an_answer_is_drafted_once_by_an_officer_on_the_consoles_own_page(console: Console, engine: Engine, pressed: str) -> None:
    node = "city/stop-12"
    assert console.answer(node, pressed).status == 403
    assert console.answer(node, pressed, X_User="eva-ek", Origin="https://elsewhere.example").status == 403
    assert console.request("/answer", {"node": node, "press": pressed}, X_User="eva-ek").status == 403
    assert console.answer(node, "cd" * 16, X_User="eva-ek").status == 409
    assert console.answer("city/stop-1", pressed, X_User="eva-ek").status == 409
    assert console.request("/answer", {"node": "x" * 5000}, X_User="eva-ek", Origin=console.address).status == 413
    assert rows(engine, "SELECT * FROM drafts") == []
    assert console.answer(node, pressed, X_User="eva-ek").status == 303
    assert console.answer(node, pressed, X_User="bo-ek").status == 409
    assert rows(engine, "SELECT node, press, officer, state FROM drafts") == [(node, pressed, "eva-ek", "draft")]
    assert "Answer on its way" in console.page("/")


def test_a_proxys_header_counts_from_its_address_alone(tmp_path: Path, url: str, talkers: dict[int, Talker]) -> None:
    """Another address sends it, and a name that is none: both are ignored, and the log says so."""
    with serving(Console(tmp_path, url, "--proxy-from", "127.0.0.2", "--user-header", "X-User")) as console:
        page = console.page("/", X_User="eva-ek", X_Forwarded_For="127.0.0.2")
        assert "Read only" in page
        assert "eva-ek" not in page
    assert "x-user: ignored: it came from 127.0.0.1, not from 127.0.0.2" in console.log.read_text()
    with serving(Console(tmp_path, url, "--proxy-from", "127.0.0.1", "--user-header", "X-User")) as console:
        assert "Read only" in console.page("/", X_User="<script>")
    with serving(Console(tmp_path, url)) as console:
        assert "Read only" in console.page("/", X_User="eva-ek")


def test_an_officers_certificate_counts_while_the_officer_has_a_right(
    tmp_path: Path, url: str, pressed: str, engine: Engine
) -> None:
    """Over TLS; without a certificate the pages can be read, and a node's certificate is no officer's."""
    centre = Centre(tmp_path / "keys")
    node = centre.issue("city/stop-1", "tls", tmp_path)
    officer = centre.folder / "officers/officer-1.pem"

    def client(certificate: Path | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(centre.ca))
        if certificate:
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        return context

    keys = centre.folder
    options = ("--tls", keys / "ingest.pem", keys / "ingest.key", "--client-ca", centre.ca, "--officers", keys / "roles.jws")
    served = Console(tmp_path, url, *options, tls=client(None))
    with serving(served):
        for certificate, right in ((None, False), (node, False), (officer, True)):
            served.tls = client(certificate)
            assert ("<strong>officer-1</strong>" in served.page("/")) is right
            assert served.answer("city/stop-12", pressed).status == (303 if right else 403)
        made("officer", keys, "eva-ek", "--may", "order")
        made("officer", keys, "officer-1", "--remove")
        assert "Read only" in served.page("/")


def test_what_nodes_say_is_shown_as_text(console: Console, engine: Engine) -> None:
    """A stop called <script>, and every other text that comes from a node."""
    evil = "<script>alert(1)</script>"
    node = Talker("city/evil")
    says = Describe(evil, evil, (evil,), evil, {}, {"ack": {evil: evil}}, {}, evil, f'"><img src=x onerror=alert(1)>{evil}')
    press = [node.say(Help("ef" * 16, "pressed")), node.say(Alarm("help", evil, "ef" * 16))]
    store(engine, [node.say(says), node.say(Alarm("disk", evil, evil)), node.say(Alarm("odd", evil, evil)), *press])
    for path in ("/", "/visits", "/node/city/evil", "/clips?q=script+12:00", f"/area?name={evil}", f"/clips?q={evil}", f"/{evil}"):
        answer = console.request(path.replace("<", "%3C").replace(">", "%3E"), X_User="eva-ek")
        assert answer.status in (200, 404)
        assert "<script>" not in answer.text
        assert "<img" not in answer.text
        if path == "/":
            assert "&lt;script&gt;" in answer.text
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_the_page_of_a_node_says_all_that_is_known(console: Console, clip: str) -> None:
    page = console.page("/node/city/stop-12")
    for text in (
        "the decision has ended",
        "the lawyer",
        "on the node",
        clip,
        "2026-14",
        "17",
        "cdcdcdcd",
        "lykta 1",
        "Temperature, °C",
    ):
        assert text in page, text
    assert re.search(r'<path d="M[\d.]+ [\d.]+h1(L[\d.]+ [\d.]+){4}"/>', page)
    alarm, page = CATALOGUE["disk"], console.page("/node/city/stop-2")
    assert (alarm.text.en in page, alarm.todo.en in page) == (True, True)
    assert console.request("/node/city/nobody").status == 404
    assert console.request("/node/../etc/passwd").status == 404


def test_a_clip_is_found_by_stop_and_time(console: Console, clip: str, url: str) -> None:
    """On the page and at the command line; 12 is not 112, and a question without a stop or time is told what it lacks."""
    at = datetime.now(stockholm())
    for question in (
        f"stop+12,+{at:%H:%M}",
        f"hållplats+12+{at:%Y-%m-%d}+{at:%H.%M}",
        f"vast+12+{at:%A}+{at:%H:%M}".replace("vast", "Väst"),
    ):
        page = console.request(question_path(question), Accept_Language="en").text
        assert clip in page, question
    assert "No clip within two hours" in console.request(question_path(f"112+{at:%H:%M}"), Accept_Language="en").text
    assert "No stop has all these words" in console.request(question_path("stop+99+12:00"), Accept_Language="en").text
    assert "Name a time" in console.request(question_path("stop+12"), Accept_Language="en").text
    assert clip in made("list", f"stop 12, {at:%H:%M}", "--database", url)
    assert central("list", f"stop 112, {at:%H:%M}", "--database", url).returncode == 1
    refused(2, "no time in", "list", "stop 12", "--database", url)
    refused(2, "no stop has all these words: 99", "list", "stop 99 12:00", "--database", url)


def question_path(question: str) -> str:
    return "/clips?q=" + question.replace("å", "%C3%A5").replace("ä", "%C3%A4")


def test_a_language_that_was_chosen_stays(console: Console) -> None:
    answer = console.request("/?lang=en", Accept_Language="sv")
    assert "Overview" in answer.text
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert "Overview" in console.request("/", Accept_Language="sv", Cookie=cookie).text


def test_that_no_collector_runs_is_said(console: Console, engine: Engine) -> None:
    """No call would be seen: silence must not look like quiet."""
    assert "No collector runs" not in console.page("/")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE replicas SET seen = seen - 100000")
    until(lambda: "No collector runs" in console.page("/"), "the page says so")


def test_changes_come_by_themselves(console: Console, engine: Engine, talkers: dict[int, Talker]) -> None:
    with console.stream("node:city/stop-1") as events:
        events.until_has("event: node")
        store(engine, [talkers[1].say(Alarm("case", "open", ""))])
        events.until_has(CATALOGUE["case"].text.en)


def test_the_digest_has_calls_alarms_and_visits(url: str, engine: Engine, talkers: dict[int, Talker], pressed: str) -> None:
    formula = Talker("city/formula")
    name = Describe("", "", (), "", {}, {}, {}, "=1+1", "Väst")
    store(engine, [formula.say(name), formula.say(Alarm("disk", "disk_error", ""))], round(AGO.timestamp() * 1000))
    store(engine, [talkers[12].say(Help(pressed, "taken")), formula.say(Presence("none", NOW))])
    said = made("digest", "--database", url, "--since", "1d", "--language", "sv")
    for text in ("Anrop om hjälp: 1; besvarat 1", CATALOGUE["disk"].text.sv, "Resecentrum (Centrum)", "Ta med: minneskort"):
        assert text in said
    table = made("digest", "--database", url, "--csv").splitlines()
    assert table[0] == "node,stop,area,cause,why,bring,since"
    listed = [line.split(",")[:3] for line in table[1:]]
    assert ["city/stop-2", "Resecentrum", "Centrum"] in listed
    assert ["city/formula", "'=1+1", "Väst"] in listed
    refused(5, "must be a date", "digest", "--database", url, "--since", "soon")

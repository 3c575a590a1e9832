"""Every alarm that the centre knows: how severe it is, what it says, what to do and what to bring, in English and Swedish.

The node's own are those of `agent.alarm_catalogue`. The console and the messages to Alertmanager read this list
alone. An alarm that is not in it is shown by its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agent.alarm_catalogue import CATALOGUE as OF_NODES
from agent.alarm_catalogue import AlarmKind

Severity = Literal["call", "critical", "warning", "notice"]
"""call: a person waits; critical: a promise to the public is broken now; warning: act within days; notice: look at it once."""


@dataclass(frozen=True)
class Words:
    """One text in both languages."""

    en: str
    sv: str


@dataclass(frozen=True)
class Entry:
    """id: the alarm's name in its topic; text: what is so; todo: what to do; bring: to the stop, "" if no visit helps."""

    id: str
    severity: Severity
    text: Words
    todo: Words
    bring: Words


NOTHING = Words("", "")
_SEVERITIES: dict[str, Severity] = {"critical": "critical", "major": "warning", "minor": "notice"}
"""Of the node's own words for it."""


def _of_node(kind: AlarmKind) -> Entry:
    severity = "call" if kind.id == "help" else _SEVERITIES[kind.severity]
    text, todo, bring = (Words(getattr(kind.en, part), getattr(kind.sv, part)) for part in ("says", "do", "bring"))
    return Entry(kind.id, severity, text, todo, bring)


_OF_THE_COLLECTOR = (
    Entry(
        "lost",
        "critical",
        Words("the node's connection broke and did not come back", "nodens förbindelse bröts och har inte kommit tillbaka"),
        Words("check power and mobile network at the stop", "kontrollera ström och mobilnät vid hållplatsen"),
        Words("power supply, SIM card, modem", "nätaggregat, SIM-kort, modem"),
    ),
    Entry(
        "silent",
        "critical",
        Words("connected, but silent for longer than it may be", "ansluten men tyst längre än den får vara"),
        Words("restart the uplink; if that does not help, the node", "starta om uplink; hjälper det inte, starta om noden"),
        Words("laptop, key to the case", "dator, nyckel till höljet"),
    ),
    Entry(
        "upload_behind",
        "warning",
        Words(
            "uploads fall behind: the oldest clip waits for a day",
            "uppladdningen släpar efter: det äldsta klippet har väntat ett dygn",
        ),
        Words("check the link and the daily budget for data", "kontrollera förbindelsen och dygnets datamängd"),
        NOTHING,
    ),
    Entry(
        "clips_expiring",
        "critical",
        Words(
            "clips that are to be uploaded will be deleted on the node first",
            "klipp som ska laddas upp raderas på noden innan dess",
        ),
        Words("raise the budget for data, or fetch the clips on site", "höj datamängden eller hämta klippen på plats"),
        Words("USB stick, laptop", "USB-minne, dator"),
    ),
    Entry(
        "help_test_missing",
        "critical",
        Words(
            "the weekly test of the help button has not come for eight days", "hjälpknappens veckoprov har uteblivit i åtta dygn"
        ),
        Words("press the button on site and see that the lamp lights", "tryck på knappen på plats och se att lampan tänds"),
        Words("help button, lamp, screwdriver", "hjälpknapp, lampa, skruvmejsel"),
    ),
    Entry(
        "two_identities",
        "critical",
        Words(
            "two nodes send with one identity, or a disk was copied",
            "två noder sänder med samma identitet, eller så har en disk kopierats",
        ),
        Words(
            "find both; revoke the certificates and enrol them anew",
            "hitta båda; återkalla certifikaten och registrera dem på nytt",
        ),
        Words("laptop", "dator"),
    ),
)
CATALOGUE = {entry.id: entry for entry in (*map(_of_node, OF_NODES.values()), *_OF_THE_COLLECTOR)}


def entry_of(name: str, reason: str = "") -> Entry:
    """The entry of an alarm with this reason; for a name that is not known a warning that says the name."""
    plain = name.replace("_", " ")
    unknown = Words("look at the node's page", "se nodens sida")
    return CATALOGUE.get(f"{name}.{reason}") or CATALOGUE.get(name) or Entry(name, "warning", Words(plain, plain), unknown, NOTHING)

"""Every alarm of a node: how urgent it is, how it comes and goes, what it says in Swedish and English, what to do, what to bring.

Data alone: node and centre import it. docs/ALARMS.md is made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

Severity = Literal["critical", "major", "minor"]
"""critical: somebody may be in danger or seen; major: the node does not do its work; minor: it will not for long."""
Raiser = Literal["camera", "io", "uplink"]
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0


class Text(Struct, frozen=True):
    """One language. says: what is wrong; do: what to do; bring: what a visit needs, "" if no visit does."""

    says: str
    do: str
    bring: str = ""


class AlarmKind(Struct, frozen=True):
    """One kind of alarm.

    id         name of its topic, alarm/<name>; with a dot and the reason where reasons differ in what to do
    by         the service that raises it
    after_s    how long the cause must last; ends_s: how long it must be over, seconds; for those of the uplink
    raise_at   the measured value from which it is raised, and clear_at, below which it ends: only for those of the uplink
    """

    id: str
    severity: Severity
    by: Raiser
    sv: Text
    en: Text
    after_s: float = 0.0
    ends_s: float = 0.0
    raise_at: float = 1.0
    clear_at: float = 1.0


_CAMERA = (
    AlarmKind(
        "disk", "major", "camera",
        Text("Minnet tar inte emot klipp", "`lykta check storage`; frigör plats eller byt minnet", "nytt minne, nodens paket"),
        Text("The disk takes no clips", "`lykta check storage`; free space or replace it", "new storage, the node's bundle"),
    ),
    AlarmKind(
        "tamper.frozen", "major", "camera",
        Text("Kameran visar samma bild hela tiden", "Starta om kameran; kommer det igen, byt kabel eller kamera", "kamera, kabel"),
        Text("The camera repeats one picture", "Restart the camera; if it comes again, change cable or camera", "camera, cable"),
    ),
    AlarmKind(
        "tamper.covered", "major", "camera",
        Text("Kameran är övertäckt", "Ta bort det som sitter framför, rengör glaset", "rengöring, stege"),
        Text("The camera is covered", "Remove what is in front of it, clean the glass", "cleaning kit, ladder"),
    ),
    AlarmKind(
        "tamper.moved", "major", "camera",
        Text("Kameran är vriden", "Rikta den som på ritningen, eller rita och signera en ny vy", "verktyg, stege"),
        Text("The camera was turned", "Point it as drawn, or draw and sign a new view", "tools, ladder"),
    ),
    AlarmKind(
        "tamper.defocused", "minor", "camera",
        Text("Bilden är oskarp", "Rengör glaset, ställ in skärpan", "rengöring, verktyg"),
        Text("The picture is out of focus", "Clean the glass, set the focus", "cleaning kit, tools"),
    ),
    AlarmKind(
        "tamper.blinded", "minor", "camera",
        Text("Kameran är bländad", "Se efter om en lampa eller solen lyser in", "skärm"),
        Text("The camera is blinded", "Look for a lamp or the sun shining in", "sun shield"),
    ),
)  # fmt: skip
_IO = (
    AlarmKind(
        "help", "critical", "io",
        Text("Någon har tryckt på hjälpknappen", "Besvara anropet nu"),
        Text("Somebody pressed the help button", "Answer the call now"),
    ),
    AlarmKind(
        "help_button", "critical", "io",
        Text("Hjälpknappen har fastnat: inga tryck hörs", "Byt knappen", "hjälpknapp, verktyg"),
        Text("The help button is jammed: no press is heard", "Replace the button", "help button, tools"),
    ),
    AlarmKind(
        "case", "major", "io",
        Text("Höljet är öppet", "Fråga om någon av oss är där; annars åk dit, polisanmäl vid intrång", "lås, verktyg"),
        Text("The case is open", "Ask whether one of ours is there; else go, report a break-in to the police", "lock, tools"),
    ),
    AlarmKind(
        "light", "major", "io",
        Text("Lampan är tänd men drar ingen ström", "Byt lampan eller dess säkring", "lampa, säkring, stege"),
        Text("The light is switched on and takes no current", "Replace the lamp or its fuse", "lamp, fuse, ladder"),
    ),
)  # fmt: skip
_UPLINK = (
    AlarmKind(
        "help_unanswered", "critical", "uplink",
        Text("Ett tryck på hjälpknappen blev inte besvarat", "Ring eller åk till hållplatsen; se varför ingen svarade"),
        Text("A press of the help button was not answered", "Call or go to the stop; find out why nobody answered"),
        ends_s=DAY_S,
    ),
    AlarmKind(
        "leak", "critical", "uplink",
        Text("Någon kan synas i en maskad bild", "Låt dataskyddsombudet bedöma klippet; 72 timmar räknas härifrån"),
        Text("Somebody may be visible in a masked frame", "Have the data protection officer judge the clip; 72 hours run from now"),
        ends_s=DAY_S,
    ),
    AlarmKind(
        "self_test", "critical", "uplink",
        Text("Maskningens självtest misslyckades, kameran är stängd", "`lykta selftest --json`, sedan make setup", "minneskort"),
        Text("The self-test of the mask failed, the camera is closed", "`lykta selftest --json`, then make setup", "SD card"),
    ),
    AlarmKind(
        "full_mask", "major", "uplink",
        Text("Bilden är helt maskad större delen av tiden", "Se orsaken i health/privacy: mörker, detektor, vy"),
        Text("The picture is fully masked most of the time", "See the cause in health/privacy: darkness, detector, view"),
        after_s=10 * MINUTE_S, ends_s=10 * MINUTE_S, raise_at=0.75, clear_at=0.5,
    ),
    AlarmKind(
        "too_hot", "major", "uplink",
        Text("Datorn är för varm", "Se fläkt, ventilation och sol på skåpet", "fläkt, rengöring"),
        Text("The board is too hot", "Look at fan, ventilation and sun on the cabinet", "fan, cleaning kit"),
        after_s=5 * MINUTE_S, ends_s=10 * MINUTE_S, raise_at=80.0, clear_at=72.0,
    ),
    AlarmKind(
        "under_voltage", "major", "uplink",
        Text("Spänningen är för låg", "Mät nätdel och kabel, byt den svagare", "nätdel, kabel, mätare"),
        Text("The supply voltage is too low", "Measure power supply and cable, replace the weaker", "power supply, cable, meter"),
        ends_s=HOUR_S,
    ),
    AlarmKind(
        "disk_wear", "minor", "uplink",
        Text("Minnet är snart utslitet", "Byt det vid nästa besök", "nytt minne, nodens paket"),
        Text("The storage is nearly worn out", "Replace it at the next visit", "new storage, the node's bundle"),
        raise_at=0.8, clear_at=0.8,
    ),
    AlarmKind(
        "disk_full", "major", "uplink",
        Text("Minnet är nästan fullt", "Se varför klipp inte laddas upp eller raderas; `lykta clips list`"),
        Text("The disk is nearly full", "See why clips are not uploaded or deleted; `lykta clips list`"),
        after_s=5 * MINUTE_S, ends_s=5 * MINUTE_S, raise_at=0.95, clear_at=0.9,
    ),
    AlarmKind(
        "disk_read_only", "critical", "uplink",
        Text("Minnet kan inte längre skrivas", "Starta om; kommer larmet igen, byt minnet", "nytt minne, nodens paket"),
        Text("The disk can no longer be written", "Restart; if it comes again, replace it", "new storage, the node's bundle"),
    ),
    AlarmKind(
        "clock", "major", "uplink",
        Text("Tiden är inte betrodd, kameran är stängd", "Se om noden når en tidsserver; annars montera klocka", "RTC-modul"),
        Text("The time is not trusted, the camera is closed", "Does the node reach a time server? else fit a clock", "RTC module"),
        after_s=10 * MINUTE_S, ends_s=MINUTE_S,
    ),
    AlarmKind(
        "certificate", "minor", "uplink",
        Text("Ett certifikat går snart ut", "`lykta-central renew`; noden begär ett nytt själv"),
        Text("A certificate ends soon", "`lykta-central renew`; the node asks for a new one by itself"),
        raise_at=-21.0, clear_at=-28.0,
    ),
    AlarmKind(
        "basis", "minor", "uplink",
        Text("Beslutet går snart ut, då stängs kameran", "Juristen signerar dess efterföljare"),
        Text("The basis ends soon, and the camera will close", "The lawyer signs its successor"),
        raise_at=-21.0, clear_at=-28.0,
    ),
    AlarmKind(
        "refused", "major", "uplink",
        Text("Noden vägrade ett beslut, en vy eller en konfiguration", "Orsaken står i basis, view eller config/reported"),
        Text("The node refused a basis, a view or a configuration", "basis, view or config/reported says why"),
    ),
    AlarmKind(
        "journal", "critical", "uplink",
        Text("Journalen är skadad", "Säkra noden som bevis, `lykta-central verify` visar luckan", "nytt minne"),
        Text("The journal is damaged", "Keep the node as evidence, `lykta-central verify` shows the gap", "new storage"),
    ),
    AlarmKind(
        "commands", "major", "uplink",
        Text("Noden vägrade eller ignorerade flera kommandon", "Vem sänder dem? se mäklarens logg"),
        Text("The node refused or ignored several commands", "Who sends them? see the broker's log"),
        ends_s=HOUR_S, raise_at=5.0, clear_at=1.0,
    ),
    AlarmKind(
        "data_cap", "minor", "uplink",
        Text("Dygnets datamängd är nästan slut", "Höj upload.budget_mb_day eller ladda upp mindre; hjälp går alltid"),
        Text("The day's data budget is nearly used", "Raise upload.budget_mb_day, or upload less; help always goes"),
        ends_s=10 * MINUTE_S, raise_at=0.9, clear_at=0.75,
    ),
    AlarmKind(
        "door", "minor", "uplink",
        Text("Skåpdörren har stått öppen länge", "Fråga den som var där; annars åk dit och stäng", "nyckel"),
        Text("The cabinet's door has been open for long", "Ask who was there; else go and close it", "key"),
        after_s=15 * MINUTE_S,
    ),
)  # fmt: skip
CATALOGUE: Final[Mapping[str, AlarmKind]] = {kind.id: kind for kind in (*_IO, *_CAMERA, *_UPLINK)}


def kind_of(name: str, reason: str) -> AlarmKind | None:
    """The kind of an alarm by the name of its topic and its reason; None for one of another version."""
    return CATALOGUE.get(f"{name}.{reason}") or CATALOGUE.get(name)

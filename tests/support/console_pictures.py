"""The pictures of docs/CONSOLE.md: a drawn fleet in the real console, seen by Chromium.

python -m tests.support.console_pictures DIR
"""

from __future__ import annotations

import math
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
from sqlalchemy import Engine

from agent.messages import Alarm, Body, ClipNote, Describe, Health, Help, Presence, RecordInForce, State
from privacy.ids import new_clip_id
from privacy.records.zone import stockholm
from tests.support.browser import picture
from tests.support.collecting import Talker, ready
from tests.support.consoles import OFFICER, Console, serving, store

AREAS = {
    "Vasastaden": ("Hållplats 12", "Garnisonen", "Fontänen", "Industrigatan", "Vasavägen"),
    "Centrum": ("Domkyrkan", "Drottninggatan", "Hamngatan", "Resecentrum", "Sankt Larsparken", "Stora torget", "Ågatan"),
    "Ekholmen": ("Vistvägen", "Ekholmens centrum", "Kärna kyrka", "Nygårdsvägen"),
    "Johannelund": ("Braskens bro", "Johannelunds centrum", "Söderleden"),
    "Ryd": ("Nobeltorget", "Alsättersgatan", "Mårdtorpsgatan", "Ryds centrum", "Studievägen", "Universitetet"),
}
SIZES = {"desk": (1440, 900), "phone": (390, 844)}
NOW = datetime.now(UTC)
AGO, SOON = NOW - timedelta(hours=3), NOW + timedelta(days=200)
CALLED = "Hållplats 12"
LOST = "Garnisonen"
"""Its connection broke three hours ago."""
SAYS: dict[str, list[Body]] = {
    "Ekholmens centrum": [Alarm("disk", "disk_error", "")],
    "Vistvägen": [State("blind", "basis_expired", AGO, None, "lawyer", {"camera": "blind", "io": "ready"})],
    "Fontänen": [
        State("degraded", "too_dark", AGO, None, "technician", {"camera": "degraded", "io": "ready"}),
        Alarm("light", "no_current", ""),
    ],
    "Nobeltorget": [State("off", "hours", AGO, SOON, "nobody", {"camera": "off", "io": "ready"})],
}
"""What differs from a stop that films."""


def messages(number: int, name: str, area: str) -> tuple[Talker, list[Body]]:
    records = {"basis": RecordInForce("2026-14", SOON), "view": RecordInForce("view-3", None)}
    sensors = ("camera", "help button", "light")
    says = Describe("Raspberry Pi 5", "", sensors, "lykta 0.1.0", {}, {"ping": {}}, {}, name, area, {}, records)
    films = State("ready", "filming", AGO, SOON, "nobody", {"camera": "ready", "io": "ready"})
    return Talker(f"linkoping/stop-{number}"), [says, films, *SAYS.get(name, [])]


def draw(url: str) -> str:
    """Fill the database; the node that was called."""
    engine, called = ready(url), ""
    stops = [(name, area) for area, names in AREAS.items() for name in names]
    for number, (name, area) in enumerate(stops, 1):
        talker, bodies = messages(number, name, area)
        if name == LOST:
            bodies.append(State("lost", "link_lost", None, None, "ops", {}))
        store(engine, [talker.say(body) for body in bodies], round(AGO.timestamp() * 1000))
        if name != LOST:
            store(engine, [talker.say(Presence("few", NOW))])
        if name == CALLED:
            _warm(engine, talker)
            clip, press = new_clip_id(int(NOW.timestamp() * 1e9)), "ab" * 16
            late = [Help(press, "pressed"), Alarm("help", "pressed", press), ClipNote(clip, "recorded", "help", "", 4_200_000)]
            store(engine, [talker.say(body) for body in late])
            called = talker.name
    engine.dispose()
    return called


def _warm(engine: Engine, talker: Talker) -> None:
    """Its temperature of the last day."""
    for minutes in range(1440, 0, -30):
        degrees = 38 + 6 * math.sin(minutes / 230)
        at = NOW - timedelta(minutes=minutes)
        said = talker.say(Health("system", {"temperature_c": round(degrees, 1)}, {}), t=at)
        store(engine, [said], round(at.timestamp() * 1000))


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'collect.db'}"
        node = draw(url)
        with serving(Console(folder, url, "--proxy-from", "127.0.0.1", "--user-header", next(iter(OFFICER)))) as console:
            styles = console.request("/static/console.css").text
            clips = f"/clips?q=stop+12+{NOW.astimezone(stockholm()):%H:%M}"
            for language, other in {"sv": ("node-sv", f"/node/{node}"), "en": ("clips-en", clips)}.items():
                shown = {f"desk-{language}": ("/", "desk"), f"phone-{language}": ("/", "phone"), other[0]: (other[1], "desk")}
                for picture_name, (path, size) in shown.items():
                    page = console.page(path, language, **{key.replace("-", "_"): value for key, value in OFFICER.items()})
                    file = target / f"{picture_name}.png"
                    picture(folder, page, styles, *SIZES[size], file)
                    image = cv2.imread(str(file))
                    assert image is not None, file
                    cv2.imwrite(str(file), image, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

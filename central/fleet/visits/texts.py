"""What the list of visits says, in English and Swedish: the evidence, and what to bring."""

from __future__ import annotations

from typing import Final, Literal

from central.fleet.alarm_catalogue import Words
from central.fleet.visits.causes import CAUSES

Language = Literal["en", "sv"]
ITEMS: Final = {
    "antenna": Words("antenna", "antenn"),
    "board": Words("computer board", "dator"),
    "brush": Words("brush", "borste"),
    "bundle": Words("new bundle", "nytt paket"),
    "cabinet_key": Words("key to the cabinet", "nyckel till skåpet"),
    "camera": Words("camera", "kamera"),
    "camera_cable": Words("camera cable", "kamerakabel"),
    "case_key": Words("key to the case", "nyckel till höljet"),
    "case_seal": Words("seal of the case", "plombering"),
    "cloth": Words("cloth", "trasa"),
    "drying_agent": Words("drying agent", "torkmedel"),
    "fan": Words("fan", "fläkt"),
    "help_button": Words("help button", "hjälpknapp"),
    "io_board": Words("board of the contacts", "kontaktkort"),
    "ladder": Words("ladder", "stege"),
    "lamp": Words("lamp of the stop", "lampa till hållplatsen"),
    "lamp_help": Words("lamp of the help button", "lampa till hjälpknappen"),
    "laptop": Words("laptop", "bärbar dator"),
    "lens_cleaner": Words("lens cleaner", "linsrengöring"),
    "memory_card": Words("memory card with the node's image", "minneskort med nodens avbild"),
    "modem": Words("modem", "modem"),
    "multimeter": Words("multimeter", "multimeter"),
    "power_cable": Words("power cable", "strömkabel"),
    "power_supply": Words("power supply", "nätaggregat"),
    "rtc_battery": Words("battery of the clock", "batteri till klockan"),
    "screwdriver": Words("screwdriver", "skruvmejsel"),
    "seal": Words("sealing", "tätning"),
    "sim_card": Words("SIM card", "SIM-kort"),
    "sun_shade": Words("sun shade", "solskydd"),
    "tools": Words("tools for the camera's mount", "verktyg till kamerafästet"),
    "wire": Words("wire and terminals", "kabel och plintar"),
}
REASONS: Final = {
    "alarm": Words("alarm: {}", "larm: {}"),
    "area_silent": Words("{} neighbours fell silent at the same time", "{} grannar tystnade samtidigt"),
    "boots": Words("{} boots in a day", "{} starter på ett dygn"),
    "case_then": Words("the case was opened just before", "höljet öppnades strax innan"),
    "certificate_end": Words("its certificate ended before it fell silent", "certifikatet gick ut innan den tystnade"),
    "clock_boots": Words(
        "{} boots began without a trusted time, an earlier one did not", "{} starter saknade betrodd tid, en tidigare hade den"
    ),
    "clock_untrusted": Words("the time has not been trusted for {} minutes", "tiden har inte varit betrodd på {} minuter"),
    "conflicts": Words("{} messages had a number that another one had", "{} meddelanden hade ett nummer som redan användes"),
    "connected_share": Words("connected for {} % of a day", "ansluten {} % av ett dygn"),
    "contact_failures": Words(
        "reads of contacts failed {} times in a day", "läsning av kontakter misslyckades {} gånger på ett dygn"
    ),
    "conflicting": Words("signs of different causes: {}", "tecken på olika orsaker: {}"),
    "also": Words("beside that: {}", "dessutom: {}"),
    "disk_worn": Words("the disk says that it is worn", "disken säger att den är sliten"),
    "door_open": Words("the door has been open for {} minutes", "dörren har varit öppen i {} minuter"),
    "events_lost": Words("the disk refused {} messages in a day", "disken vägrade {} meddelanden på ett dygn"),
    "failures": Words("fails again and again: {}", "slutar gång på gång: {}"),
    "flaps": Words("contacts that flap: {}", "kontakter som fladdrar: {}"),
    "button_closed": Words("the last help test found the button closed", "senaste hjälpprovet fann knappen sluten"),
    "help_test": Words("no help test for {} days", "inget hjälpprov på {} dygn"),
    "breaks": Words("{} connections ended without a word of the broker", "{} förbindelser bröts utan ett ord från mäklaren"),
    "late": Words("{} reports of health came late", "{} hälsorapporter kom sent"),
    "link_before": Words("{} of them had told of a bad link before", "{} av dem hade berättat om dålig länk innan"),
    "lost_often": Words("{} connections lost in a day without a reboot", "{} förbindelser bröts på ett dygn utan omstart"),
    "neighbours_cool": Words("neighbours have {} °C", "grannarna har {} °C"),
    "neighbours_link": Words("{} neighbours had it at the same time", "{} grannar hade det samtidigt"),
    "no_last_words": Words("none of them told of trouble before", "ingen av dem berättade om problem innan"),
    "odd": Words("unusual: {}", "ovanligt: {}"),
    "pictures": Words("the camera lost or damaged {} pictures in a day", "kameran tappade eller skadade {} bilder på ett dygn"),
    "read_only": Words("the disk is read-only", "disken är skrivskyddad"),
    "record_refused": Words("refused: {}", "avvisad: {}"),
    "rescue": Words("its own link rescue acted {} times in three days", "dess egen länkräddning ingrep {} gånger på tre dygn"),
    "silent": Words("silent for {} minutes", "tyst i {} minuter"),
    "state": Words("state: {}", "tillstånd: {}"),
    "states": Words("{} times in a day: {}", "{} gånger på ett dygn: {}"),
    "stopped": Words("its last word is that it stops in order", "dess sista ord är att den stängs av"),
    "tamper": Words("the view guard says: {}", "vyvakten säger: {}"),
    "taken_over": Words("another client took its session {} times", "en annan klient tog dess session {} gånger"),
    "temperature": Words("{} °C", "{} °C"),
    "undervoltage": Words("the voltage fell {} times in a day", "spänningen föll {} gånger på ett dygn"),
    "undervoltage_now": Words("the voltage is too low now", "spänningen är för låg nu"),
    "used_share": Words("{} % of the disk is used", "{} % av disken är upptagen"),
    "watchdog": Words("{} resets by the watchdog", "{} omstarter av vakthunden"),
    "nothing_said": Words("nothing that it said before points to a cause", "inget den sade innan tyder på en orsak"),
}


def sentence(reason: str, language: Language) -> str:
    """A reason of a `Visit` as a sentence; one with an unknown key as it is."""
    key, *values = reason.split(" ", 2 if reason.startswith("states ") else 1)
    words = REASONS.get(key)
    if key == "also":
        values = [getattr(CAUSES[one].text, language) for one in values]
    return reason if words is None else getattr(words, language).format(*values)


def item(key: str, language: Language) -> str:
    """Something to bring, as a word."""
    words = ITEMS.get(key)
    return key if words is None else str(getattr(words, language))

"""Every cause that the inference can name: what it is, what to do, what to bring, who does it, and whether a visit helps."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from central.fleet.alarm_catalogue import Words

Who = Literal["technician", "ops", "lawyer"]
UNKNOWN: Final = "unknown"


class Cause(Struct, frozen=True):
    """id: stable code; todo: what to do; bring: keys of `texts.ITEMS`; urgency: 0 first (help does not work), then 1 (nothing is
    heard or seen), 2 (it will fail, or is open), 3 (nobody goes there)."""

    id: str
    who: Who
    urgency: Literal[0, 1, 2, 3]
    bring: tuple[str, ...]
    text: Words
    todo: Words

    @property
    def visit(self) -> bool:
        """Whether a visit helps: whoever goes there brings something."""
        return bool(self.bring)


_HELP = (
    Cause(
        "help_button_jammed",
        "technician",
        0,
        ("help_button", "screwdriver"),
        Words("the help button is jammed", "hjälpknappen har fastnat"),
        Words("free or replace the button, then press it", "lossa eller byt knappen och tryck på den"),
    ),
    Cause(
        "help_path",
        "technician",
        0,
        ("help_button", "lamp_help", "laptop"),
        Words("the help point is not heard, though the node is", "hjälppunkten hörs inte, fast noden gör det"),
        Words("press the button on site; look at unit lykta-io", "tryck på knappen på plats; se enheten lykta-io"),
    ),
    Cause(
        "io_wiring",
        "technician",
        0,
        ("multimeter", "wire", "io_board"),
        Words("a contact or the board of contacts is faulty", "en kontakt eller kontaktkortet är trasigt"),
        Words("check wiring and board of the contacts", "kontrollera kablar och kort för kontakterna"),
    ),
    Cause(
        "water",
        "technician",
        0,
        ("seal", "drying_agent", "multimeter", "io_board"),
        Words(
            "several contacts flap: water in the case or the cabling", "flera kontakter fladdrar: vatten i höljet eller kablarna"
        ),
        Words("open, dry, seal; replace what is corroded", "öppna, torka, täta; byt det som har rostat"),
    ),
)
_SILENCE = (
    Cause(
        "power_area",
        "ops",
        3,
        (),
        Words("the power is gone in the area", "strömmen är borta i området"),
        Words("ask the grid operator; the nodes come back by themselves", "fråga nätägaren; noderna kommer tillbaka själva"),
    ),
    Cause(
        "mobile_cell",
        "ops",
        3,
        (),
        Words("the mobile network of the area fails", "mobilnätet i området sviktar"),
        Words("ask the operator; the nodes come back by themselves", "fråga operatören; noderna kommer tillbaka själva"),
    ),
    Cause(
        "power_supply",
        "technician",
        1,
        ("power_supply", "power_cable", "multimeter"),
        Words("the power supply is too weak", "nätaggregatet är för svagt"),
        Words("measure the voltage under load; replace supply and cable", "mät spänningen under last; byt nätaggregat och kabel"),
    ),
    Cause(
        "mobile_link",
        "technician",
        1,
        ("sim_card", "antenna", "modem"),
        Words("the node's own link is bad: SIM, antenna or modem", "nodens egen länk är dålig: SIM, antenn eller modem"),
        Words("check the SIM's contract first; then antenna and modem", "kontrollera abonnemanget först, sedan antenn och modem"),
    ),
    Cause(
        "certificate_expired",
        "technician",
        1,
        ("laptop", "bundle"),
        Words("the certificate has expired: the broker refuses the node", "certifikatet har gått ut: mäklaren avvisar noden"),
        Words("make a new bundle, place it on site", "gör ett nytt paket och lägg in det på plats"),
    ),
    Cause(
        "stopped",
        "ops",
        3,
        (),
        Words("the node was stopped in order, and not started again", "noden stängdes av ordentligt och har inte startats igen"),
        Words("ask who stopped it", "fråga vem som stängde av den"),
    ),
)
_CAMERA = (
    Cause(
        "camera",
        "technician",
        1,
        ("camera", "camera_cable", "ladder"),
        Words("camera or its cable is faulty", "kameran eller dess kabel är trasig"),
        Words(
            "with the power off, seat the cable; then replace it, then the camera",
            "utan ström: sätt kabeln rätt, byt den, byt kameran",
        ),
    ),
    Cause(
        "camera_setup",
        "ops",
        3,
        (),
        Words("the camera is there and cannot be used as configured", "kameran finns men kan inte användas som den är inställd"),
        Words("see docs/BOOT.md for the reason; correct lykta.toml", "se orsaken i docs/BOOT.md; rätta lykta.toml"),
    ),
    Cause(
        "lens_covered",
        "technician",
        1,
        ("cloth", "ladder"),
        Words("the lens is covered", "linsen är övertäckt"),
        Words("uncover and clean it", "ta bort det som täcker och rengör"),
    ),
    Cause(
        "lens_defocused",
        "technician",
        1,
        ("cloth", "lens_cleaner", "ladder"),
        Words("the picture is out of focus: dirt, wet or a turned lens", "bilden är oskarp: smuts, väta eller en vriden lins"),
        Words("clean, then focus and confirm the view", "rengör, ställ skärpan och bekräfta vyn"),
    ),
    Cause(
        "lens_blinded",
        "technician",
        1,
        ("sun_shade", "ladder"),
        Words("a strong light blinds the camera", "ett starkt ljus bländar kameran"),
        Words("find the light; shade or turn, then draw the view anew", "hitta ljuset; skärma av eller vrid, rita sedan om vyn"),
    ),
    Cause(
        "camera_moved",
        "technician",
        1,
        ("ladder", "tools", "laptop"),
        Words("the camera was turned", "kameran har vridits"),
        Words("turn it back, or draw and sign the view anew", "vrid tillbaka den, eller rita och signera vyn på nytt"),
    ),
    Cause(
        "lamp_dead",
        "technician",
        1,
        ("lamp", "ladder"),
        Words("the stop's lamp is dead", "hållplatsens lampa är trasig"),
        Words("replace the lamp", "byt lampan"),
    ),
    Cause(
        "view_record",
        "technician",
        2,
        ("laptop",),
        Words("the drawn view is missing or does not fit", "den ritade vyn saknas eller passar inte"),
        Words("draw and sign the view", "rita och signera vyn"),
    ),
)
_MACHINE = (
    Cause(
        "memory_card",
        "technician",
        1,
        ("memory_card", "laptop"),
        Words("the memory card is worn out or refuses writes", "minneskortet är slitet eller vägrar skrivning"),
        Words("replace the card; enrol the node anew", "byt kortet; registrera noden på nytt"),
    ),
    Cause(
        "disk_full",
        "ops",
        3,
        (),
        Words("the disk is full", "disken är full"),
        Words("raise the budget for data or shorten the retention", "höj datamängden eller korta lagringstiden"),
    ),
    Cause(
        "fan_dead",
        "technician",
        2,
        ("fan", "screwdriver"),
        Words("the fan does not cool: others nearby are cool", "fläkten kyler inte: andra i närheten är svala"),
        Words("replace the fan, clean its way", "byt fläkten, rensa luftvägen"),
    ),
    Cause(
        "overheated",
        "technician",
        2,
        ("sun_shade", "brush", "fan"),
        Words("the node is too hot", "noden är för varm"),
        Words("clean the air's way, shade the case", "rensa luftvägen, skugga höljet"),
    ),
    Cause(
        "clock",
        "technician",
        2,
        ("rtc_battery",),
        Words("the time is not trusted", "tiden är inte betrodd"),
        Words(
            "check the time servers from afar; then replace the clock's battery",
            "kontrollera tidsservrarna på distans; byt sedan klockans batteri",
        ),
    ),
    Cause(
        "watchdog",
        "technician",
        2,
        ("board", "memory_card", "power_supply"),
        Words("the computer hangs, and its watchdog resets it", "datorn hänger sig och startas om av sin vakthund"),
        Words("fetch a diagnosis; replace the board", "hämta en diagnos; byt datorn"),
    ),
    Cause(
        "software",
        "ops",
        3,
        (),
        Words("a program fails again and again in the same way", "ett program kraschar gång på gång på samma sätt"),
        Words("fetch a diagnosis, report the fault", "hämta en diagnos, anmäl felet"),
    ),
)
_CASE = (
    Cause(
        "vandalism",
        "technician",
        1,
        ("case_key", "camera", "tools", "case_seal"),
        Words("the case was opened and the node harmed", "höljet har öppnats och noden skadats"),
        Words("secure traces, tell the police, repair", "säkra spår, anmäl, reparera"),
    ),
    Cause(
        "case_open",
        "technician",
        2,
        ("case_key", "case_seal"),
        Words("the case is open", "höljet är öppet"),
        Words("close it; find out who opened it", "stäng det; ta reda på vem som öppnade"),
    ),
    Cause(
        "door_open",
        "technician",
        2,
        ("cabinet_key",),
        Words("the cabinet's door is open", "skåpets dörr är öppen"),
        Words("close it", "stäng den"),
    ),
)
_RECORDS = (
    Cause(
        "basis",
        "lawyer",
        3,
        (),
        Words("the basis has expired or is not valid", "underlaget har gått ut eller är ogiltigt"),
        Words("the municipality signs its successor", "kommunen signerar ett nytt"),
    ),
    Cause(
        "configuration",
        "ops",
        3,
        (),
        Words("a configuration or record is refused", "en inställning eller handling avvisas"),
        Words("correct it, sign it, send it again", "rätta, signera och skicka igen"),
    ),
    Cause(
        "installation",
        "ops",
        3,
        (),
        Words("files of the installation are missing or damaged", "filer i installationen saknas eller är skadade"),
        Words("`lykta check` on the node names them", "`lykta check` på noden namnger dem"),
    ),
    Cause(
        "two_identities",
        "ops",
        3,
        (),
        Words("two nodes use one identity", "två noder använder samma identitet"),
        Words("find both; revoke, enrol anew", "hitta båda; återkalla, registrera på nytt"),
    ),
)
_OPEN = (
    Cause(
        UNKNOWN,
        "technician",
        1,
        ("laptop", "power_supply", "sim_card", "memory_card"),
        Words("the cause is not known", "orsaken är okänd"),
        Words(
            "look at the node's page; try ping, diag and restart; then go there",
            "se nodens sida; prova ping, diag och restart; åk sedan dit",
        ),
    ),
)
CAUSES: Final = {one.id: one for one in (*_HELP, *_SILENCE, *_CAMERA, *_MACHINE, *_CASE, *_RECORDS, *_OPEN)}

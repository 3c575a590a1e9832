"""Says codes and times in the reader's language; a code without a text is shown as it is, never as nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from central.fleet.alarm_catalogue import CATALOGUE, Words, entry_of
from central.fleet.console.texts import CODES, TEXTS
from central.fleet.visits.causes import CAUSES
from central.fleet.visits.texts import Language, item, sentence
from privacy.records.zone import stockholm

_DAYS = {"sv": ("mån", "tis", "ons", "tors", "fre", "lör", "sön"), "en": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")}
_MONTHS = {
    "sv": ("jan", "feb", "mars", "apr", "maj", "juni", "juli", "aug", "sep", "okt", "nov", "dec"),
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
}


@dataclass(frozen=True)
class Speaker:
    """language: sv or en."""

    language: str

    def t(self, key: str) -> str:
        """A text of the console; `KeyError` for a key that is not in the table."""
        return self._of(TEXTS[key])

    def say(self, kind: str, code: str) -> str:
        """A word of a closed list (state, owner, stage, result, record), or the code itself."""
        return self._of(TEXTS[f"{kind}_{code}"]) if f"{kind}_{code}" in TEXTS else plain(code)

    def code(self, code: str) -> str:
        """A code of a reason or the name of an alarm as a sentence."""
        if code in CODES:
            return self._of(CODES[code])
        return self._of(CATALOGUE[code].text) if code in CATALOGUE else plain(code)

    def alarm(self, name: str) -> str:
        return self._of(entry_of(name).text)

    def todo(self, name: str) -> str:
        return self._of(entry_of(name).todo)

    def cause(self, cause: str) -> str:
        """Of a visit."""
        return self._of(CAUSES[cause].text)

    def remedy(self, cause: str) -> str:
        """What to do about the cause of a visit, and who does it."""
        return f"{self._of(CAUSES[cause].todo)} ({self.say('owner', CAUSES[cause].who)})"

    def reason(self, reason: str) -> str:
        """What the cause of a visit rests on."""
        return sentence(reason, self._language)

    def item(self, key: str) -> str:
        """What a visit needs."""
        return item(key, self._language)

    def bring(self, name: str) -> str:
        """What an alarm says to bring; what is not the name of an alarm is a sentence already."""
        return self._of(CATALOGUE[name].bring) if name in CATALOGUE else plain(name)

    def when(self, ms: int | None) -> str:
        """A time in Sweden: "fre 27 nov 22:14"; of another year with the year. "–" for none."""
        if not ms:
            return "–"
        at = datetime.fromtimestamp(ms / 1000, UTC).astimezone(stockholm())
        year = f" {at.year}" if at.year != datetime.now(UTC).astimezone(stockholm()).year else ""
        day, month = _DAYS[self.language][at.weekday()], _MONTHS[self.language][at.month - 1]
        return f"{day} {at.day} {month}{year} {at:%H:%M}"

    def clock(self, ms: int) -> str:
        """With seconds: "22:14:07"."""
        return f"{datetime.fromtimestamp(ms / 1000, UTC).astimezone(stockholm()):%H:%M:%S}"

    @property
    def _language(self) -> Language:
        return "sv" if self.language == "sv" else "en"

    def _of(self, words: Words) -> str:
        return words.sv if self.language == "sv" else words.en


def plain(code: str) -> str:
    return code.replace("_", " ")


def number(value: float | int | None) -> str:
    """A number for reading: at most three digits after the point, "–" for none."""
    if value is None:
        return "–"
    return f"{value:,.3f}".rstrip("0").rstrip(".").replace(",", " ") if isinstance(value, float) else f"{value:,}".replace(",", " ")

"""Whether io executes a command: facts in, decision out. And the number of the last one, kept over restarts of io within a boot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from msgspec import Struct

from privacy.errors import RecordError
from privacy.files import PRIVATE, place, read
from privacy.foreign import decode
from privacy.records.command import LONGEST_MS, Command
from privacy.records.jws import canonical

LONGEST_MIN = 24 * 60
_MINUTES = re.compile(r"[1-9][0-9]{0,3}")
Reason = Literal["", "other_boot", "repeated", "expired", "too_long", "unknown", "arguments", "press_not_open", "not_kept", "busy"]
_HINTS: dict[Reason, str] = {
    "other_boot": "the node started again since: send it anew",
    "repeated": "a command with this number or a later one came before: send it anew",
    "expired": "it came too late: send it anew",
    "too_long": "its end lies more than 60 s ahead in the node's own time: send it anew",
    "unknown": "io obeys ack and light",
    "arguments": f"ack: press; light: state on or off, minutes 1 to {LONGEST_MIN}",
    "press_not_open": "that call is over, was taken, or another one is open",
    "busy": "io has more to do than it can keep: send it anew",
    "not_kept": "its number could not be written below /run: is that full?",
}


class Situation(Struct, frozen=True):
    """The facts when a command arrives.

    now_ms  since boot; last: number of the last command of this boot; press: the open call that no operator has taken, "" if none
    """

    boot_id: str
    now_ms: int
    last: int
    press: str


class Ack(Struct, frozen=True):
    """An operator takes the call of that press."""

    press: str


class Light(Struct, frozen=True):
    """The light is on or off for `minutes`, regardless of its hours."""

    on: bool
    minutes: int


class Decision(Struct, frozen=True):
    """The action, or None and the reason.

    new  the command belongs to this boot and has a number that no other had: it is answered, once. Any other gets no answer,
         so that replayed commands cannot fill the outbox
    """

    act: Ack | Light | None
    reason: Reason
    new: bool

    @property
    def hint(self) -> str:
        return _HINTS.get(self.reason, "")


def decide(command: Command, situation: Situation) -> Decision:
    if command.boot_id != situation.boot_id:
        return Decision(None, "other_boot", new=False)
    if command.number <= situation.last:
        return Decision(None, "repeated", new=False)
    if command.end_ms < situation.now_ms:
        return Decision(None, "expired", new=True)
    if command.end_ms > situation.now_ms + LONGEST_MS:
        return Decision(None, "too_long", new=True)
    found = _act(command)
    if isinstance(found, str):
        return Decision(None, found, new=True)
    if isinstance(found, Ack) and found.press != situation.press:
        return Decision(None, "press_not_open", new=True)
    return Decision(found, "", new=True)


def _act(command: Command) -> Ack | Light | Reason:
    args = command.args
    match command.name:
        case "ack":
            return Ack(args["press"]) if args.get("press") else "arguments"
        case "light":
            state, minutes = args.get("state", ""), args.get("minutes", "10")
            good = state in ("on", "off") and _MINUTES.fullmatch(minutes) and int(minutes) <= LONGEST_MIN
            return Light(state == "on", int(minutes)) if good and set(args) <= {"state", "minutes"} else "arguments"
        case _:
            return "unknown"


class _Kept(Struct, frozen=True, forbid_unknown_fields=True):
    boot_id: str
    number: int


class LastNumber:
    """The number of the last command of this boot, in a file below /run: a restarted service executes none twice."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self._path, self._boot_id = path, boot_id
        self.value = self._read()

    def keep(self, number: int) -> bool:
        """Store the number: whether it is on the disk; this process remembers it in any case."""
        self.value = number
        try:
            place(self._path, canonical(_Kept(self._boot_id, number)), mode=PRIVATE)
        except OSError:  # /run is full: the caller decides whether the command is still valid
            return False
        return True

    def _read(self) -> int:
        try:
            kept = decode(read(self._path, "last command"), _Kept, "last command")
        except (OSError, RecordError):  # none in this boot yet, or damaged: replay is then limited by each command's own end time
            return 0
        return kept.number if kept.boot_id == self._boot_id else 0

"""`lykta io`: the composition root of the service that helps. No pixels, no network; it goes on when the camera is off.

A press: the lamp blinks at once, the event and the alarm go into the outbox in one transaction, the camera is told by a
datagram that may be lost. Taken by an operator (a signed ack, verified here): the lamp stands. Nobody in a minute: it goes
out, and the sign's words hold: ring 112.
"""

from __future__ import annotations

import json
import socket
import uuid
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Any

from agent.later import Later
from agent.messages import Alarm, Help
from agent.outbox import Outbox
from agent.service import Runtime, run_service
from drivers.gpio import HelpPoint, LampState, Pins
from privacy.command import verify_command
from privacy.errors import RecordError
from privacy.journal import HEADS, Fact, Journal, read_heads
from provisioning.identity import command_keys, load_signer
from provisioning.layout import Layout

UNANSWERED_S = 60.0
STEADY_S = 300.0
_TICK_S = 0.2
_REMEMBERED = 256


@dataclass
class Call:
    """A press that is under way. since_ms: monotonic."""

    press: str
    since_ms: int
    taken: bool = False


def serve(layout: Layout) -> int:
    return run_service("io", layout, body)


def body(runtime: Runtime) -> None:
    node, pins = runtime.config.node, runtime.config.pins
    signer = load_signer(runtime.layout, "io")
    command_keys(runtime.layout)
    journal = Journal(runtime.layout.journal("io"), "io", signer, runtime.clock.now)
    outbox = Outbox(runtime.layout.outbox, node.site, node.id, runtime.clock)
    point = HelpPoint(pins.factory, pins.help_button, pins.help_lamp)
    Io(runtime, outbox, journal, point).run()
    point.close()
    outbox.close()


class Io:
    """One thread owns the call and the lamp; button, socket and clock only put into its queue."""

    def __init__(self, runtime: Runtime, outbox: Outbox, journal: Journal, pins: Pins) -> None:
        self._runtime, self._outbox, self._journal, self._pins = runtime, outbox, journal, pins
        self._queue: Queue[str] = Queue(64)
        self._call: Call | None = None
        self._presses = self._dropped = 0
        self._obeyed: dict[str, None] = {}
        self._later = Later()

    def run(self) -> None:
        runtime = self._runtime
        runtime.answer("command", self._command, on="uplink")
        runtime.answer("heads", self._heads, on="uplink")
        runtime.answer("press", self._press, on="ctl")
        self._later.do(lambda: self._journal.append("service_on"))
        self._pins.on_press(lambda: self._tell("press"))
        runtime.enter("ready", "listening")
        runtime.ready()
        while not runtime.stop.is_set():
            try:
                self._handle(self._queue.get(timeout=_TICK_S))
            except Empty:
                self._expire()
            self._write()
            counts = {"presses": self._presses, "dropped_datagrams": self._dropped, "events_lost": self._later.lost}
            runtime.report(lamp=self._pins.lamp, **counts, **self._facts())
            runtime.fed()

    def _tell(self, what: str) -> None:
        if self._queue.full():
            self._runtime.log("warning", "pins: too many presses at once, one ignored")
        else:
            self._queue.put_nowait(what)

    def _handle(self, what: str) -> None:
        if what == "press":
            self._pressed()
        elif self._call and not self._call.taken:
            self._call.taken = True
            self._show("steady")
            self._say("taken")

    def _pressed(self) -> None:
        """The lamp first: it is what the person sees. A second press while a call is open is part of it."""
        self._presses += 1
        if self._call and not self._call.taken:
            return
        self._show("blinking")
        self._call = Call(uuid.uuid4().hex, self._runtime.clock.mono_ms())
        self._tell_camera(self._call)
        press = self._call.press
        self._later.do(lambda: self._outbox.put(Help(press, "pressed"), Alarm("help", "pressed", press)))
        self._later.do(lambda: self._journal.append("help_pressed", press=press))

    def _expire(self) -> None:
        if self._call is None:
            return
        age_s = (self._runtime.clock.mono_ms() - self._call.since_ms) / 1000
        if self._call.taken and age_s > STEADY_S:
            self._show("off")
            self._call = None
        elif not self._call.taken and age_s > UNANSWERED_S:
            self._show("off")
            self._say("unanswered")
            self._call = None

    def _say(self, action: Any) -> None:
        press = self._call.press if self._call else ""
        self._later.do(lambda: self._outbox.put(Help(press, action)))
        self._later.do(lambda: self._outbox.clear("alarm/help"))
        self._later.do(lambda: self._journal.append(f"help_{action}", press=press))

    def _write(self) -> None:
        """What the disk refused, again; the state says whether it still does."""
        self._later.retry()
        trouble = self._later.trouble
        if trouble is None:
            self._runtime.enter("ready", "listening")
            return
        if self._runtime.standing.state != "degraded":
            self._runtime.log("error", str(trouble), hint=trouble.hint)
        self._runtime.enter("degraded", "disk_refuses_events", owner="ops")

    def _show(self, state: LampState) -> None:
        self._pins.show(state)
        self._runtime.report(lamp=state)

    def _tell_camera(self, call: Call) -> None:
        """A camera that is off, full or gone loses the trigger, never the help."""
        word = json.dumps({"kind": "help", "id": call.press, "t_ms": call.since_ms}).encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
            mouth.setblocking(False)
            try:
                mouth.sendto(word, str(self._runtime.layout.trigger))
            except OSError:
                self._dropped += 1

    def _command(self, request: dict[str, Any]) -> dict[str, Any]:
        """A signed command from ops, handed on by the uplink; verified here and obeyed once."""
        node, now = self._runtime.config.node, self._runtime.clock.now()
        token = str(request.get("jws", "")).encode()
        command = verify_command(token, command_keys(self._runtime.layout), node.site, node.id, now)
        if command.name != "ack":
            raise RecordError(f"command: name: io obeys ack only (got {command.name!r})", "send it to the service concerned")
        if command.id in self._obeyed:
            return {"obeyed": False, "reason": "obeyed before"}
        self._obeyed[command.id] = None
        for old in list(self._obeyed)[:-_REMEMBERED]:
            del self._obeyed[old]
        self._tell("ack")
        return {"obeyed": True}

    def _heads(self, request: dict[str, Any]) -> dict[str, Any]:
        """Where the other units' chains stand, as the uplink read them: noted in ours (R32)."""
        heads: dict[str, Fact] = {unit: str(head) for unit, head in read_heads(request.get("heads")).items()}
        self._later.do(lambda: self._journal.append(HEADS, **heads))
        return {"noted": len(heads)}

    def _press(self, request: dict[str, Any]) -> dict[str, Any]:
        self._pins.press()
        return {"pressed": str(request.get("name", "help"))}

    def _facts(self) -> dict[str, Any]:
        return {"call": "none" if self._call is None else "taken" if self._call.taken else "open"}

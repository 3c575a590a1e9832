"""`lykta io`: the composition root of the service for the help point. No pixels, no network; it runs also when the camera is off.

A press: the lamp blinks at once, the event and the alarm go into the outbox in one transaction, the camera is told by a
datagram that may be lost. Taken by an operator (a signed ack, verified here): the lamp is steady. Not taken in a minute: it
is off; the sign says to ring 112. The lamp works also without disk, key or another service.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, Full, Queue
from threading import Event

import msgspec

from agent.inbox.journal_heads import OtherHeads
from agent.io.alarms import OF_PARTS
from agent.io.calls import HelpPoint
from agent.io.commands import Ack, Decision, LastNumber, Light, Situation, decide
from agent.io.contacts import Contacts
from agent.io.lights import Lights
from agent.io.outbox_answers import OutboxAnswers
from agent.io.store import IoStore
from agent.io.switches import Switches
from agent.messages import CommandAnswer
from agent.runtime.notices import Notice, Sender, receive
from agent.runtime.requests import (
    AskOutbox,
    CommandTaken,
    ContactSet,
    GiveCommand,
    HelpTested,
    Press,
    Pressed,
    SetContact,
    TellHeads,
    TestHelp,
)
from agent.runtime.service import Runtime, run_service
from agent.runtime.status import IoStatus, Part
from drivers.disk import refusal
from drivers.gpio.port import INPUTS, OUTPUTS, Input, Pins
from drivers.gpio.wired_pins import WiredPins
from privacy.errors import RecordError, UsageError
from privacy.records.command import Command, verify_command
from privacy.records.journal import HEADS
from provisioning.identity import command_keys
from provisioning.layout import Layout

_TICK_S = 0.5
_MOST_WORK = 64
_SLOW_MS = 10_000


def serve(layout: Layout) -> int:
    return run_service("io", layout, run)


def run(runtime: Runtime) -> None:
    settings = msgspec.structs.asdict(runtime.config.pins)
    pins = WiredPins(settings.pop("factory"), settings.pop("chip"), settings)
    store = IoStore(runtime)
    Io(runtime, store, pins).run()
    pins.close()
    store.close()


class Io:
    """The main thread owns the call and the lamps. Other threads only store contact positions and times of notices, or queue work
    from the sockets: no source can displace another."""

    def __init__(self, runtime: Runtime, store: IoStore, pins: Pins) -> None:
        self._runtime, self._store, self._pins = runtime, store, pins
        self._queue: Queue[Callable[[], None]] = Queue(_MOST_WORK)
        self._refused = 0
        self._contacts, self._wake = Contacts(pins.fitted, self._as_found()), Event()
        self._last = LastNumber(runtime.layout.last_command, runtime.clock.boot_id)
        self._camera = Sender(runtime.layout.trigger)
        self._switches = Switches(store.say, store.clear, jammed="alarm/help_button" in store.stood)
        self._help = HelpPoint(runtime.clock, store, pins, self._camera)
        self._lights = Lights(runtime.clock, runtime.config.light, store, pins, self._switches)
        self._slow_ms = 0

    def _as_found(self) -> dict[Input, bool]:
        """Positions assumed at the start: a closed service button is not being held; a case with an active alarm was open."""
        found: dict[Input, bool] = {"service_button": self._pins.closed("service_button")}
        return found | ({"tamper": False} if "alarm/case" in self._store.stood else {})

    def run(self) -> None:
        runtime = self._runtime
        self._pins.on_change(self._edge)
        heads = OtherHeads("io", lambda heads: self._store.note(HEADS, **heads), runtime.clock.mono_ms)
        runtime.answer(GiveCommand, self._command, on="uplink")
        runtime.answer(TellHeads, heads.take, on="uplink")
        runtime.answer(AskOutbox, OutboxAnswers(self._store.outbox).answer, on="uplink")
        runtime.answer(Press, self._press, on="ctl")
        runtime.answer(SetContact, self._set, on="ctl")
        runtime.answer(TestHelp, self._test_now, on="ctl")
        self._store.note("service_on")
        runtime.journal_states(self._store.note)
        self._begin()
        runtime.spawn("notices", lambda: receive(runtime.layout.presence, runtime.stop, self._noticed, self._malformed))
        runtime.ready()
        while not runtime.stop.is_set():
            self._wake.wait(_TICK_S)
            self._wake.clear()
            self._tell_changes()
            self._work()
            self._tick()
            runtime.fed()

    def _do(self, work: Callable[[], None]) -> bool:
        """Queue work for the main thread: whether there was room."""
        try:
            self._queue.put_nowait(work)
        except Full:
            self._refused += 1
            self._runtime.log("warning", "commands: queue full: one refused as busy")
            return False
        finally:
            self._wake.set()
        return True

    def _work(self) -> None:
        """Execute requests of the sockets; contact changes are handled before each."""
        with suppress(Empty):
            for _ in range(_MOST_WORK):
                self._queue.get_nowait()()
                self._tell_changes()

    def _begin(self) -> None:
        """Read all contacts at the start. A closed help button may be pressed or jammed: a call, and a jam check."""
        self._end_what_stood()
        if self._pins.closed("help_button"):
            self._switches.found_closed("help_button")
        self._contacts.look(self._pins.closed)
        self._tell_changes()
        self._show_state()

    def _end_what_stood(self) -> None:
        """Clear alarms of the last process: a call for help ended with it; one of an unfitted contact has no other end."""
        stood = self._store.stood
        if "alarm/help" in stood:
            self._help.end(stood["alarm/help"], "unanswered")
        for tail, part in OF_PARTS.items():
            if tail in stood and part not in self._pins.fitted:
                self._store.clear(tail)

    # -- contacts ----------------------------------------------------------------------------------------------------

    def _edge(self, part: Input, closed: bool) -> None:
        self._contacts.edge(part, closed)
        self._wake.set()

    def _tell_changes(self) -> None:
        for part, closed in self._contacts.changes(self._runtime.clock.mono_ms()):
            self._changed(part, closed)

    def _changed(self, part: Input, closed: bool) -> None:
        clock = self._runtime.clock
        if part == "help_button" and closed:
            self._help.pressed()
        self._switches.changed(part, closed, clock.mono_ms(), clock.now())

    # -- each half second --------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._contacts.look(self._pins.closed)
        self._tell_changes()
        now_ms = self._runtime.clock.mono_ms()
        self._help.expire(now_ms)
        if self._switches.tick(now_ms):
            self._store.note("service_button_held")
            self._camera.send("visit", "", now_ms)
        self._lights.tick(now_ms, call=self._help.call is not None)
        self._help.test_if_due(now_ms)
        if now_ms - self._slow_ms >= _SLOW_MS:
            self._slow_ms = now_ms
            self._lights.cool()
        self._store.retry()
        self._show_state()

    def _show_state(self) -> None:
        runtime, trouble, enrolment = self._runtime, self._store.trouble, self._store.enrolment
        if trouble:
            reason = refusal(runtime.layout.io_outbox.parent, "disk_refuses_events")
            if runtime.standing.reason != reason:
                runtime.log("error", str(trouble), hint=trouble.hint)
            runtime.enter("degraded", reason, owner="ops")
        elif enrolment:
            runtime.enter("degraded", "not_enrolled", owner="technician")
        elif self._switches.jammed:
            runtime.enter("degraded", "help_button_jammed", owner="technician")
        else:
            runtime.enter("ready", "listening")
        self._pins.show("status_led", "steady" if runtime.standing.state == "ready" else "blinking")
        self._report()

    def _report(self) -> None:
        pins, call = self._pins, self._help.call
        contacts: dict[str, Part] = {part: "closed" if pins.closed(part) else "open" for part in INPUTS if part in pins.fitted}
        self._runtime.report(
            IoStatus(
                lamp=pins.shown("help_lamp"),
                call="none" if call is None else "taken" if call.taken else "open",
                parts=contacts | {part: pins.shown(part) for part in OUTPUTS if part in pins.fitted},
                presses=self._help.presses,
                unanswered=self._help.unanswered,
                commands_refused=self._refused,
                dropped_datagrams=self._camera.dropped,
                events_lost=self._store.lost,
            )
        )

    # -- neighbours --------------------------------------------------------------------------------------------------

    def _noticed(self, notice: Notice) -> None:
        """On the thread of notices: stores a time for each, which the main thread reads."""
        now_ms = self._runtime.clock.mono_ms()
        if notice.kind == "waiting":
            self._lights.waiting_ms = now_ms
        elif notice.kind == "dark":
            self._lights.dark_ms = now_ms
        elif notice.kind == "bright":
            self._lights.dark_ms = None

    def _malformed(self, what: str) -> None:
        self._runtime.log("warning", what)

    def _command(self, request: GiveCommand) -> CommandTaken:
        """A signed command from ops, passed on by the uplink: verified here, executed once, answered once on rsp/<id>."""
        layout, clock, node = self._runtime.layout, self._runtime.clock, self._runtime.config.node
        command = verify_command(request.jws.encode(), command_keys(layout), node.site, node.id)
        decision = self._kept(
            command, decide(command, Situation(clock.boot_id, clock.mono_ms(), self._last.value, self._help.open_press))
        )
        if decision.act:
            if self._do(partial(self._obey, command, decision.act)):
                return CommandTaken(True)
            decision = Decision(None, "busy", new=True)
        if decision.new:
            self._store.say(CommandAnswer(command.id, command.name, command.number, "refused", decision.reason))
        if decision.reason == "repeated":
            return CommandTaken(False, decision.reason)
        raise RecordError(f"command: {command.name}: refused: {decision.reason}", decision.hint)

    def _kept(self, command: Command, decision: Decision) -> Decision:
        """Store its number first. If that fails only an ack is executed: a press can be taken only once in any case."""
        if decision.new and not self._last.keep(command.number) and not isinstance(decision.act, Ack):
            return Decision(None, "not_kept", new=True)
        return decision

    def _obey(self, command: Command, act: Ack | Light) -> None:
        done = self._help.take(act.press) if isinstance(act, Ack) else self._force(act)
        result, reason = ("done", "") if done else ("refused", "press_not_open")
        self._store.say(CommandAnswer(command.id, command.name, command.number, result, reason))  # type: ignore[arg-type]

    def _force(self, light: Light) -> bool:
        self._lights.force(light.on, self._runtime.clock.mono_ms() + light.minutes * 60_000)
        self._store.note("light_by_command", on=int(light.on), minutes=light.minutes)
        return True

    # -- technicians -------------------------------------------------------------------------------------------------

    def _press(self, request: Press) -> Pressed:
        self._pins.work("help_button", True)
        self._pins.work("help_button", False)
        return Pressed(request.name)

    def _set(self, request: SetContact) -> ContactSet:
        if request.name not in INPUTS:
            raise UsageError(f"set: name: must be a contact (got {request.name!r})", f"known: {', '.join(INPUTS)}")
        self._pins.work(request.name, request.closed)
        return ContactSet(request.name, request.closed)

    def _test_now(self, _request: TestHelp) -> HelpTested:
        return HelpTested(self._help.test())

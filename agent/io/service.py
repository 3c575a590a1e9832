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
from agent.io.contacts import Contacts
from agent.io.lights import Lights
from agent.io.outbox_answers import OutboxAnswers
from agent.io.store import IoStore
from agent.io.switches import Switches
from agent.runtime.commands.desk import ACCEPTED, DONE, Answer, CommandDesk, Outcome, refused
from agent.runtime.notices import Notice, Sender, receive
from agent.runtime.requests import (
    AskOutbox,
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
from privacy.errors import LyktaError, UsageError
from privacy.records.command_table import Ack, Light, Restart
from privacy.records.journal import HEADS
from provisioning.layout import Layout

_TICK_S = 0.5
_MOST_WORK = 64
_SLOW_MS = 10_000
_FAILED_MS = 60_000


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
        self._contacts, self._wake = Contacts(pins.fitted, self._as_found()), Event()
        self._commands = CommandDesk(runtime, store, {Ack: self._ack, Light: self._later, Restart: self._later})
        self._camera = Sender(runtime.layout.trigger)
        self._switches = Switches(store.say, store.clear, jammed="alarm/help_button" in store.stood)
        self._help = HelpPoint(runtime.clock, store, pins, self._camera)
        self._lights = Lights(runtime.clock, runtime.config.light, store, pins, self._switches)
        self._slow_ms = self._failures = 0
        self._failed_ms: int | None = None

    def _as_found(self) -> dict[Input, bool]:
        """Positions assumed at the start: a closed service button is not being held; a case with an active alarm was open."""
        found: dict[Input, bool] = {"service_button": self._pins.closed("service_button")}
        return found | ({"tamper": False} if "alarm/case" in self._store.stood else {})

    def run(self) -> None:
        runtime = self._runtime
        self._pins.on_change(self._edge)
        watching = runtime.spawn("pins", lambda: self._pins.run(runtime.going_on))
        heads = OtherHeads("io", lambda heads: self._store.note(HEADS, **heads), runtime.clock.mono_ms)
        runtime.answer(GiveCommand, self._commands.take, on="uplink")
        runtime.answer(TellHeads, heads.take, on="uplink")
        runtime.answer(AskOutbox, OutboxAnswers(self._store.outbox).answer, on="uplink")
        runtime.answer(Press, self._press, on="ctl")
        runtime.answer(SetContact, self._set, on="ctl")
        runtime.answer(TestHelp, self._test_now, on="ctl")
        self._store.note("service_on")
        runtime.journal_states(self._store.note)
        self._begin()
        runtime.spawn("notices", lambda: receive(runtime.layout.presence, runtime.going_on, self._noticed, self._malformed))
        runtime.ready()
        self._commands.back()
        while not runtime.stop.is_set():
            self._wake.wait(_TICK_S)
            self._wake.clear()
            self._tell_changes()
            self._work()
            self._tick()
            runtime.fed()
        for name in runtime.late(watching):
            raise LyktaError(f"{name}: does not end", "the lines hang; the service starts again")

    def _do(self, work: Callable[[], None]) -> bool:
        """Queue work for the main thread: whether there was room."""
        try:
            self._queue.put_nowait(work)
        except Full:
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
        self._note_failures(now_ms)
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

    def _note_failures(self, now_ms: int) -> None:
        """A contact that could not be read works again, but a change may have been missed: for a minute the state says so."""
        if self._pins.failures > self._failures:
            self._failures, self._failed_ms = self._pins.failures, now_ms
            self._runtime.log("error", "pins: a contact could not be read; its line was requested anew", times=self._failures)
        elif self._failed_ms is not None and now_ms - self._failed_ms >= _FAILED_MS:
            self._failed_ms = None

    def _show_state(self) -> None:
        runtime, trouble, enrolment = self._runtime, self._store.trouble, self._store.enrolment
        if stalled := runtime.stalled():
            runtime.enter("degraded", stalled, owner="technician")
        elif trouble:
            reason = refusal(runtime.layout.io_outbox.parent, "disk_refuses_events")
            if runtime.standing.reason != reason:
                runtime.log("error", str(trouble), hint=trouble.hint)
            runtime.enter("degraded", reason, owner="ops")
        elif enrolment:
            runtime.enter("degraded", "not_enrolled", owner="technician")
        elif self._switches.jammed:
            runtime.enter("degraded", "help_button_jammed", owner="technician")
        elif self._failed_ms is not None:
            runtime.enter("degraded", "contact_failed", owner="technician")
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
                commands_refused=self._commands.refused,
                contact_failures=self._failures,
                unanswered=self._help.unanswered,
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

    # -- commands ----------------------------------------------------------------------------------------------------

    def _ack(self, act: Ack, answer: Answer) -> Outcome | None:
        """Refused at once if that press is not open: what waits for the main thread is asked again there."""
        return refused("press_not_open") if act.press != self._help.open_press else self._later(act, answer)

    def _later(self, act: Ack | Light | Restart, answer: Answer) -> Outcome | None:
        """Everything that changes a lamp or a call is the main thread's."""
        return None if self._do(partial(self._obey, act, answer)) else refused("busy")

    def _obey(self, act: Ack | Light | Restart, answer: Answer) -> None:
        match act:
            case Ack():
                answer(DONE if self._help.take(act.press) else refused("press_not_open"))
            case Light():
                self._lights.force(act.state == "on", self._runtime.clock.mono_ms() + act.minutes * 60_000)
                answer(DONE)
            case Restart():
                self._restart(answer)

    def _restart(self, answer: Answer) -> None:
        """Not while a call is open, taken or not: the restart would end it."""
        if self._help.call:
            answer(refused("call_open"))
            return
        answer(ACCEPTED)
        self._runtime.stop.set()

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

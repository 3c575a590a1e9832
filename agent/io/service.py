"""`lykta io`: the composition root of the service that helps. No pixels, no network; it goes on when the camera is off.

A press: the lamp blinks at once, the event and the alarm go into the outbox in one transaction, the camera is told by a
datagram that may be lost. Taken by an operator (a signed ack, verified here): the lamp stands. Nobody in a minute: it goes
out, and the sign's words hold: ring 112. Neither a disk, nor a key, nor a neighbour can keep the lamp from answering.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, Full, Queue
from threading import Event
from typing import Literal

import msgspec

from agent.inbox.journal_heads import HeardHeads
from agent.io.alarms import OF_PARTS
from agent.io.commands import Ack, Decision, LastNumber, Light, Situation, decide
from agent.io.contacts import Contacts
from agent.io.help_call import Call, again, lapse
from agent.io.outbox_answers import OutboxAnswers
from agent.io.stop_light import LampWatch, Sight, lit
from agent.io.store import IoStore
from agent.io.switches import Switches, fan_on
from agent.messages import Alarm, CommandAnswer, Help, HelpTest, Switch
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

TEST_MS = 7 * 24 * 3_600_000
"""Between two tests of the help path; the first comes ten minutes after the start."""
_FIRST_TEST_MS = 600_000
_TICK_S = 0.5
_MOST_WORK = 64
_SLOW_MS = 10_000
_STALE_MS = 60_000


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
    """One thread owns the call and the lamps. Contacts leave how they stand, the neighbour when it spoke, sockets work in a queue:
    none of them takes another's place."""

    def __init__(self, runtime: Runtime, store: IoStore, pins: Pins) -> None:
        self._runtime, self._store, self._pins = runtime, store, pins
        self._queue: Queue[Callable[[], None]] = Queue(_MOST_WORK)
        self._lost = 0
        self._contacts, self._wake = Contacts(pins.fitted, self._as_found()), Event()
        self._call: Call | None = None
        self._presses = 0
        self._last = LastNumber(runtime.layout.last_command, runtime.clock.boot_id)
        self._camera = Sender(runtime.layout.trigger)
        self._switches = Switches(store.say, store.clear, jammed="alarm/help_button" in store.stood)
        self._lamp = LampWatch(fault="alarm/light" in store.stood)
        self._waiting_ms: int | None = None
        self._dark_ms: int | None = None
        self._forced: tuple[bool, int] | None = None
        self._test_ms = runtime.clock.mono_ms() + _FIRST_TEST_MS
        self._slow_ms = 0

    def _as_found(self) -> dict[Input, bool]:
        """Nobody holds a service button that was closed before anybody watched; a case whose alarm stands was open."""
        found: dict[Input, bool] = {"service_button": self._pins.closed("service_button")}
        return found | ({"tamper": False} if "alarm/case" in self._store.stood else {})

    def run(self) -> None:
        runtime = self._runtime
        self._pins.on_change(self._edge)
        heads = HeardHeads("io", lambda heads: self._store.note(HEADS, **heads), runtime.clock.mono_ms)
        runtime.answer(GiveCommand, self._command, on="uplink")
        runtime.answer(TellHeads, heads.take, on="uplink")
        runtime.answer(AskOutbox, OutboxAnswers(self._store.outbox).answer, on="uplink")
        runtime.answer(Press, self._press, on="ctl")
        runtime.answer(SetContact, self._set, on="ctl")
        runtime.answer(TestHelp, self._test_now, on="ctl")
        self._store.note("service_on")
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
        """Whether there was room for it."""
        try:
            self._queue.put_nowait(work)
        except Full:
            self._lost += 1
            self._runtime.log("warning", "requests: queue full: one press or command lost")
            return False
        finally:
            self._wake.set()
        return True

    def _work(self) -> None:
        """What the sockets asked for; a press goes before each."""
        with suppress(Empty):
            for _ in range(_MOST_WORK):
                self._queue.get_nowait()()
                self._tell_changes()

    def _begin(self) -> None:
        """How everything stands. A help button that is closed now may have been pressed, or be jammed: help and technician."""
        self._end_what_stood()
        if self._pins.closed("help_button"):
            self._switches.found_closed("help_button")
        self._contacts.look(self._pins.closed)
        self._tell_changes()
        self._show_state()

    def _end_what_stood(self) -> None:
        """A call for help ends with the process that had it; an alarm of a contact that is not fitted any more has no other end."""
        stood = self._store.stood
        if "alarm/help" in stood:
            self._answered(stood["alarm/help"], "unanswered")
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
            self._pressed()
        self._switches.changed(part, closed, clock.mono_ms(), clock.now())

    def _pressed(self) -> None:
        """The lamp first: it is what the person sees. A second press while a call is open is part of it."""
        self._presses += 1
        if again(self._call):
            return
        self._call = call = Call(uuid.uuid4().hex, self._runtime.clock.mono_ms())
        self._show_call()
        self._camera.send("help", call.press, call.since_ms)
        self._store.say(Help(call.press, "pressed"), Alarm("help", "pressed", call.press))
        self._store.note("help_pressed", press=call.press)

    def _taken(self, press: str) -> bool:
        """Whether that press was still open."""
        if self._open_press() != press:
            return False
        assert self._call is not None
        self._call = msgspec.structs.replace(self._call, taken=True)
        self._show_call()
        self._answered(press, "taken")
        return True

    def _open_press(self) -> str:
        call = self._call
        return call.press if call and not call.taken else ""

    def _expire(self, now_ms: int) -> None:
        over = lapse(self._call, now_ms) if self._call else ""
        if self._call and over:
            call, self._call = self._call, None
            self._show_call()
            if over == "unanswered":
                self._answered(call.press, "unanswered")

    def _answered(self, press: str, action: Literal["taken", "unanswered"]) -> None:
        self._store.say(Help(press, action))
        self._store.clear("alarm/help")
        self._store.note(f"help_{action}", press=press)

    def _show_call(self) -> None:
        self._pins.show("help_lamp", self._call.lamp if self._call else "off")

    # -- each half second --------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._contacts.look(self._pins.closed)
        self._tell_changes()
        now_ms = self._runtime.clock.mono_ms()
        self._expire(now_ms)
        if self._switches.tick(now_ms):
            self._store.note("service_button_held")
            self._camera.send("visit", "", now_ms)
        self._light(now_ms)
        if now_ms >= self._test_ms:
            self._test()
        if now_ms - self._slow_ms >= _SLOW_MS:
            self._slow_ms = now_ms
            self._cool()
        self._store.retry()
        self._show_state()

    def _light(self, now_ms: int) -> None:
        if "light" in self._pins.fitted:
            on = lit(self._runtime.config.light, self._sight(now_ms))
            if on != (self._pins.shown("light") == "steady"):
                self._pins.show("light", "steady" if on else "off")
                self._store.say(Switch("light", "on" if on else "off"))
            self._judge_lamp(on, now_ms)
        dark = self._dark_ms is not None and now_ms - self._dark_ms < _STALE_MS
        self._pins.show("ir_light", "steady" if dark else "off")

    def _judge_lamp(self, on: bool, now_ms: int) -> None:
        if "light_current" not in self._pins.fitted:
            return
        change = self._lamp.see(on, self._pins.closed("light_current"), now_ms)
        if change == "fault":
            self._store.say(Switch("light", "fault"), Alarm("light", "no_current", ""))
        elif change == "mended":
            self._store.say(Switch("light", "mended"))
            self._store.clear("alarm/light")

    def _sight(self, now_ms: int) -> Sight:
        seen = [when for when in (self._switches.moved_ms, self._waiting_ms) if when is not None]
        if self._switches.moving and self._pins.closed("motion"):
            seen.append(now_ms)
        if self._forced and now_ms >= self._forced[1]:
            self._forced = None
        clock = self._runtime.clock
        return Sight(
            now=clock.now(),
            trusted=clock.trusted(),
            now_ms=now_ms,
            dark=self._pins.closed("light_sensor") if "light_sensor" in self._pins.fitted else None,
            seen_ms=max(seen, default=None),
            call=self._call is not None,
            forced=self._forced[0] if self._forced else None,
        )

    def _cool(self) -> None:
        if "fan" in self._pins.fitted:
            from drivers import board

            try:
                celsius: float | None = board.temperature()
            except (OSError, ValueError):
                celsius = None
            self._pins.show("fan", "steady" if fan_on(self._pins.shown("fan") == "steady", celsius) else "off")

    def _test(self) -> str:
        """The path, not the lamp: a message as a press would send, that alarms nobody."""
        name = uuid.uuid4().hex
        self._test_ms = self._runtime.clock.mono_ms() + TEST_MS
        self._store.say(HelpTest(name, "closed" if self._pins.closed("help_button") else "open"))
        self._store.note("help_test", test=name)
        return name

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
        pins, call = self._pins, self._call
        contacts: dict[str, Part] = {part: "closed" if pins.closed(part) else "open" for part in INPUTS if part in pins.fitted}
        self._runtime.report(
            IoStatus(
                lamp=pins.shown("help_lamp"),
                call="none" if call is None else "taken" if call.taken else "open",
                parts=contacts | {part: pins.shown(part) for part in OUTPUTS if part in pins.fitted},
                presses=self._presses,
                requests_lost=self._lost,
                dropped_datagrams=self._camera.dropped,
                events_lost=self._store.lost,
            )
        )

    # -- neighbours --------------------------------------------------------------------------------------------------

    def _noticed(self, notice: Notice) -> None:
        """From its own thread: a time each, which the lamps' thread reads."""
        now_ms = self._runtime.clock.mono_ms()
        if notice.kind == "waiting":
            self._waiting_ms = now_ms
        elif notice.kind == "dark":
            self._dark_ms = now_ms
        elif notice.kind == "bright":
            self._dark_ms = None

    def _malformed(self, what: str) -> None:
        self._runtime.log("warning", what)

    def _command(self, request: GiveCommand) -> CommandTaken:
        """A signed command from ops, handed on by the uplink: verified here, obeyed once, answered once on rsp/<id>."""
        layout, clock, node = self._runtime.layout, self._runtime.clock, self._runtime.config.node
        command = verify_command(request.jws.encode(), command_keys(layout), node.site, node.id)
        decision = self._kept(
            command, decide(command, Situation(clock.boot_id, clock.mono_ms(), self._last.value, self._open_press()))
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
        """Its number first. Where that cannot be written only an ack counts: a press is taken once in any case."""
        if decision.new and not self._last.keep(command.number) and not isinstance(decision.act, Ack):
            return Decision(None, "not_kept", new=True)
        return decision

    def _obey(self, command: Command, act: Ack | Light) -> None:
        done = self._taken(act.press) if isinstance(act, Ack) else self._force(act)
        result, reason = ("done", "") if done else ("refused", "press_not_open")
        self._store.say(CommandAnswer(command.id, command.name, command.number, result, reason))  # type: ignore[arg-type]

    def _force(self, light: Light) -> bool:
        self._forced = (light.on, self._runtime.clock.mono_ms() + light.minutes * 60_000)
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
        return HelpTested(self._test())

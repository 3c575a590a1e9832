"""`lykta io`: the composition root of the service that helps. No pixels, no network; it goes on when the camera is off.

A press: the lamp blinks at once, the event and the alarm go into the outbox in one transaction, the camera is told by a
datagram that may be lost. Taken by an operator (a signed ack, verified here): the lamp stands. Nobody in a minute: it goes
out, and the sign's words hold: ring 112. Neither a disk, nor a key, nor a neighbour can keep the lamp from answering.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import Any

import msgspec

from agent.datagrams import Mouth, Word, hear
from agent.help_call import Call, again, lapse
from agent.io_store import IoStore
from agent.io_switches import Switches, fan_on
from agent.messages import Alarm, Help, HelpTest, Switch
from agent.service import Runtime, run_service
from agent.stop_light import LampWatch, Sight, lit
from drivers.gpio import INPUTS, OUTPUTS, Input, Pins, WiredPins
from privacy.command import verify_command
from privacy.errors import RecordError, UsageError
from privacy.journal import HEADS, Fact, read_heads
from provisioning.identity import command_keys
from provisioning.layout import Layout

TEST_MS = 7 * 24 * 3_600_000
"""Between two tests of the help path; the first comes ten minutes after the start."""
_FIRST_TEST_MS = 600_000
_TICK_S = 0.5
_SLOW_MS = 10_000
_STALE_MS = 60_000
_REMEMBERED = 256
_LONGEST_MIN = 24 * 60


def serve(layout: Layout) -> int:
    return run_service("io", layout, body)


def body(runtime: Runtime) -> None:
    settings = msgspec.structs.asdict(runtime.config.pins)
    pins = WiredPins(settings.pop("factory"), settings.pop("chip"), settings)
    store = IoStore(runtime)
    Io(runtime, store, pins).run()
    pins.close()
    store.close()


class Io:
    """One thread owns the call and the lamps; contacts, sockets and the neighbour only put work into its queue."""

    def __init__(self, runtime: Runtime, store: IoStore, pins: Pins) -> None:
        self._runtime, self._store, self._pins = runtime, store, pins
        self._queue: Queue[Callable[[], None]] = Queue(64)
        self._call: Call | None = None
        self._presses = 0
        self._obeyed: dict[str, None] = {}
        self._camera = Mouth(runtime.layout.trigger)
        self._switches, self._lamp = Switches(store.say, store.clear), LampWatch()
        self._waiting_ms: int | None = None
        self._dark_ms: int | None = None
        self._forced: tuple[bool, int] | None = None
        self._test_ms = runtime.clock.mono_ms() + _FIRST_TEST_MS
        self._slow_ms = 0

    def run(self) -> None:
        runtime = self._runtime
        runtime.answer("command", self._command, on="uplink")
        runtime.answer("heads", self._heads, on="uplink")
        runtime.answer("press", self._press, on="ctl")
        runtime.answer("set", self._set, on="ctl")
        runtime.answer("help_test", self._test_now, on="ctl")
        self._store.note("service_on")
        self._pins.on_change(lambda part, closed: self._do(lambda: self._changed(part, closed)))
        self._begin()
        runtime.spawn("ear", lambda: hear(runtime.layout.presence, runtime.stop, self._heard, self._odd))
        runtime.ready()
        while not runtime.stop.is_set():
            with suppress(Empty):
                self._queue.get(timeout=_TICK_S)()
            self._tick()
            runtime.fed()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            self._queue.put_nowait(work)
        except Full:
            self._runtime.log("warning", "pins: too much at once, one change ignored")

    def _begin(self) -> None:
        """What stands open at the start opened while nobody looked."""
        for part in ("tamper", "door"):
            if part in self._pins.fitted and not self._pins.closed(part):
                self._changed(part, False)
        self._show_state()

    # -- contacts ----------------------------------------------------------------------------------------------------

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
        self._camera.say("help", call.press, call.since_ms)
        self._store.say(Help(call.press, "pressed"), Alarm("help", "pressed", call.press))
        self._store.note("help_pressed", press=call.press)

    def _taken(self) -> None:
        if self._call and not self._call.taken:
            self._call = msgspec.structs.replace(self._call, taken=True)
            self._show_call()
            self._answered(self._call, "taken")

    def _expire(self, now_ms: int) -> None:
        over = lapse(self._call, now_ms) if self._call else ""
        if self._call and over:
            call, self._call = self._call, None
            self._show_call()
            if over == "unanswered":
                self._answered(call, "unanswered")

    def _answered(self, call: Call, action: Any) -> None:
        self._store.say(Help(call.press, action))
        self._store.clear("alarm/help")
        self._store.note(f"help_{action}", press=call.press)

    def _show_call(self) -> None:
        self._pins.show("help_lamp", self._call.lamp if self._call else "off")
        self._runtime.report(lamp=self._pins.shown("help_lamp"))

    # -- each half second --------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now_ms = self._runtime.clock.mono_ms()
        self._expire(now_ms)
        if self._switches.tick(now_ms):
            self._store.note("service_button_held")
            self._camera.say("visit", "", now_ms)
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
            if runtime.standing.reason != "disk_refuses_events":
                runtime.log("error", str(trouble), hint=trouble.hint)
            runtime.enter("degraded", "disk_refuses_events", owner="ops")
        elif enrolment:
            runtime.enter("degraded", "not_enrolled", owner="technician")
        elif self._switches.jammed:
            runtime.enter("degraded", "help_button_jammed", owner="technician")
        else:
            runtime.enter("ready", "listening")
        self._pins.show("status_led", "steady" if runtime.standing.state == "ready" else "blinking")
        runtime.report(
            lamp=self._pins.shown("help_lamp"),
            call="none" if self._call is None else "taken" if self._call.taken else "open",
            presses=self._presses,
            dropped_datagrams=self._camera.dropped,
            events_lost=self._store.lost,
            **{part: "closed" if self._pins.closed(part) else "open" for part in INPUTS if part in self._pins.fitted},
            **{part: self._pins.shown(part) for part in OUTPUTS if part in self._pins.fitted},
        )

    # -- neighbours --------------------------------------------------------------------------------------------------

    def _heard(self, word: Word) -> None:
        self._do(lambda: self._noticed(word))

    def _noticed(self, word: Word) -> None:
        now_ms = self._runtime.clock.mono_ms()
        if word.kind == "waiting":
            self._waiting_ms = now_ms
        elif word.kind == "dark":
            self._dark_ms = now_ms
        elif word.kind == "bright":
            self._dark_ms = None

    def _odd(self, what: str) -> None:
        self._runtime.log("warning", what)

    def _command(self, request: dict[str, Any]) -> dict[str, Any]:
        """A signed command from ops, handed on by the uplink; verified here and obeyed once."""
        node, now = self._runtime.config.node, self._runtime.clock.now()
        token = str(request.get("jws", "")).encode()
        command = verify_command(token, command_keys(self._runtime.layout), node.site, node.id, now)
        act = self._act_of(command.name, command.args)
        if command.id in self._obeyed:
            return {"obeyed": False, "reason": "obeyed before"}
        self._obeyed[command.id] = None
        for old in list(self._obeyed)[:-_REMEMBERED]:
            del self._obeyed[old]
        self._do(act)
        return {"obeyed": True}

    def _act_of(self, name: str, args: dict[str, str]) -> Callable[[], None]:
        if name == "ack":
            return self._taken
        if name == "light":
            on, minutes = args.get("state", ""), args.get("minutes", "10")
            if on not in ("on", "off") or not minutes.isdecimal() or not 0 < int(minutes) <= _LONGEST_MIN:
                raise RecordError(f"command: light: state on or off, minutes 1 to {_LONGEST_MIN} (got {args})", "sign it anew")
            return lambda: self._force(on == "on", int(minutes))
        raise RecordError(f"command: name: io obeys ack and light (got {name!r})", "send it to the service concerned")

    def _force(self, on: bool, minutes: int) -> None:
        self._forced = (on, self._runtime.clock.mono_ms() + minutes * 60_000)
        self._store.note("light_by_command", on=int(on), minutes=minutes)

    def _heads(self, request: dict[str, Any]) -> dict[str, Any]:
        """Where the other units' chains stand, as the uplink read them: noted in ours (R32)."""
        heads: dict[str, Fact] = {unit: str(head) for unit, head in read_heads(request.get("heads")).items()}
        self._store.note(HEADS, **heads)
        return {"noted": len(heads)}

    # -- technicians -------------------------------------------------------------------------------------------------

    def _press(self, request: dict[str, Any]) -> dict[str, Any]:
        self._pins.work("help_button", True)
        self._pins.work("help_button", False)
        return {"pressed": str(request.get("name", "help"))}

    def _set(self, request: dict[str, Any]) -> dict[str, Any]:
        part, closed = str(request.get("name", "")), request.get("closed")
        if part not in INPUTS or not isinstance(closed, bool):
            raise UsageError(
                f"set: name, closed: a contact, true or false (got {part!r}, {closed!r})", f"known: {', '.join(INPUTS)}"
            )
        self._pins.work(part, closed)
        return {"name": part, "closed": closed}

    def _test_now(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"test": self._test()}

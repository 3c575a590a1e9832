"""The help point: a press, the call that it opens, its lamp and its end; and the weekly test of the help path."""

from __future__ import annotations

import uuid
from typing import Literal

import msgspec

from agent.io.help_call import Call, again, lapse
from agent.io.store import IoStore
from agent.messages import Alarm, Help, HelpTest
from agent.runtime.notices import Sender
from drivers.clock import SystemClock
from drivers.gpio.port import Pins

TEST_MS = 7 * 24 * 3_600_000
"""Time between two tests of the help path; the first is ten minutes after the start."""
_FIRST_TEST_MS = 600_000


class HelpPoint:
    """Used only by io's main thread, which owns the call and the lamps. call: the open call, or None."""

    def __init__(self, clock: SystemClock, store: IoStore, pins: Pins, camera: Sender) -> None:
        self._clock, self._store, self._pins, self._camera = clock, store, pins, camera
        self.call: Call | None = None
        self.presses = 0
        self.unanswered = False
        """Whether a call ended without an answer, and none was answered since."""
        self._test_ms = clock.mono_ms() + _FIRST_TEST_MS

    def pressed(self) -> None:
        """The lamp first, since the person sees it. A second press while a call is open is part of that call."""
        self.presses += 1
        if again(self.call):
            return
        self.call = call = Call(uuid.uuid4().hex, self._clock.mono_ms())
        self._show_call()
        self._camera.send("help", call.press, call.since_ms)
        self._store.say(Help(call.press, "pressed"), Alarm("help", "pressed", call.press))
        self._store.note("help_pressed", press=call.press)

    def take(self, press: str) -> bool:
        """An operator takes the call; False if that press is no longer open."""
        if self.open_press != press:
            return False
        assert self.call is not None
        self.call = msgspec.structs.replace(self.call, taken=True)
        self._show_call()
        self.end(press, "taken")
        return True

    @property
    def open_press(self) -> str:
        call = self.call
        return call.press if call and not call.taken else ""

    def expire(self, now_ms: int) -> None:
        over = lapse(self.call, now_ms) if self.call else ""
        if self.call and over:
            call, self.call = self.call, None
            self._show_call()
            if over == "unanswered":
                self.end(call.press, "unanswered")

    def end(self, press: str, action: Literal["taken", "unanswered"]) -> None:
        self.unanswered = action == "unanswered"
        self._store.say(Help(press, action))
        self._store.clear("alarm/help")
        self._store.note(f"help_{action}", press=press)

    def _show_call(self) -> None:
        self._pins.show("help_lamp", self.call.lamp if self.call else "off")

    def test(self) -> str:
        """Test the path, not the lamp: a message on the way of a press, without an alarm."""
        name = uuid.uuid4().hex
        self._test_ms = self._clock.mono_ms() + TEST_MS
        self._store.say(HelpTest(name, "closed" if self._pins.closed("help_button") else "open"))
        self._store.note("help_test", test=name)
        return name

    def test_if_due(self, now_ms: int) -> None:
        """The weekly test."""
        if now_ms >= self._test_ms:
            self.test()

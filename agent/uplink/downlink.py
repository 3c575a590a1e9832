"""From the broker to the services: signed commands, orders and records, passed on unchanged. Nothing is verified here.

The link's thread must never wait, and a service may be slow: each kind has a bounded queue and a thread of its own,
so that an acknowledgement of a press never waits behind an order.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from threading import Condition
from typing import NamedTuple

from agent.inbox.applied import KINDS
from agent.inbox.desired import LONGEST, leave, leave_certificate
from agent.inbox.inbox import hand_over_order
from agent.runtime.control import ask
from agent.runtime.foreign_input import handling
from agent.runtime.requests import CommandTaken, GiveCommand
from agent.runtime.service import Runtime
from agent.uplink.desired_rate import DesiredRate
from privacy.errors import LyktaError
from privacy.records.command import addressed_to
from privacy.records.command_table import COMMANDS, SERVICES, Service
from privacy.records.jws import sha256_hex
from provisioning.identity import TLS_AND_UNITS

SUBSCRIBED = ("cmd/#", "order/#", *(f"{kind}/desired" for kind in KINDS), "cert/+/desired")
_NAME = re.compile(r"[a-z-]{1,32}")
_MOST = 256
_MOST_BYTES = 1 << 20
_LONGEST_NAME = 80
_TELL_S = 10.0
_POLL_S = 0.2
_AGAIN_S = 10.0


class TokenQueue:
    """A queue of (name, token), bounded in number and bytes, and its consumer. Tokens that are refused or find it full are counted.

    An order lost here arrives again: it is retained, and the ingest lists those without an answer.
    """

    def __init__(self, runtime: Runtime, what: str, take: Callable[[str, bytes], object]) -> None:
        self._runtime, self._what, self._take = runtime, what, take
        self._line: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._some = Condition()
        self._logged_s = -_TELL_S
        self.ignored = 0

    def put(self, name: str, token: bytes) -> None:
        """Queue a token, from any thread, without waiting. Signed text is short and ASCII: anything else is ignored."""
        with self._some:
            if not 0 < len(token) <= LONGEST or not token.isascii() or len(self._line) >= _MOST or self._bytes > _MOST_BYTES:
                self.ignored += 1
                return
            self._line.append((name, token))
            self._bytes += len(token)
            self._some.notify()

    def run(self) -> None:
        while not self._runtime.stop.is_set():
            self._runtime.beat()
            following = self._next()
            if following:
                self._do(*following)

    def _next(self) -> tuple[str, bytes] | None:
        with self._some:
            if not self._line:
                self._some.wait(_POLL_S)
            if not self._line:
                return None
            name, token = self._line.popleft()
            self._bytes -= len(token)
            return name, token

    def _do(self, name: str, token: bytes) -> None:
        try:
            with handling(f"{self._what} {name}"):
                self._take(name, token)
        except LyktaError as problem:
            self.ignored += 1
            if time.monotonic() - self._logged_s >= _TELL_S:
                self._logged_s = time.monotonic()
                self._runtime.log("warning", f"{self._what} {name}: {problem}", hint=problem.hint, ignored=self.ignored)


class DesiredRecords:
    """The records that the centre desires, by kind of record or by unit, as received since this process started.

    Passed to `lykta apply` again while that may help: the disk was full, or a view arrived before its basis. Of changed records
    only the newest is passed, with growing pauses, as each costs a run of `lykta apply`.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stands: dict[str, bytes] = {}
        self._rates: dict[str, DesiredRate] = {}

    def take(self, name: str, token: bytes) -> None:
        self._stands[name] = token
        self._leave(name, token)

    def drop(self, name: str) -> None:
        self._stands.pop(name, None)

    def run(self) -> None:
        logged: dict[str, str] = {}
        while not self._runtime.stop.wait(_AGAIN_S):
            self._runtime.beat()
            for name, token in self._stands.copy().items():
                try:
                    with handling(f"desired {name}"):
                        self._leave(name, token)
                except LyktaError as problem:
                    if logged.get(name) != str(problem):
                        self._runtime.log("warning", f"desired {name}: {problem}", hint=problem.hint)
                    logged[name] = str(problem)
                else:
                    logged.pop(name, None)

    def _leave(self, name: str, token: bytes) -> None:
        rate, now_s = self._rates.get(name, DesiredRate()), time.monotonic()
        if not rate.allows(token, now_s):
            return
        layout = self._runtime.layout
        left = leave_certificate(layout, name, token) if name in TLS_AND_UNITS else leave(layout, name, token)  # type: ignore[arg-type]
        if left:
            self._rates[name] = rate.after(token, now_s)


def _lane_of(service: Service) -> str:
    return f"cmd_{service}"


class Ignored(NamedTuple):
    """Counts of messages received and not passed on, by kind."""

    commands: int
    orders: int
    desired: int


class Downlink:
    """A lane for the commands of each service, for orders, and for the records and settings that `lykta apply` checks.

    own   the uplink's own commands
    """

    def __init__(self, runtime: Runtime, own: Callable[[GiveCommand], CommandTaken]) -> None:
        layout = runtime.layout

        def passed_to(service: Service) -> Callable[[str, bytes], object]:
            return lambda name, token: ask(layout.socket(service, "uplink"), GiveCommand(token.decode(), name))

        def obey_or_pass_on(name: str, token: bytes) -> None:
            # Some commands name their service themselves.
            service = addressed_to(token)
            if service == "uplink":
                own(GiveCommand(token.decode(), name))
            else:
                self._lanes[_lane_of(service)].put(name, token)

        handed: dict[str, str] = {}

        def order(name: str, token: bytes) -> None:
            # It is retained and arrives with every connection: an unstable link must not wear out the SD card.
            if handed.get(name) != sha256_hex(token):
                hand_over_order(layout, name, token.decode())
                handed[name] = sha256_hex(token)
                for old in list(handed)[:-_MOST]:
                    del handed[old]

        self._runtime, self._desired = runtime, DesiredRecords(runtime)
        self._lanes = {
            _lane_of("camera"): TokenQueue(runtime, "command_camera", passed_to("camera")),
            _lane_of("io"): TokenQueue(runtime, "command_io", passed_to("io")),
            _lane_of("uplink"): TokenQueue(runtime, "command_uplink", obey_or_pass_on),
            "order": TokenQueue(runtime, "order", order),
            "desired": TokenQueue(runtime, "desired", self._desired.take),
        }
        self._unknown = 0

    @property
    def ignored(self) -> Ignored:
        ignored = {kind: lane.ignored for kind, lane in self._lanes.items()}
        commands = sum(ignored[_lane_of(service)] for service in SERVICES)
        return Ignored(self._unknown + commands, ignored["order"], ignored["desired"])

    def start(self) -> None:
        for kind, lane in self._lanes.items():
            self._runtime.spawn(kind, lane.run, vital=False)
        self._runtime.spawn("standing", self._desired.run, vital=False)

    def received(self, tail: str, payload: bytes) -> None:
        """Dispatch a message, on the link's thread. tail: the topic after site and node."""
        kind, _, name = tail.partition("/")
        if not payload and (kind == "order" or name.endswith("desired")):
            self._desired.drop(kind if kind in KINDS else name.removesuffix("/desired"))
            return  # the centre withdrew it, or it was answered
        if kind == "order" and name.isdecimal() and name.isascii() and len(name) <= 8:
            self._lanes[kind].put(f"{int(name):08}", payload)
        elif name == "desired" and kind in KINDS:
            self._lanes["desired"].put(kind, payload)
        elif kind == "cert" and name.removesuffix("/desired") in TLS_AND_UNITS:
            self._lanes["desired"].put(name.removesuffix("/desired"), payload)
        elif kind == "cmd" and _NAME.fullmatch(name):
            known = COMMANDS.get(name)
            self._lanes[_lane_of(known.by if known and known.by else "uplink")].put(name, payload)
        else:
            self._count_unknown(tail)

    def _count_unknown(self, tail: str) -> None:
        """Logged at the first, the tenth, the hundredth …: a flood must not fill the system's log."""
        self._unknown += 1
        if str(self._unknown).strip("0") == "1":
            self._runtime.log("warning", "message: unknown, ignored", topic=tail[:_LONGEST_NAME], times=self._unknown)

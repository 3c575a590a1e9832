"""From the broker to the services: signed commands, orders and records, handed on as they came. Nothing is verified here.

The link's thread may wait for nothing, a service may take its time: each kind has a bounded queue and a thread of its own,
so that an acknowledgement of a press never waits behind an order.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, Full, Queue

from agent.applied import KINDS
from agent.control import ask
from agent.desired import LONGEST, leave, leave_certificate
from agent.inbox import hand_over
from agent.service import Runtime
from privacy.errors import LyktaError
from privacy.records import sha256_hex
from provisioning.identity import TLS_AND_UNITS

# Who obeys a command; anything else is refused here and counted.
COMMANDS = {"ack": "io", "light": "io"}
SUBSCRIBED = ("cmd/#", "order/#", *(f"{kind}/desired" for kind in KINDS), "cert/+/desired")
_MOST = 256
_POLL_S = 0.2
_AGAIN_S = 10.0


class Lane:
    """A bounded line of (name, token) and who takes them. What finds it full or is refused is told and counted.

    An order lost here comes again: it is retained, and the ingest names those without an answer.
    """

    def __init__(self, runtime: Runtime, what: str, take: Callable[[str, str], object]) -> None:
        self._runtime, self._what, self._take = runtime, what, take
        self._line: Queue[tuple[str, str]] = Queue(_MOST)
        self.ignored = 0

    def put(self, name: str, token: str) -> None:
        """From any thread; waits for nothing."""
        try:
            self._line.put_nowait((name, token))
        except Full:
            self.ignored += 1

    def run(self) -> None:
        while not self._runtime.stop.is_set():
            try:
                name, token = self._line.get(timeout=_POLL_S)
            except Empty:
                continue
            try:
                self._take(name, token)
            except LyktaError as problem:
                self.ignored += 1
                self._runtime.log("warning", f"{self._what} {name}: {problem}", hint=problem.hint)


class Standing:
    """What the centre desires, by kind of record or by unit, as long as this process hears of it.

    Left again as long as that may change something: the disk was full, or a view came before the basis that it was drawn for.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stands: dict[str, str] = {}

    def take(self, name: str, token: str) -> None:
        if len(token) <= LONGEST:
            self._stands[name] = token
        self._leave(name, token)

    def drop(self, name: str) -> None:
        self._stands.pop(name, None)

    def run(self) -> None:
        told = ""
        while not self._runtime.stop.wait(_AGAIN_S):
            for name, token in self._stands.copy().items():
                try:
                    self._leave(name, token)
                except LyktaError as problem:
                    if str(problem) != told:
                        self._runtime.log("warning", f"desired {name}: {problem}", hint=problem.hint)
                    told = str(problem)

    def _leave(self, name: str, token: str) -> None:
        if name in TLS_AND_UNITS:
            leave_certificate(self._runtime.layout, name, token)
        else:
            leave(self._runtime.layout, name, token)  # type: ignore[arg-type]


class Downlink:
    """A lane for commands, for orders and for the records and settings that `lykta apply` judges."""

    def __init__(self, runtime: Runtime) -> None:
        layout = runtime.layout

        def command(name: str, token: str) -> object:
            return ask(layout.socket(COMMANDS[name], "uplink"), {"verb": "command", "name": name, "jws": token})

        handed: dict[str, str] = {}

        def order(name: str, token: str) -> None:
            # It stands retained and comes with every connection: a bad link must not wear out the card.
            if handed.get(name) != sha256_hex(token.encode()):
                hand_over(layout, "order", name, token)
                handed[name] = sha256_hex(token.encode())

        self._runtime, self._standing = runtime, Standing(runtime)
        self._lanes = {
            "cmd": Lane(runtime, "command", command),
            "order": Lane(runtime, "order", order),
            "desired": Lane(runtime, "desired", self._standing.take),
        }
        self._unknown = 0

    @property
    def ignored(self) -> dict[str, int]:
        commands, orders = (self._lanes[kind].ignored for kind in ("cmd", "order"))
        facts = {"ignored_commands": self._unknown + commands, "ignored_orders": orders}
        return facts | {"ignored_desired": self._lanes["desired"].ignored}

    def start(self) -> None:
        for kind, lane in self._lanes.items():
            self._runtime.spawn(kind, lane.run)
        self._runtime.spawn("standing", self._standing.run)

    def received(self, tail: str, payload: bytes) -> None:
        """From the link's thread. tail: the topic after site and node."""
        kind, _, name = tail.partition("/")
        if not payload and (kind == "order" or name.endswith("desired")):
            self._standing.drop(kind if kind in KINDS else name.removesuffix("/desired"))
            return  # the centre took it back, or it was answered
        if kind == "order" and name.isdecimal() and len(name) <= 8:
            self._lanes[kind].put(f"{int(name):08}", payload.decode(errors="replace"))
        elif name == "desired" and kind in KINDS:
            self._lanes["desired"].put(kind, payload.decode(errors="replace"))
        elif kind == "cert" and name.removesuffix("/desired") in TLS_AND_UNITS:
            self._lanes["desired"].put(name.removesuffix("/desired"), payload.decode(errors="replace"))
        elif kind == "cmd" and name in COMMANDS:
            self._lanes[kind].put(name, payload.decode(errors="replace"))
        else:
            self._unknown += 1
            self._runtime.log("warning", "command: unknown, ignored", name=tail)

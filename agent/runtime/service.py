"""Common parts of the three services: single instance, signals, threads, states, systemd's notifications, two sockets.

Crash-only: the first failure of a thread ends the process with its exit code, and systemd starts it again. READY and
WATCHDOG are never sent by a timer: only `ready` and `fed`, which a service calls when work is finished. Every thread is started by
`spawn` and owes heartbeats from its start to its end, so that one that hangs is seen wherever it does.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from typing import Any, Literal, TypeVar

import msgspec

from agent.messages import Owner, StateName
from agent.runtime import own_process, refusal
from agent.runtime.ask_status import AskStatus
from agent.runtime.clocks import clock_of
from agent.runtime.commands.log_level import LogThreshold
from agent.runtime.config import Config
from agent.runtime.control import LONGEST_REQUEST, Replies, Reply, Request, listen, verb_of
from agent.runtime.heartbeats import STALLED_S, Heartbeats
from agent.runtime.settings_in_force import Effective, effective, for_help
from agent.runtime.state_journal import Note, StateJournal
from agent.runtime.status import STATUS, ServiceState, Status, StatusAnswer
from drivers import stderr, sysd, threads
from drivers.clock import SystemClock
from drivers.threads import Thread
from privacy.errors import AccessError, LyktaError, UsageError
from privacy.files import locked
from privacy.records.command_table import LogLevel
from provisioning.layout import Layout

_END_S, _TURN_S = 6.0, 0.1
"""Time for threads to end, counted in waits; TimeoutStopSec= is longer, and so is WatchdogSec= at the end of the hours."""
_LONGEST_PATH = 107
"""Bytes of a Unix socket's path (sun_path of unix(7), without the NUL)."""
_PR_SET_DUMPABLE = 4
_LONGEST = {"ctl": 288 * 1024}
"""Bytes of a request to the sockets with larger ones: a technician's diagnosis, in base64."""
R = TypeVar("R", bound=Request[Any])


class Runtime:
    """One running service. Its methods may be called from any thread."""

    def __init__(self, name: str, layout: Layout, config: Config) -> None:
        self.name, self.layout, self.config = name, layout, config
        self.clock = clock_of(layout, config, [name], name)
        self.stop = threading.Event()
        self.exit_code = 0
        self._log_from = LogThreshold()
        self._standing = ServiceState("starting", "start", self.clock.now(), None, "nobody")
        self._detail: Status = STATUS[name]()
        self._threads: list[Thread] = []
        self._lock = threading.Lock()
        self._fed_at = 0.0
        self._ready = False
        self._turns = round(_END_S / _TURN_S)
        self._heartbeats = Heartbeats()
        status = {verb_of(AskStatus): Reply(AskStatus, self._status)}
        self._replies: dict[str, Replies] = {"ctl": dict(status), "uplink": dict(status)}
        self._states: StateJournal | None = None
        self._restarts = own_process.count_start(layout.run / name / "starts.json", self.clock.boot_id)

    @property
    def standing(self) -> ServiceState:
        return self._standing

    def journal_states(self, note: Note) -> None:
        """From now on note each change of the state, beginning with the present one. note: writes an entry or queues it."""
        self._states = StateJournal(note)
        self._note_state()

    def _note_state(self) -> None:
        if journal := self._states:
            standing = self._standing
            journal.see(standing.state, standing.reason, standing.owner, standing.until)

    def enter(self, state: StateName, reason: str, *, until: datetime | None = None, owner: Owner = "nobody") -> None:
        """Set the state; the same state and reason keep their `since`."""
        self._set_state(state, reason, until, owner)
        self._note_state()

    def _set_state(self, state: StateName, reason: str, until: datetime | None, owner: Owner) -> None:
        with self._lock:
            old = self._standing
            same = (old.state, old.reason) == (state, reason)
            if same and (old.until, old.owner) == (until, owner):
                return
            self._standing = ServiceState(state, reason, old.since if same else self.clock.now(), until, owner)
        sysd.notify(f"STATUS={state}: {reason}" + (f" until {until:%Y-%m-%d %H:%M} UTC" if until else ""))
        if not same:
            self.log("info", f"state {state}", reason=reason, owner=owner)

    def ready(self) -> None:
        """Notify systemd that the service is ready."""
        if not self._ready:
            self._ready = True
            sysd.notify("READY=1")

    def fed(self) -> None:
        """Some work was finished: feeds the watchdog, at most once a second, unless a vital thread has stopped working."""
        now = time.monotonic()
        if now - self._fed_at >= 1.0 and not self._heartbeats.late(vital=True):
            self._fed_at = now
            sysd.notify("WATCHDOG=1")

    def beat(self, pause_s: float = 0.0) -> None:
        """Heartbeat of the calling thread, which now pauses for so long."""
        self._heartbeats.beat(pause_s)

    def stalled(self) -> str:
        """The first thread with a late heartbeat, as a stable code (`keeper_stalled`); "" if all work."""
        late = self._heartbeats.late()
        return f"{late[0].replace('-', '_')}_stalled" if late else ""

    def report(self, status: Status) -> None:
        """Set the detail of the status answer. The fields about settings are kept."""
        with self._lock:
            old = self._detail
            self._detail = msgspec.structs.replace(status, config_version=old.config_version, config_trouble=old.config_trouble)

    @property
    def detail(self) -> Status:
        return self._detail

    def settings(self, version: int, trouble: str) -> None:
        """Set which signed settings are in force, or why none are."""
        with self._lock:
            self._detail = msgspec.structs.replace(self._detail, config_version=version, config_trouble=trouble)

    def answer(self, kind: type[R], give: Callable[[R], object], *, on: Literal["ctl", "uplink"]) -> None:
        """Answer a kind of request on one of the two sockets that every service has."""
        verb = verb_of(kind)

        def logged(request: R) -> object:
            begun_ms = self.clock.mono_ms()
            try:
                return give(request)
            finally:
                self.log("debug", f"request {verb}", socket=on, ms=self.clock.mono_ms() - begun_ms)

        self._replies[on][verb] = Reply(kind, logged)

    def log(self, level: LogLevel, message: str, **fields: object) -> None:
        if self._log_from.passes(level, self.clock.mono_ms()):
            sysd.log(self.name, level, message, **fields)

    def set_log_level(self, level: LogLevel, minutes: int) -> None:
        """Log from this level up, for so many minutes. At `debug`: what was asked of the service and which
        kind of message was sent, never content or ids."""
        self.log("warning", f"log level {level} for {minutes} min")
        self._log_from.set(level, self.clock.mono_ms() + minutes * 60_000)

    def spawn(self, name: str, work: Callable[[], None], within_s: float = STALLED_S, *, vital: bool = True) -> Thread:
        """Start a thread. Its failure ends the service; until its end it owes heartbeats (`beat`).

        within_s   most time between two heartbeats; the first is due so long after the start
        vital      the thread waits for no other party: if it stops, a restart may help. A thread that waits for a disk, a lock or
                   another service is not vital: `stalled` reports it, and the service is degraded, as its other threads still work
        """
        thread = f"{self.name}-{name}"
        self._heartbeats.owe(thread, name, within_s, vital=vital)

        def until_its_end() -> None:
            work()
            self._heartbeats.end(thread)

        self._threads.append(threads.start(thread, until_its_end, self.fail))
        return self._threads[-1]

    def fail(self, problem: BaseException) -> None:
        """End the service because of this problem."""
        tell(problem)
        if not self.exit_code and (code := refusal.code_of(problem)):
            refusal.leave(self.layout, self.name, code, self.clock)
        self.exit_code = self.exit_code or (problem.exit_code if isinstance(problem, LyktaError) else 1)
        self.stop.set()

    def hear_signals(self) -> None:
        """SIGTERM and SIGINT end the service.

        By a wake-up socket and a thread: the kernel may deliver the signal to a thread of numpy, and the main thread, which
        alone runs Python's handlers, would then not wake up; and a handler must not take the event's lock.
        """
        ends = socket.socketpair()
        for end in ends:
            end.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(ends[1].fileno())

        def wait() -> None:
            while not self.stop.is_set():
                self.beat()
                if select.select([ends[0]], [], [], 0.2)[0]:
                    self.stop.set()

        self.spawn("signals", wait)

    def open_sockets(self) -> None:
        for name, replies in self._replies.items():
            self.open_socket(name, replies)

    def open_socket(self, name: str, replies: Replies) -> None:
        """Answer on a socket of this name until the service stops. Its thread is not vital: an answer may wait for a disk."""
        path, longest = self.layout.socket(self.name, name), _LONGEST.get(name, LONGEST_REQUEST)
        self.spawn(name, lambda: listen(path, replies, self.going_on, longest), vital=False)

    def going_on(self) -> bool:
        """Heartbeat of the calling thread; whether it has to go on."""
        self.beat()
        return not self.stop.is_set()

    def late(self, *threads: Thread) -> list[str]:
        """Wait for these threads; returns the names of those that did not end in time. After the stop all share one timeout.

        Waits are counted, not clock time: a process that got no processor time has not waited, and its threads did not run.
        """
        turns = self._turns if self.stop.is_set() else round(_END_S / _TURN_S)
        for thread in threads:
            while thread.is_alive() and turns:
                thread.join(_TURN_S)
                turns -= 1
        if self.stop.is_set():
            self._turns = turns
        return [thread.name for thread in threads if thread.is_alive()]

    def join(self) -> None:
        """Wait for all threads; one that will not end is an error."""
        late = self.late(*self._threads)
        if late:
            self.log("error", "threads did not end", threads=",".join(late))
            self.exit_code = self.exit_code or 1

    def _status(self, _request: AskStatus) -> StatusAnswer[Status]:
        with self._lock:
            return StatusAnswer(self._standing, self.present_status(), service=self.name, pid=os.getpid())

    def present_status(self) -> Status:
        """The detail, with what every service says of its clock and its process as they are now."""
        own = own_process.usage()
        return msgspec.structs.replace(
            self._detail,
            clock=self.clock.state(),
            restarts=self._restarts,
            memory_mb=own.memory_mb,
            threads=own.threads,
            descriptors=own.descriptors,
        )


def run_service(name: str, layout: Layout, run: Callable[[Runtime], None]) -> int:
    """Run a service until it is stopped or fails; returns the exit code."""
    try:
        lock = _only_instance(layout, name)
        refusal.take_back(layout, name)
        settings = _settings_of(layout, name)
    except LyktaError as problem:
        tell(problem)
        return problem.exit_code
    # No core dump and no debugger: a core of the camera would contain unmasked frames (R17).
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    runtime = Runtime(name, layout, settings.config)
    if settings.trouble:
        runtime.log("error", f"{settings.trouble}; {layout.config.name} alone is in force", hint=settings.trouble.hint)
    runtime.settings(settings.version, str(settings.trouble or ""))
    runtime.hear_signals()
    runtime.open_sockets()
    try:
        run(runtime)
    except BaseException as problem:  # noqa: BLE001 - crash-only: logged, and the process ends with its code
        runtime.fail(problem)
    _end(runtime)
    lock.close()
    return runtime.exit_code


def _settings_of(layout: Layout, name: str) -> Effective:
    """The settings of a service; an error, which is also left for the uplink, if it must not work with them."""
    try:
        settings = for_help(layout) if name == "io" else effective(layout)
    except LyktaError:
        refusal.leave(layout, name, refusal.SETTINGS, SystemClock("host"))
        raise
    if settings.trouble and name == "camera":
        # These settings may have demanded a stronger mask: the camera must not film without them. Help and the link go on.
        refusal.leave(layout, name, refusal.CONFIGURATION, SystemClock("host"))
        raise settings.trouble
    return settings


def tell(problem: BaseException) -> None:
    """Print an error and its hint; an unexpected one with its traceback."""
    if isinstance(problem, LyktaError):
        stderr.error(problem)
    else:
        stderr.unexpected(problem)


def _end(runtime: Runtime) -> None:
    sysd.notify("STOPPING=1")
    runtime.stop.set()
    runtime.enter("stopping", "told_to" if runtime.exit_code == 0 else "failed")
    runtime.join()
    if runtime.exit_code:
        # A thread that hangs in a driver or a network must not keep the process from ending.
        os._exit(runtime.exit_code)


def _only_instance(layout: Layout, name: str) -> ExitStack:
    """The lock against a second instance; held until the process ends."""
    folder = layout.run / name
    longest = max((os.fsencode(path) for path in (layout.socket("uplink", "uplink"), layout.trigger, layout.presence)), key=len)
    if len(longest) > _LONGEST_PATH:
        over = len(longest) - _LONGEST_PATH
        raise UsageError(f"LYKTA_ROOT: its sockets' paths would be {over} bytes too long (got {layout.root})", "a shorter folder")
    held = ExitStack()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(locked(folder, "lock", wait=False))
    except BlockingIOError as problem:
        raise UsageError(f"lykta {name}: runs already here", f"`lykta status`; systemctl stop lykta-{name}") from problem
    except OSError as problem:
        raise AccessError(f"{folder}: {problem.strerror}", "run it by systemd, or set LYKTA_ROOT to a folder of yours") from problem
    return held

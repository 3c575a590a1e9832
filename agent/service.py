"""What the three services share: one instance, signals, threads that end, states, systemd's notifications, two sockets.

Crash-only: the first failure of a thread ends the process with its exit code, and systemd starts it again. READY and
WATCHDOG are never sent by a timer: only `ready` and `fed`, which a service calls when work is finished.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, TextIO

import msgspec
from msgspec import Struct

from agent.clocks import clock_of
from agent.config import Config
from agent.control import Reply, Request, listen
from agent.messages import Owner, StateName
from agent.overlay import effective, for_help
from drivers import sysd
from privacy.errors import AccessError, LyktaError, UsageError
from provisioning.layout import Layout

_JOIN_S = 1.5
_LONGEST_PATH = 107
"""Bytes of a Unix socket's path (sun_path of unix(7), without the NUL)."""
_PR_SET_DUMPABLE = 4


class Standing(Struct, frozen=True):
    """The state of a service, why, since when and until when, and who has to act."""

    state: StateName
    reason: str
    since: datetime
    until: datetime | None
    owner: Owner


class Runtime:
    """One running service. Its methods may be called from any thread."""

    def __init__(self, name: str, layout: Layout, config: Config) -> None:
        self.name, self.layout, self.config = name, layout, config
        self.clock = clock_of(layout, config, [name])
        self.stop = threading.Event()
        self.exit_code = 0
        self._standing = Standing("starting", "start", self.clock.now(), None, "nobody")
        self._detail: dict[str, Any] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._fed_at = 0.0
        self._ready = False
        self._replies: dict[str, dict[str, Reply]] = {"ctl": {"status": self._status}, "uplink": {"status": self._status}}

    @property
    def standing(self) -> Standing:
        return self._standing

    def enter(self, state: StateName, reason: str, *, until: datetime | None = None, owner: Owner = "nobody") -> None:
        """Take a new standing; the same state and reason keep their `since`."""
        with self._lock:
            old = self._standing
            same = (old.state, old.reason) == (state, reason)
            if same and (old.until, old.owner) == (until, owner):
                return
            self._standing = Standing(state, reason, old.since if same else self.clock.now(), until, owner)
        sysd.notify(f"STATUS={state}: {reason}" + (f" until {until:%Y-%m-%d %H:%M} UTC" if until else ""))
        if not same:
            self.log("info", f"state {state}", reason=reason, owner=owner)

    def ready(self) -> None:
        """The service does what it is for."""
        if not self._ready:
            self._ready = True
            sysd.notify("READY=1")

    def fed(self) -> None:
        """Some work was finished: feeds the watchdog, at most once a second."""
        now = time.monotonic()
        if now - self._fed_at >= 1.0:
            self._fed_at = now
            sysd.notify("WATCHDOG=1")

    def report(self, **numbers: Any) -> None:
        """Numbers and words for the status answer."""
        with self._lock:
            self._detail |= numbers

    def answer(self, verb: str, reply: Reply, *, on: Literal["ctl", "uplink"]) -> None:
        """Answer a request on one of the two sockets that every service has."""
        self._replies[on][verb] = reply

    def log(self, level: Literal["info", "warning", "error"], message: str, **fields: object) -> None:
        sysd.log(self.name, level, message, **fields)

    def spawn(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """A named thread whose failure is the service's."""

        def guarded() -> None:
            try:
                work()
            except BaseException as problem:  # noqa: BLE001 - crash-only: told, and the process ends with its code
                self.fail(problem)

        thread = threading.Thread(target=guarded, name=f"{self.name}-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def fail(self, problem: BaseException) -> None:
        """End the service because of this problem."""
        tell(problem)
        self.exit_code = self.exit_code or (problem.exit_code if isinstance(problem, LyktaError) else 1)
        self.stop.set()

    def hear_signals(self) -> None:
        """SIGTERM and SIGINT end the service.

        Through a wake-up socket and a thread: the kernel may give the signal to a thread of numpy's, and the main thread,
        which alone runs Python's handlers, would then sleep on; nor may a handler take the event's lock.
        """
        ends = socket.socketpair()
        for end in ends:
            end.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(ends[1].fileno())

        def wait() -> None:
            while not self.stop.is_set():
                if select.select([ends[0]], [], [], 0.2)[0]:
                    self.stop.set()

        self.spawn("signals", wait)

    def open_sockets(self) -> None:
        for name, replies in self._replies.items():
            self.open_socket(name, replies)

    def open_socket(self, name: str, replies: dict[str, Reply]) -> None:
        """Answer on a socket of this name until the service stops."""
        path = self.layout.socket(self.name, name)
        self.spawn(name, lambda: listen(path, replies, self.stop))

    def join(self) -> None:
        """Wait for the threads; one that will not end is an error."""
        end = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(0.05, end - time.monotonic()))
        late = [thread.name for thread in self._threads if thread.is_alive()]
        if late:
            self.log("error", "threads did not end", threads=",".join(late))
            self.exit_code = self.exit_code or 1

    def _status(self, _request: Request) -> Request:
        with self._lock:
            standing, detail = msgspec.to_builtins(self._standing), {"clock": self.clock.state(), **self._detail}
        return {"schema": "lykta.service/1", "service": self.name, "pid": os.getpid(), "standing": standing, "detail": detail}


def run_service(name: str, layout: Layout, body: Callable[[Runtime], None]) -> int:
    """Run a service until it is told to stop or fails; returns the exit code."""
    try:
        lock = _only_instance(layout, name)
        settings = for_help(layout) if name == "io" else effective(layout)
        if settings.trouble and name == "camera":
            # It may have asked for a stronger mask: every failure makes the picture darker. Help and the link go on without it.
            raise settings.trouble
    except LyktaError as problem:
        tell(problem)
        return problem.exit_code
    # No core dump and no debugger: a core of the camera would hold unmasked frames (R17).
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    runtime = Runtime(name, layout, settings.config)
    if settings.trouble:
        runtime.log("error", f"{settings.trouble}; {layout.config.name} alone is in force", hint=settings.trouble.hint)
        runtime.report(config_trouble=str(settings.trouble))
    elif settings.version:
        runtime.report(config_version=settings.version)
    runtime.hear_signals()
    runtime.open_sockets()
    try:
        body(runtime)
    except BaseException as problem:  # noqa: BLE001 - crash-only: told, and the process ends with its code
        runtime.fail(problem)
    _end(runtime)
    lock.close()
    return runtime.exit_code


def tell(problem: BaseException) -> None:
    """An error in the words of the design; an unforeseen one with its traceback."""
    if isinstance(problem, LyktaError):
        sys.stderr.write(f"error: {problem}\n" + (f"hint: {problem.hint}\n" if problem.hint else ""))
    else:
        sys.stderr.write("".join(traceback.format_exception(problem)))
        sys.stderr.write(f"error: {type(problem).__name__}: {problem}\nhint: this should not happen; please report it\n")
    sys.stderr.flush()


def _end(runtime: Runtime) -> None:
    sysd.notify("STOPPING=1")
    runtime.stop.set()
    runtime.enter("stopping", "told_to" if runtime.exit_code == 0 else "failed")
    runtime.join()
    if runtime.exit_code:
        # A thread that hangs in a driver or a network must not keep the process from ending.
        sys.stderr.flush()
        os._exit(runtime.exit_code)


def _only_instance(layout: Layout, name: str) -> TextIO:
    """The lock that keeps a second instance out; held until the process ends."""
    folder = layout.run / name
    longest = max((os.fsencode(path) for path in (layout.socket("uplink", "uplink"), layout.trigger, layout.presence)), key=len)
    if len(longest) > _LONGEST_PATH:
        over = len(longest) - _LONGEST_PATH
        raise UsageError(f"LYKTA_ROOT: its sockets' paths would be {over} bytes too long (got {layout.root})", "a shorter folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as problem:
        raise AccessError(f"{folder}: {problem.strerror}", "run it by systemd, or set LYKTA_ROOT to a folder of yours") from problem
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        lock.close()
        raise UsageError(f"lykta {name}: runs already here", f"`lykta status`; systemctl stop lykta-{name}") from problem
    return lock

"""Each file in its own process: an input that crashes or hangs FFmpeg, or takes all memory, ends that process, not the batch.

The child is forked from a parent that has decoded nothing and loaded no network, so it costs 7 ms and no second startup.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from privacy.errors import LyktaError, MediaError, ModelError, RecordError
from privacy.foreign import decode

_PATIENCE_S = 5.0
_LONGEST = 1 << 20
_WAIT_S, _TELL_S = 1.0, 0.25
_PICTURE, _READ = b"p", b"r"
"""Progress bytes that a child sends before its answer, which begins with a brace."""
_FORK = multiprocessing.get_context("fork")


class _Answer(msgspec.Struct, frozen=True):
    """The answer of a child: the report of its file, or the error."""

    facts: dict[str, Any] | None = None
    error: str = ""
    hint: str = ""
    exit_code: int = 1


class Progress:
    """Reports progress on a file from child to parent. Without a connection it does nothing.

    A child that reports nothing for long is ended, but only until it has read the whole input: a slow disk for the output is
    not the fault of the file.
    """

    def __init__(self, there: Connection | None = None) -> None:
        self._there, self._told = there, time.monotonic()

    def picture(self) -> None:
        """One more picture was read. Sent at most four times a second."""
        now = time.monotonic()
        if now - self._told >= _TELL_S:
            self._told = now
            self._tell(_PICTURE)

    def read(self) -> None:
        """The whole input was read."""
        self._tell(_READ)

    def _tell(self, what: bytes) -> None:
        if self._there:
            self._there.send_bytes(what)


Work = Callable[[Progress], dict[str, Any]]


def apart(what: str, work: Work, give_up_s: int) -> dict[str, Any]:
    """The result of `work`, run in a child. Raises `ModelError` for models, `MediaError` for any other failure.

    give_up_s  seconds from one picture to the next after which the child is ended
    """
    here, there = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_child, args=(work, there))
    child.start()
    there.close()
    try:
        data = _received(here, what, give_up_s)
    except BaseException:
        child.terminate()
        child.join(_PATIENCE_S)
        child.kill()
        raise
    finally:
        child.join()
    if not data:
        raise _crash(what, child.exitcode or 0)
    try:
        answer = decode(data, _Answer, what, most=_LONGEST)
    except RecordError as problem:
        raise MediaError(f"{problem}", "its process was overwritten by what it read") from problem
    if answer.facts is None:
        raise (ModelError if answer.exit_code == ModelError.exit_code else MediaError)(answer.error, answer.hint)
    return answer.facts


def stop_on(*signals: signal.Signals) -> None:
    """Make these signals end the command like Ctrl-C, with cleanup."""
    for number in signals:
        signal.signal(number, signal.default_int_handler)


def _child(work: Work, there: Connection) -> None:
    # The parent handles Ctrl-C and ends its child.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # A core dump would contain unmasked pictures.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    there.send_bytes(msgspec.json.encode(_answer(work, Progress(there))))


def _answer(work: Work, progress: Progress) -> _Answer:
    try:
        return _Answer(work(progress))
    except LyktaError as problem:
        return _Answer(None, _text(str(problem)), _text(problem.hint), problem.exit_code)
    except Exception as problem:  # noqa: BLE001 - a foreign file may raise anything in two libraries; it must not end the batch
        return _Answer(None, _text(f"cannot be masked: {type(problem).__name__}: {problem}"), "please report it, with the file")


def _text(said: str) -> str:
    """Text that can be encoded: file names may be any bytes."""
    return said.encode(errors="surrogateescape").decode(errors="replace")


def _received(here: Connection, what: str, give_up_s: int) -> bytes:
    """The child's answer; empty if it ended without one. Raises `MediaError` if it makes no progress."""
    quiet, reading = 0, True
    with here:
        # Counts seconds of waiting, not wall time: the time in which the command was stopped (Ctrl-Z) does not count.
        while quiet < give_up_s or not reading:
            if not here.poll(_WAIT_S):
                quiet += 1
                continue
            try:
                data = here.recv_bytes()
            except EOFError:
                return b""
            if data not in (_PICTURE, _READ):
                return data
            quiet, reading = 0, reading and data == _PICTURE
    hint = "FFmpeg hangs or looks for pictures that are not there; if it is only slow, --give-up SECONDS waits longer"
    raise MediaError(f"{_text(what)}: no further picture in {give_up_s} s", hint)


def _crash(what: str, code: int) -> MediaError:
    if code == -signal.SIGKILL:
        return MediaError(f"{_text(what)}: was ended from outside while it was masked", "if memory was short, scale it down first")
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return MediaError(f"{_text(what)}: FFmpeg crashed on it ({name})", "nothing was written; convert it with another tool first")

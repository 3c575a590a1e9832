"""A real mosquitto on 127.0.0.1 with mutual TLS, and a small centre that issues the certificates.

The name in the certificate is the user name; the access list lets a node write only below its own
topics and read only what is meant for it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from central.keys.broker import ROLES, Listeners, write
from central.keys.bundle import Address
from central.keys.keygen import issue, keygen
from privacy.records.zone import stockholm

PATIENCE = 4
"""A shared machine, or its disk, may be that much slower than the one on which a bound was chosen: each bound is multiplied."""
_PORTS = 200
_MARKS: list[socket.socket] = []
SITE, NODE = "city", "stop-1"
NAME = f"{SITE}/{NODE}"
HERE = f"lykta/v1/{SITE}/{NODE}"


def until(met: Callable[[], Any], what: str, limit_s: float = 30.0) -> Any:
    """Wait until something is so, and give it; the bound only keeps a broken test from waiting for ever.

    What `met` looks up and does not find (a `LookupError`) is not so yet: a list is still empty, a service does not answer.
    """
    end = time.monotonic() + PATIENCE * limit_s
    while not (value := _found(met)):
        assert time.monotonic() < end, f"waited {PATIENCE * limit_s:g} s in vain until {what}"
        time.sleep(0.02)
    return value


def _found(met: Callable[[], Any]) -> Any:
    with suppress(LookupError):
        return met()


def listens(where: Path | int) -> bool:
    """Whether somebody listens on a Unix socket or a port: its file, or its number, is there before."""
    family, address = (socket.AF_INET, ("127.0.0.1", where)) if isinstance(where, int) else (socket.AF_UNIX, str(where))
    with socket.socket(family) as line:
        return line.connect_ex(address) == 0


def this_day() -> datetime:
    """Now, with some minutes of the day left at least, here and in UTC: what counts by the day begins anew at midnight."""
    now = until(_within_the_day, "midnight is over", 200)
    assert isinstance(now, datetime)
    return now.replace(microsecond=0)


def _within_the_day() -> datetime | None:
    now = datetime.now(UTC)
    return None if now.minute >= 57 and {now.hour, now.astimezone(stockholm()).hour} & {23} else now


def whole_lines(path: Path) -> list[str]:
    """The lines of a file that somebody is writing; the last one may not be there in full yet."""
    text = path.read_text(errors="replace")
    return text[: text.rfind("\n") + 1].splitlines()


def free_port() -> int:
    """A port that nobody else is given, however long it is not listened on.

    Below the ports that the kernel gives to connections, and from a block that is this process's until it ends: tests that run
    beside this one (workers, a second suite) draw from other blocks.
    """
    for port in itertools.islice(_block(), 2 * _PORTS):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port in this process's block")


@cache
def _block() -> Iterator[int]:
    """The block's ports, round and round. A socket in the abstract namespace is its mark: it goes with the process."""
    for first in range(10_000, 30_000, _PORTS):
        mark = socket.socket(socket.AF_UNIX)
        with suppress(OSError):
            mark.bind(f"\0lykta-tests-ports-{first}")
            _MARKS.append(mark)
            return itertools.cycle(range(first, first + _PORTS))
        mark.close()
    raise AssertionError("all blocks of ports are taken")


class Centre:
    """The centre's folder of keys, made by its own code, and what it issues."""

    def __init__(self, folder: Path) -> None:
        keygen(folder, ["localhost", "127.0.0.1"])
        self.folder, self.ca = folder, folder / "ca.pem"

    def issue(self, name: str, role: str, folder: Path | None = None, file: str = "") -> Path:
        """Key and certificate for a name; the certificate's path (the key lies beside it)."""
        target = (folder or self.folder) / (file or role)
        target.parent.mkdir(parents=True, exist_ok=True)
        issue(self.folder, target, name, role)
        return target.with_name(f"{target.name}.pem")


@dataclass(frozen=True)
class Published:
    """What the operator's ear heard."""

    topic: str
    retain: bool
    expiry_s: int | None
    payload: str

    @property
    def tail(self) -> str:
        return self.topic.removeprefix(f"{HERE}/")


class Broker:
    """mosquitto as a process that can be stopped and started again on the same port, keeping its sessions."""

    def __init__(self, folder: Path, centre: Centre) -> None:
        self.folder, self.centre, self.port, self.operators = folder, centre, free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "broker.log"
        self._configure()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [_tool("mosquitto"), "-c", self.folder / "broker.conf"], stdout=log, stderr=subprocess.STDOUT
            )
        until(lambda: listens(self.port) and listens(self.operators), f"mosquitto listens: {self.log}")

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(PATIENCE * 10)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    @contextmanager
    def ear(self, topics: str = "lykta/v1/#", *, as_certificate: Path | None = None) -> Iterator[Callable[[], list[Published]]]:
        """A stock client that writes down everything; the call gives what it heard so far.

        Its session outlives a stop of the broker, so that nothing published before it is back is missed.
        """
        name = f"ear-{time.monotonic_ns()}"
        heard = self.folder / f"{name}.log"
        # A stock client writing to a file keeps its lines back; stdbuf makes it tell each at once.
        # And it ends at a handshake that a stopping broker breaks off: it is started again, into the same session.
        words = ["sh", "-c", 'while :; do "$@"; sleep 0.2; done', "ear"]
        words += ["stdbuf", "-oL", _tool("mosquitto_sub"), *self.options(as_certificate), "-q", "1", "-d", "-t", topics]
        words += ["-c", "-x", "3600", "-i", name, "-F", "%r\t%E\t%t\t%p"]
        with heard.open("wb") as log:
            process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                until(lambda: "Subscribed" in heard.read_text(), "the ear has subscribed")
                yield lambda: [message for line in whole_lines(heard) if (message := _heard(line))]
            finally:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(PATIENCE * 10)

    def publish(self, topic: str, payload: str, *, retain: bool = False, as_certificate: Path | None = None) -> str:
        """Publish once as a stock client; its debug output, which holds the broker's reason."""
        words = [_tool("mosquitto_pub"), *self.options(as_certificate), "-q", "1", "-d", "-t", topic, "-m", payload]
        words += ["-r"] if retain else []
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE * 20, check=False)
        return done.stdout + done.stderr

    def options(self, certificate: Path | None = None) -> list[str]:
        mine = certificate or self.centre.folder / "ops.pem"
        port = self.operators if mine.stem in ROLES else self.port
        tls = ["--cafile", self.centre.ca, "--cert", mine, "--key", mine.with_suffix(".key")]
        return ["-V", "5", "-h", "127.0.0.1", "-p", str(port), *map(str, tls)]

    def _configure(self) -> None:
        """What `lykta-central broker` writes; and all that happens goes to the log."""
        listeners = Listeners(Address("127.0.0.1", self.port), Address("127.0.0.1", self.operators))
        # else mosquitto drops to a user that may not read these keys
        path = write(self.centre.folder, self.folder, listeners, "root" if os.geteuid() == 0 else "")
        with path.open("a") as file:
            file.write("log_type all\n")


def _heard(line: str) -> Published | None:
    """One line of the ear; its debug lines have no tabs."""
    parts = line.split("\t", 3)
    if len(parts) != 4:
        return None
    retain, expiry, topic, payload = parts
    return Published(topic, retain == "1", int(expiry) if expiry else None, payload)


def _tool(name: str) -> str:
    """mosquitto lies in /usr/sbin, which is not on every user's path."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert found, f"{name} is not installed: apt install mosquitto mosquitto-clients"
    return found

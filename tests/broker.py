"""A real mosquitto on 127.0.0.1 with mutual TLS, and a small centre that issues the certificates.

The name in the certificate is the user name; the access list lets a node write only below its own
topics and read only what is meant for it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from central.keys import issue, keygen

PATIENCE = 4
"""A shared machine, or its disk, may be that much slower than the one on which a bound was chosen."""
SITE, NODE = "city", "stop-1"
NAME = f"{SITE}/{NODE}"
HERE = f"lykta/v1/{SITE}/{NODE}"
ACL = """user ops
topic readwrite lykta/v1/#

pattern write lykta/v1/%u/#
pattern read lykta/v1/%u/cmd/#
pattern read lykta/v1/%u/order/#
pattern read lykta/v1/%u/config/desired
pattern read lykta/v1/%u/basis/desired
pattern read lykta/v1/%u/view/desired
pattern read lykta/v1/%u/cert/+/desired
"""


def until(met: Callable[[], object], what: str, limit_s: float = 20.0) -> None:
    """Wait until something is so; the bound only keeps a broken test from waiting for ever."""
    end = time.monotonic() + PATIENCE * limit_s
    while not met():
        assert time.monotonic() < end, f"waited {limit_s:g} s in vain until {what}"
        time.sleep(0.02)


def whole_lines(path: Path) -> list[str]:
    """The lines of a file that somebody is writing; the last one may not be there in full yet."""
    text = path.read_text(errors="replace")
    return text[: text.rfind("\n") + 1].splitlines()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
        self.folder, self.centre, self.port = folder, centre, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "broker.log"
        (folder / "broker.acl").write_text(ACL)
        (folder / "broker.acl").chmod(0o600)
        self._configure()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [_tool("mosquitto"), "-c", self.folder / "broker.conf"], stdout=log, stderr=subprocess.STDOUT
            )
        until(self._listens, f"mosquitto listens: {self.log.read_text()}")

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

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
                process.wait(10)

    def publish(self, topic: str, payload: str, *, retain: bool = False, as_certificate: Path | None = None) -> str:
        """Publish once as a stock client; its debug output, which holds the broker's reason."""
        words = [_tool("mosquitto_pub"), *self.options(as_certificate), "-q", "1", "-d", "-t", topic, "-m", payload]
        words += ["-r"] if retain else []
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
        return done.stdout + done.stderr

    def options(self, certificate: Path | None = None) -> list[str]:
        mine = certificate or self.centre.folder / "ops.pem"
        tls = ["--cafile", self.centre.ca, "--cert", mine, "--key", mine.with_suffix(".key")]
        return ["-V", "5", "-h", "127.0.0.1", "-p", str(self.port), *map(str, tls)]

    def _configure(self) -> None:
        (self.folder / "broker.conf").write_text(
            f"listener {self.port} 127.0.0.1\ncafile {self.centre.ca}\ncertfile {self.centre.folder}/broker.pem\n"
            f"keyfile {self.centre.folder}/broker.key\nrequire_certificate true\nuse_identity_as_username true\n"
            f"acl_file {self.folder}/broker.acl\nallow_anonymous false\nlog_type all\n"
            f"persistence true\npersistence_location {self.folder}/\nmax_queued_messages 0\n"
            + ("user root\n" if os.geteuid() == 0 else "")  # else mosquitto drops to a user that may not read these keys
        )

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


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

"""A real PostgreSQL on 127.0.0.1 that a test can kill and start again. initdb refuses root: then it runs as the user postgres."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.broker import PATIENCE, free_port, listens, until


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    assert found, "PostgreSQL is not installed: apt install postgresql"
    return found[-1].parent


class Postgres:
    """A cluster in a folder of its own. url: of SQLAlchemy."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self._process = folder, free_port(), None
        self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
        self.url = f"postgresql+psycopg://lykta@127.0.0.1:{self.port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "postgres.log"
        self._run(
            _programs() / "initdb", "-D", folder / "data", "-U", "lykta", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"
        )

    def start(self) -> None:
        words = [_programs() / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-c", "listen_addresses=127.0.0.1"]
        words += ["-c", f"unix_socket_directories={self.folder}", "-c", "max_connections=50"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*self._as, *words], stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        until(self._answers, f"PostgreSQL answers: {self.log}")

    def kill(self) -> None:
        """As a power cut or the kernel's memory killer would: no process of it is left."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """At once, with the connections broken."""
        self._end(signal.SIGINT)

    def _end(self, number: signal.Signals) -> None:
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            self._process.wait(PATIENCE * 20)
            self._process = None
            with suppress(FileNotFoundError):
                until(lambda: not listens(self.port), "PostgreSQL is gone")

    def _answers(self) -> bool:
        done = subprocess.run(
            [_programs() / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False, timeout=PATIENCE * 10
        )
        return done.returncode == 0

    def _run(self, *words: str | Path) -> None:
        done = subprocess.run([*self._as, *words], capture_output=True, text=True, check=False, timeout=PATIENCE * 60)
        assert done.returncode == 0, done.stderr


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A running server; skips where neither the user postgres nor another one than root can run it."""
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("initdb refuses root, and there is no setpriv")
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("initdb refuses root, and there is no user postgres")
    # pytest's own folders are closed to other users.
    with tempfile.TemporaryDirectory(prefix="lykta-postgres-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        server = Postgres(folder)
        try:
            server.start()
            yield server
        finally:
            server.kill()

"""Processes and ports of the demo: real programs on 127.0.0.1, started, awaited and ended."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

from privacy.errors import MediaError, UnreachableError

Process = subprocess.Popen[bytes]
_READY_S = 30.0


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(port: int, name: str, logs: Path) -> None:
    """Wait until a server answers; `UnreachableError` if it never does."""
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise UnreachableError(f"demo: {name} does not answer on port {port}", f"see {logs}")


def tool(name: str) -> str:
    """Path of an installed program."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if not found:
        raise MediaError(f"demo: {name} is not installed", "make setup")
    return found


def end(process: Process) -> None:
    """End a process by SIGTERM, or by SIGKILL if it does not end."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def peak_mb(process: Process) -> float:
    """Peak resident memory in MB (VmHWM)."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0

"""Run in the place of a service, under its very unit: what of the machine and of its neighbours can be reached from there.

usage: probe.py OUT FACTS     FACTS: JSON: pids of the neighbours, files to read and to write, sockets, devices
Writes {"<what>": "ok" | "<errno>"} as JSON. It tries each thing for real; nothing here asks for permission first.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

FAMILIES = {"INET": 2, "INET6": 10, "NETLINK": 16, "PACKET": 17, "ALG": 38, "VSOCK": 40}
_libc = ctypes.CDLL(None, use_errno=True)
_PTRACE_ATTACH = 16


def outcome(act: Callable[[], object]) -> str:
    try:
        act()
    except OSError as problem:
        return errno.errorcode.get(problem.errno or 0, str(problem))
    return "ok"


def called(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "")


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(path)


def dial(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as line:
        line.settimeout(3)
        line.connect(("127.0.0.1", port))


def listen(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as line:
        line.bind(("127.0.0.1", port))


def look_inside(pid: int) -> None:
    """process_vm_readv(2) of one byte; the address is of no matter, the right is judged first."""
    here = ctypes.create_string_buffer(1)

    class Span(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    local, remote = Span(ctypes.addressof(here), 1), Span(ctypes.addressof(here), 1)
    called(_libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0))


def run_from(folder: str) -> None:
    program = Path(folder) / "probe-program"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o700)
    subprocess.run([str(program)], check=True)


def say(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
        mouth.sendto(b"{}", path)


def core_limit() -> str:
    return str(resource.getrlimit(resource.RLIMIT_CORE))


def look(facts: dict[str, list[str]], port: int) -> dict[str, str]:
    found = {f"socket {name}": outcome(lambda n=number: socket.socket(n, socket.SOCK_RAW if n in (16, 17) else socket.SOCK_STREAM).close()) for name, number in FAMILIES.items()}  # type: ignore[misc]  # noqa: E501
    found["connect broker"] = outcome(lambda: dial(port))
    found["listen 8080"] = outcome(lambda: listen(8080))
    for pid in facts["pids"]:
        found[f"proc {pid}"] = outcome(lambda p=pid: Path(f"/proc/{p}/status").read_text())  # type: ignore[misc]
        found[f"memory {pid}"] = outcome(lambda p=pid: look_inside(int(p)))  # type: ignore[misc]
        found[f"ptrace {pid}"] = outcome(lambda p=pid: called(_libc.ptrace(_PTRACE_ATTACH, int(p), None, None)))  # type: ignore[misc]
        found[f"kill {pid}"] = outcome(lambda p=pid: os.kill(int(p), 0))  # type: ignore[misc]
    for path in facts["devices"]:
        found[f"device {path}"] = outcome(lambda p=path: os.close(os.open(p, os.O_RDWR)))  # type: ignore[misc]
    for path in facts["sockets"]:
        found[f"call {path}"] = outcome(lambda p=path: connect(p))  # type: ignore[misc]
    for path in facts["datagrams"]:
        found[f"tell {path}"] = outcome(lambda p=path: say(p))  # type: ignore[misc]
    for path in facts["reads"]:
        found[f"read {path}"] = outcome(lambda p=path: os.listdir(p) if Path(p).is_dir() else Path(p).read_bytes())  # type: ignore[misc]
    for path in facts["writes"]:
        found[f"write {path}"] = outcome(lambda p=path: Path(p, "probe").touch())  # type: ignore[misc]
    for path in facts["removes"]:
        found[f"remove {path}"] = outcome(lambda p=path: Path(p).unlink())  # type: ignore[misc]
    for path in facts["programs"]:
        found[f"run from {path}"] = outcome(lambda p=path: run_from(p))  # type: ignore[misc]
    found["memory W+X"] = outcome(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))
    found["mknod"] = outcome(lambda: os.mknod("/tmp/null", 0o20666, os.makedev(1, 3)))
    found["core limit"] = core_limit()
    return found


if __name__ == "__main__":
    out, text = sys.argv[1:]
    facts = json.loads(text)
    result = look(facts, facts["port"])
    part = Path(f"{out}.part")
    part.write_text(json.dumps(result))
    part.rename(out)

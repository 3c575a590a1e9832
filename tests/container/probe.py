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
from functools import partial
from pathlib import Path

FAMILIES = {
    "INET": (2, socket.SOCK_STREAM),
    "INET6": (10, socket.SOCK_STREAM),
    "NETLINK": (16, socket.SOCK_RAW),
    "PACKET": (17, socket.SOCK_RAW),
    "ALG": (38, socket.SOCK_SEQPACKET),
    "VSOCK": (40, socket.SOCK_STREAM),
}
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


def plug(family: int, kind: int) -> None:
    socket.socket(family, kind).close()


def read(path: str) -> None:
    if Path(path).is_dir():
        list(Path(path).iterdir())
    else:
        Path(path).read_bytes()


TRIALS: dict[str, tuple[str, Callable[[str], object]]] = {
    "proc": ("pids", lambda pid: Path(f"/proc/{pid}/status").read_text()),
    "memory": ("pids", lambda pid: look_inside(int(pid))),
    "ptrace": ("pids", lambda pid: called(_libc.ptrace(_PTRACE_ATTACH, int(pid), None, None))),
    "kill": ("pids", lambda pid: os.kill(int(pid), 0)),
    "device": ("devices", lambda path: os.close(os.open(path, os.O_RDWR))),
    "call": ("sockets", connect),
    "tell": ("datagrams", say),
    "read": ("reads", read),
    "write": ("writes", lambda path: Path(path, "probe").touch()),
    "remove": ("removes", lambda path: Path(path).unlink()),
    "run from": ("programs", run_from),
}
"""What is tried with each name of a list of the facts."""


def look(facts: dict[str, list[str]], port: int) -> dict[str, str]:
    found = {f"socket {name}": outcome(partial(plug, *family)) for name, family in FAMILIES.items()}
    found["connect broker"] = outcome(lambda: dial(port))
    found["listen 8080"] = outcome(lambda: listen(8080))
    for what, (names, act) in TRIALS.items():
        found |= {f"{what} {name}": outcome(partial(act, name)) for name in facts[names]}
    found["memory W+X"] = outcome(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))
    found["mknod"] = outcome(lambda: os.mknod("/tmp/null", 0o20666, os.makedev(1, 3)))
    found["core limit"] = str(resource.getrlimit(resource.RLIMIT_CORE))
    return found


if __name__ == "__main__":
    out, text = sys.argv[1:]
    facts = json.loads(text)
    result = look(facts, facts["port"])
    part = Path(f"{out}.part")
    part.write_text(json.dumps(result))
    part.rename(out)

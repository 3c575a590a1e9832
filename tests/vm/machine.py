"""A virtual machine with what a container lacks: a kernel of its own, a TPM, a hardware watchdog, swap, a second serial line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_KERNEL_LINE = (
    "root=/dev/vda rw console=ttyS0 panic=0 loglevel=4 systemd.show_status=0 mitigations=off systemd.journald.forward_to_console=1"
)
_MEMORY_MB = 1536
_KVM_S = 15
FIRST_WORD_S = 240.0
"""A kernel that dies before the node says anything: QEMU's translation by several threads does that now and then (an int3 of
the kernel's own code patching is hit), and then no watchdog is armed yet."""
_FAST = {"kvm": ["-accel", "kvm", "-cpu", "host"], "tcg": ["-accel", "tcg,thread=multi", "-cpu", "max"]}


def accelerator(kernel: Path) -> str:
    """KVM where this kernel begins to speak under it, else QEMU's own translation, about ten times slower.

    That /dev/kvm opens says little: nested or para-virtualised ones stop at the first instruction that they do not emulate.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    words = ["qemu-system-x86_64", *_FAST["kvm"], "-machine", "pc", "-m", "512", "-nodefaults", "-display", "none", "-no-reboot"]
    words += ["-serial", "stdio", "-kernel", str(kernel), "-append", "console=ttyS0 earlyprintk=serial panic=-1"]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout
    end = threading.Timer(_KVM_S, process.kill)
    end.start()
    spoke = any(b"Linux version" in line for line in process.stdout)
    end.cancel()
    process.kill()
    process.wait()
    return "kvm" if spoke else "tcg"


@contextmanager
def tpm(folder: Path) -> Iterator[Path]:
    """A TPM 2.0 of its own, by swtpm; the socket that QEMU speaks to it on."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "socket"
    words = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--ctrl", f"type=unixio,path={path}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*words, "--flags", "startup-clear,not-need-init"], stdout=log, stderr=log)
    try:
        for _ in range(100):
            if path.exists():
                break
            time.sleep(0.1)
        yield path
    finally:
        process.kill()
        process.wait()


class Machine:
    """One run of the virtual machine, from power to its own power-off.

    lines   what the node says of itself, each with the second it was heard at
    resets  when its hardware watchdog acted
    """

    def __init__(self, folder: Path, accel: str) -> None:
        self.folder, self.accel = folder, accel
        self.lines: list[tuple[float, dict[str, Any]]] = []
        self.resets: list[float] = []

    def run(self, disk: Path, swap: Path, boot: Path, tpm_socket: Path, kernel_line: str, limit_s: float) -> bool:
        """Whether it switched itself off within the limit; killed early if it says nothing at all."""
        with (self.folder / "qemu.log").open("wb") as log:
            words = self._words(disk, swap, boot, tpm_socket, kernel_line)
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        listeners = [threading.Thread(target=listen, daemon=True) for listen in (self._hear, self._watch)]
        for listener in listeners:
            listener.start()
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(FIRST_WORD_S)
            if not self.lines:
                return False
            process.wait(limit_s)
            return process.returncode == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            process.kill()
            process.wait()
            for listener in listeners:
                listener.join(5)

    def _words(self, disk: Path, swap: Path, boot: Path, tpm_socket: Path, kernel_line: str) -> list[str]:
        return [
            *("qemu-system-x86_64", "-machine", "pc", *_FAST[self.accel], "-smp", "2", "-m", str(_MEMORY_MB)),
            *("-nodefaults", "-display", "none", "-monitor", "none"),
            *("-kernel", str(boot / "vmlinuz"), "-initrd", str(boot / "initrd"), "-append", f"{_KERNEL_LINE} {kernel_line}"),
            *("-drive", f"file={disk},if=virtio,format=qcow2,cache=writeback", "-drive", f"file={swap},if=virtio,format=raw"),
            *("-serial", f"file:{self.folder}/console"),
            *("-chardev", f"socket,id=words,path={self.folder}/words,server=on,wait=off", "-serial", "chardev:words"),
            *("-qmp", f"unix:{self.folder}/qmp,server=on,wait=off"),
            *("-chardev", f"socket,id=tpm,path={tpm_socket}", "-tpmdev", "emulator,id=tpm0,chardev=tpm"),
            *("-device", "tpm-crb,tpmdev=tpm0", "-device", "i6300esb", "-action", "watchdog=reset", "-device", "virtio-rng-pci"),
        ]

    def _hear(self) -> None:
        for line in self._socket("words"):
            with (self.folder / "said").open("a") as said:
                said.write(f"{line}\n")
            if line.startswith("{"):
                self.lines.append((time.monotonic(), json.loads(line)))

    def _watch(self) -> None:
        for line in self._socket("qmp", b'{"execute": "qmp_capabilities"}\n'):
            if json.loads(line).get("event") == "WATCHDOG":
                self.resets.append(time.monotonic())

    def _socket(self, name: str, greeting: bytes = b"") -> Iterator[str]:
        """Lines of one of QEMU's sockets until it ends."""
        path = self.folder / name
        end = time.monotonic() + 10
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.02)
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(str(path))
            wire.sendall(greeting)
            for line in wire.makefile("r", encoding="utf-8", errors="replace"):
                yield line.strip()

"""The workload under strace: killed or refused at a chosen system call, or watched for what it syncs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.powercut.told import Fact, Told, facts
from tests.support.broker import PATIENCE

CHANGES = "fsync,fdatasync,rename,renameat,mkdir,unlink,unlinkat,ftruncate"
"""Calls that end one step of a change on the disk and begin the next."""
ROUNDS = 5


@dataclass(frozen=True)
class Run:
    """One place where the workload runs: its store below root, its facts beside it. home: who the node is."""

    folder: Path
    home: Path
    root: Path

    @classmethod
    def at(cls, folder: Path, home: Path) -> Run:
        return cls(folder, home, folder / "root")

    def words(self, *names: str, rounds: int = ROUNDS, offset: int = 0) -> list[str]:
        """The workload's command. offset: where its facts begin in the file of marks."""
        where = (self.root, self.home, self.folder / "marks", offset, rounds)
        return [sys.executable, "-m", "tests.powercut.workload", *map(str, where), *names]

    @property
    def recovery(self) -> list[str]:
        return self.words("recover", rounds=0, offset=1 << 20)

    def traced(self, words: Sequence[str], *options: str, ends: int = 0) -> int:
        """Run these words under strace; the exit code, which must be `ends` or say that the process was killed."""
        # The kernel's filter makes it quicker, but lets no injected signal through.
        quick = [] if "signal=" in "".join(options) else ["--seccomp-bpf"]
        strace = ["strace", "-f", "-qq", "-y", *quick, "-o", str(self.folder / "trace"), *options, *words]
        done = subprocess.run(strace, capture_output=True, text=True, timeout=PATIENCE * 120, check=False)
        assert done.returncode in (ends, -9), done.stderr
        return done.returncode

    def killed(self, words: Sequence[str], call: str, number: int) -> bool:
        """Whether the process was killed at its so-manieth such call, or ran through before."""
        return self.traced(words, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}") != 0

    def calls(self) -> list[str]:
        """Names of the traced calls, in order."""
        return [call[1] for line in self.trace() if (call := _CALL.match(line))]

    def trace(self) -> list[str]:
        return (self.folder / "trace").read_text(errors="replace").splitlines()

    @property
    def facts(self) -> list[Fact]:
        path = self.folder / "marks"
        return facts(path.read_bytes()) if path.exists() else []

    @property
    def told(self) -> Told:
        return Told.of(self.facts)


_CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)")
_NAME = re.compile(r'"([^"]*)"')
_OPEN = re.compile(r"<([^>]*)>")


@dataclass
class StrictDisk:
    """A file system that keeps nothing but what was synced: POSIX to the letter. Fed with the lines of a trace.

    bytes   files with bytes that no fsync or fdatasync of theirs has followed
    names   names made, changed or removed that no fsync of their folder has followed
    """

    root: Path
    bytes: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    rash: list[str] = field(default_factory=list)

    def take(self, line: str) -> str:
        """One system call; the fact it told, if it told one."""
        call = _CALL.match(line)
        if not call or call[3].startswith("-"):
            return ""
        verb, words = call[1], call[2]
        opened = found[1] if (found := _OPEN.search(words)) else ""
        named = _NAME.findall(words)
        if opened.endswith("/marks") and verb in ("pwritev", "pwritev2"):
            return opened
        if verb == "openat" and "O_CREAT" in words:
            self._name(named[0], new=named[0] not in self.known)
        elif verb in ("mkdir", "unlink", "unlinkat", "rmdir"):
            self._name(str(Path(opened, named[0])), new=True, gone=verb != "mkdir")
        elif verb == "truncate":
            self.bytes |= {named[0]} if self._ours(named[0]) else set()
        elif verb == "rename":
            self._rename(*named)
        elif verb == "renameat":
            self._rename(*(str(Path(folder, name)) for folder, name in zip(_OPEN.findall(words), named, strict=True)))
        elif verb in ("write", "pwrite64", "ftruncate") and self._ours(opened):
            self.bytes.add(opened)
        elif verb in ("fsync", "fdatasync"):
            self.bytes.discard(opened)
            self.names = {name for name in self.names if str(Path(name).parent) != opened}
        return ""

    def _ours(self, path: str) -> bool:
        # SQLite's shared memory is rebuilt, its roll-back journal only serves until WAL is on.
        return path.startswith(str(self.root)) and not path.endswith(("-shm", "-journal"))

    def _name(self, path: str, *, new: bool, gone: bool = False) -> None:
        if not self._ours(path) or path == str(self.root):
            return
        self.known.discard(path) if gone else self.known.add(path)
        if gone:
            self.bytes.discard(path)
            self.names = {name for name in self.names if not name.startswith(f"{path}/")}
        if new:
            self.names.add(path)

    def _rename(self, old: str, new: str) -> None:
        if old in self.bytes:
            self.rash.append(f"{new} got its name before its bytes were synced")
        self._name(old, new=True, gone=True)
        self._name(new, new=True)

    def unsafe(self, *below: str) -> Iterator[str]:
        """What a crash could take away below these folders, or of the way to them."""
        for place in (str(self.root / one) for one in below):
            inside = f"{place}/"
            yield from (f"bytes of {path}" for path in self.bytes if path.startswith(inside) or path == place)
            yield from (f"name {path}" for path in self.names if path.startswith(inside) or f"{place}/".startswith(f"{path}/"))

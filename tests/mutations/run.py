"""Apply each mutation of list.toml to a copy of the project and demand that its tests fail there.

usage: python -m tests.mutations.run [--only quick|TEXT] [--every N]   TEXT: some words of a mutation's file or reason

A mutation names
    file, old, new   `old` must stand in the file exactly once
    caught           pytest node ids, one of which must fail; or "powercut N": a replay of N states that must find a violation;
                     or "contract N": an import contract of pyproject.toml, which must break and no other
    why              what it would mean to lose this
    full             true: only in the full list, not in CI's
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.powercut.disk import unavailable

PROJECT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("list.toml")
LIMIT_S = 300


@dataclass(frozen=True)
class Mutation:
    file: str
    old: str
    new: str
    caught: tuple[str, ...]
    why: str
    full: bool = False

    @classmethod
    def read(cls, entry: dict[str, object]) -> Mutation:
        given = dict(entry)
        caught = given.pop("caught")
        return cls(caught=(caught,) if isinstance(caught, str) else tuple(caught), **given)  # type: ignore[arg-type]

    @property
    def states(self) -> int:
        """Of a power-cut replay; 0 for tests."""
        return int(self._number("powercut") or 0)

    @property
    def contract(self) -> str:
        """Number of the import contract that must break; "" for all else."""
        return self._number("contract")

    def _number(self, kind: str) -> str:
        word, _, number = self.caught[0].partition(" ")
        return number if word == kind else ""

    @property
    def line(self) -> str:
        """The first line of what is taken out."""
        return self.old.strip().splitlines()[0]


def copy_project(target: Path) -> None:
    """The tree as git would commit it; what `make setup` made is shared."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=PROJECT, check=True, capture_output=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / name, path)
    for name in (".venv", "out"):
        (target / name).symlink_to(PROJECT / name)


def command(mutation: Mutation) -> list[str]:
    if mutation.states:
        return [sys.executable, "-m", "tests.powercut.replay", "--states", str(mutation.states), "--rounds", "8", "--first"]
    if mutation.contract:
        return [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutation.caught]


def broken(printed: str) -> list[str]:
    """Numbers of the import contracts that lint-imports found broken."""
    return re.findall(r"^(\d+[a-z]?) .* BROKEN", printed, re.MULTILINE)


def try_out(mutation: Mutation, copy: Path) -> str:
    """Why the mutation is not caught; empty if it is."""
    path = copy / mutation.file
    text = path.read_text()
    if (times := text.count(mutation.old)) != 1:
        return f"its old text stands there {times} times, not once"
    path.write_text(text.replace(mutation.old, mutation.new))
    try:
        # Before the installed project, which is the original.
        known = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
        done = subprocess.run(command(mutation), cwd=copy, env=known, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"could not be tried: no end within {LIMIT_S} s"
    finally:
        path.write_text(text)
    if mutation.contract and (found := broken(done.stdout)) != [mutation.contract] and done.returncode < 2:
        return f"NOT CAUGHT: broken contracts: {', '.join(found) or 'none'}"
    if done.returncode == 1:
        return ""
    return "NOT CAUGHT" if done.returncode == 0 else f"could not be tried: {done.stdout[-400:]}{done.stderr[-400:]}"


def chosen(only: str) -> list[Mutation]:
    every = [Mutation.read(entry) for entry in tomllib.loads(LIST.read_text())["mutation"]]
    if only == "quick":
        return [one for one in every if not one.full]
    return [one for one in every if only.lower() in f"{one.file} {one.why} {one.old}".lower()]


def sampled(mutations: list[Mutation], every: int) -> list[Mutation]:
    """One of `every`, others after each commit."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    return mutations[int(head[:8], 16) % every :: every]


def main() -> int:
    words = argparse.ArgumentParser(prog="mutations")
    words.add_argument("--only", default="")
    words.add_argument("--every", type=int, default=1, help="one of so many, others after each commit")
    given = words.parse_args()
    wanted, missed, began = sampled(chosen(given.only), given.every), 0, time.monotonic()
    if (reason := unavailable()) and any(one.states for one in wanted):
        sys.stdout.write(f"skipped: {sum(one.states > 0 for one in wanted)} mutations for the power-cut replay, which {reason}\n")
        wanted = [one for one in wanted if not one.states]
    with tempfile.TemporaryDirectory(prefix="lykta-mutation-") as folder:
        copy_project(Path(folder))
        for mutation in wanted:
            start = time.monotonic()
            problem = try_out(mutation, Path(folder))
            missed += bool(problem)
            took = time.monotonic() - start
            sys.stdout.write(
                f"{'MISSED' if problem else 'caught'} {took:5.1f} s  {mutation.file}: {mutation.line}  ({mutation.why})\n"
            )
            if problem:
                sys.stdout.write(f"       {problem}\n")
            sys.stdout.flush()
    sys.stdout.write(f"mutations {len(wanted)}, missed {missed}, {time.monotonic() - began:.0f} s\n")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())

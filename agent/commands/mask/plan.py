"""Which output `lykta mask` makes of which input, and checks before it begins: no mistake in the arguments loses a file."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, combinations
from pathlib import Path

from drivers.media.picture import PICTURES
from privacy.errors import MediaError, UsageError
from privacy.files import PRIVATE, PUBLIC, create

_VIDEOS = (".mp4", ".m4v")
_FORCE = "--force replaces it; to mask several files, name a folder as the last one: OUT/"


@dataclass(frozen=True)
class Job:
    """One file to mask.

    masks   path for the masks, or None
    force   an existing output may be replaced
    learn   path for the background learned from it, or None
    """

    source: Path
    target: Path
    masks: Path | None = None
    force: bool = False
    learn: Path | None = None
    token: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def outputs(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.target, self.masks, self.learn) if path)

    @property
    def parts(self) -> tuple[Path, ...]:
        """The temporary files of the outputs while they are written."""
        return tuple(path.with_name(f".lykta-{self.token}-{number}.part") for number, path in enumerate(self.outputs))

    def begin(self) -> None:
        """Create the temporary files. Raises OSError."""
        for part, final in zip(self.parts, self.outputs, strict=True):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            os.close(create(part, PRIVATE) if final == self.learn else os.open(part, flags, PUBLIC))

    def publish(self) -> None:
        """Rename the complete files to their names, on the disk when this returns. Raises OSError, `MediaError`."""
        for part, final in zip(self.parts, self.outputs, strict=True):
            _sync(part, os.O_RDONLY)
            if self.force:
                _refuse_special(final)
                part.replace(final)
            else:
                _put(part, final)
            _sync(final.parent, os.O_RDONLY | os.O_DIRECTORY)

    def discard(self) -> None:
        for part in self.parts:
            with suppress(OSError):
                part.unlink()


@dataclass(frozen=True)
class Plan:
    """The work that a command line asks for.

    folders   to be made first, if absent
    report    path for the report, or None
    given     path of the background to begin with, or None; an input, like each IN
    """

    jobs: tuple[Job, ...]
    folders: tuple[Path, ...] = ()
    report: Path | None = None
    force: bool = False
    given: Path | None = None

    def check(self) -> None:
        """Raise `UsageError` if a file would be lost, `MediaError` for a folder that cannot be written to."""
        outputs = [*chain.from_iterable(job.outputs for job in self.jobs), *([self.report] if self.report else [])]
        _refuse_inputs([*(job.source for job in self.jobs), *([self.given] if self.given else [])], outputs)
        for one, other in combinations(outputs, 2):
            if one.resolve() == other.resolve() or _same(one, other):
                raise UsageError(f"mask: {one} would be written twice", "give each a name of its own")
        for job in self.jobs:
            _refuse_ending(job)
        for path in outputs:
            _refuse_standing(path, self.force)
        for folder in (*self.folders, *(path.parent for path in outputs)):
            self._writable(folder)

    def _writable(self, folder: Path) -> None:
        there = folder.parent if folder in self.folders and not folder.exists() else folder
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            why = "no right to write there" if there.is_dir() else "no such folder"
            raise MediaError(f"{folder}: cannot be written: {why}", "choose a folder you may write to")


def plan(words: Sequence[str], out: str, masks: Path | None, report: Path | None, force: bool) -> Plan:
    """Assign outputs to inputs: NAME.mp4, and NAME.mkv for its masks, if OUT is a folder."""
    *names, last = words if not out else (*words, out)
    sources, target = [Path(name) for name in names], Path(last)
    if not sources:
        raise UsageError("mask: IN and OUT are needed", "lykta mask IN OUT, or lykta mask IN… FOLDER/")
    if not last.endswith("/") and not target.is_dir():
        if len(sources) == 1:
            return Plan((Job(sources[0], target, masks, force),), (), report, force)
        hint = f"a new folder needs a / at its end: {last}/"
        if os.path.lexists(target):
            hint = "name a folder as the last one"
        raise UsageError(f"mask: OUT ({target}) is no folder and there are {len(sources)} of IN", hint)
    if os.path.lexists(target) and not target.is_dir():
        raise UsageError(f"mask: OUT ({target}) is no folder", "name a folder, or a file without a / at its end")
    jobs = [Job(path, target / f"{path.stem}.mp4", masks and masks / f"{path.stem}.mkv", force) for path in sources]
    return Plan(tuple(jobs), (target, masks) if masks else (target,), report, force)


def with_background(wanted: Plan, given: Path | None, learn: Path | None) -> Plan:
    """The same with a background to begin with, and one to write: only with one input, since each shows another place."""
    if not learn:
        return replace(wanted, given=given)
    if wanted.folders:
        raise UsageError("mask: --learn-background: learns from one IN", "name a file as OUT")
    return replace(wanted, given=given, jobs=(replace(wanted.jobs[0], learn=learn),))


def _refuse_inputs(sources: Sequence[Path], outputs: Sequence[Path]) -> None:
    for source in sources:
        for path in outputs:
            if _same(source, path):
                raise UsageError(f"mask: OUT is IN ({source})", "name another file: the original is never overwritten")


def _same(one: Path, other: Path) -> bool:
    """Whether both paths are one file, by inode, so that hard links and symbolic links are found."""
    return one.exists() and other.exists() and one.samefile(other)


def _refuse_ending(job: Job) -> None:
    ending = job.target.suffix.lower()
    if ending not in _VIDEOS and ending not in PICTURES:
        wanted = ", ".join([_VIDEOS[0], *PICTURES])
        raise UsageError(
            f"mask: OUT ({job.target}) ends in none of {wanted}",
            "an MP4 is written, or one picture; a new folder needs a / at its end",
        )
    if job.masks and job.masks.suffix.lower() != ".mkv":
        raise UsageError(f"mask: --masks ({job.masks}) does not end in .mkv", "masks are lossless video (FFV1) in Matroska")


def _refuse_standing(path: Path, force: bool) -> None:
    _refuse_special(path)
    if os.path.lexists(path) and not force:
        raise UsageError(f"mask: {path} exists", _FORCE)


def _refuse_special(path: Path) -> None:
    """Refuse an output that is a link, a device, a pipe or a folder: these are never replaced."""
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise UsageError(f"mask: {path} is no plain file", "only a plain file is ever replaced; --json writes to stdout")


def _put(part: Path, final: Path) -> None:
    """Give a file a name that must not exist yet: link() fails if it does, rename() would replace it."""
    try:
        final.hardlink_to(part)
    except FileExistsError as problem:
        raise MediaError(f"{final}: was made by somebody else meanwhile", "nothing was written; name another file") from problem
    except OSError:
        # A file system without hard links.
        if os.path.lexists(final):
            raise
        part.replace(final)
    else:
        part.unlink()


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Bytes of another trust domain, decoded in one place: from a network, a neighbour service, a stick, or a disk after a power cut.

Every bound is checked before the bytes become objects; whatever does not fit is a `RecordError`, never another exception.
"""

from __future__ import annotations

import re
import tomllib
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from privacy.errors import LyktaError, RecordError

T = TypeVar("T")
LONGEST = 64 * 1024
"""Bytes of one message, record, line or answer, unless its kind states another bound."""
DEEPEST = 16
"""Levels of arrays and objects inside each other; nothing of ours has more than six."""
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Moments outside are nobody's: near the ends of `datetime` sums and changes of zone overflow."""
END = r"$(?!\n)"
"""The end of a text in a pattern, for Python (where `$` alone lets a newline pass) and for JSON Schema (which has no `\\Z`)."""
_GREATEST = (1 << 63) - 1
_LONGEST_ERROR = 4096
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
"""What is not closed runs to the end: it never fails and never goes back, so it takes one pass whatever the bytes are."""
_BRACKET = re.compile(rb"[\[\]{}]")


def decode(data: bytes, into: type[T], what: str, *, hint: str = "", most: int = LONGEST) -> T:
    """JSON as that type: at most `most` bytes, `DEEPEST` levels, UTF-8, whole numbers of 64 bits, others finite, moments with a
    zone; or `RecordError`.

    what   names the bytes in the error, hint says what to do about it
    """
    if len(data) > most:
        raise RecordError(f"{what}: must be at most {most} bytes (got {len(data)})", hint)
    try:
        data.decode()
        if _depth(data) > DEEPEST:
            raise RecordError(f"{what}: not JSON of ours: more than {DEEPEST} levels", hint)
        found = msgspec.json.decode(data, type=into)
    except msgspec.ValidationError as problem:
        raise RecordError(f"{what}: {problem}", hint) from problem
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise RecordError(f"{what}: not JSON: {problem}", hint) from problem
    _check_values(found, what, hint)
    return found


def toml(text: str, what: str, *, hint: str = "", most: int = LONGEST) -> dict[str, Any]:
    """TOML by section, within the bounds of `decode`; or `RecordError`."""
    if len(text.encode(errors="replace")) > most:
        raise RecordError(f"{what}: must be at most {most} bytes", hint)
    try:
        found = tomllib.loads(text)
    except RecursionError as problem:
        raise RecordError(f"{what}: not TOML of ours: more than {DEEPEST} levels", hint) from problem
    except ValueError as problem:  # also of a number of thousands of digits
        raise RecordError(f"{what}: not TOML: {problem}", hint) from problem
    _check_levels(found, what, hint)
    return found


def printable(text: object, most: int = 300) -> str:
    """What somebody else said, for a log or a terminal: no line ends or other controls, at most `most` characters."""
    cut = str(text)[: most + 1]
    shown = "".join(c if c.isprintable() else "\ufffd" for c in cut)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def encodable(found: Any) -> Any:
    """The same builtins with `?` for each byte of a file's name that is no UTF-8: JSON cannot hold it."""
    match found:
        case str():
            return found.encode(errors="replace").decode()
        case dict():
            return {encodable(name): encodable(value) for name, value in found.items()}
        case list() | tuple():
            return [encodable(one) for one in found]
        case _:
            return found


def lines(text: str) -> str:
    """The same of a text of several lines, of any length."""
    return "\n".join(printable(line, len(line)) for line in text.split("\n"))


def error_lines(problem: LyktaError) -> str:
    """An error and its hint for stderr, a line each: what they quote of others makes no line and moves no cursor."""
    said = [f"error: {printable(problem, _LONGEST_ERROR)}", f"hint: {printable(problem.hint, _LONGEST_ERROR)}"]
    return "\n".join(said[: 2 if problem.hint else 1]) + "\n"


def traceback_lines(problem: BaseException) -> str:
    """A traceback for a log, indented: what it quotes of others moves no cursor, and no line of it looks like one of ours."""
    text = "".join(traceback.format_exception(problem))
    return "".join(f"  {printable(line, _LONGEST_ERROR)}\n" for line in text.splitlines())


def moment(text: str, what: str, hint: str = "") -> datetime:
    """A moment in ISO 8601 with its zone, within `EARLIEST` and `LATEST`; otherwise `RecordError`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as problem:
        raise RecordError(f"{what}: must be a date and time (got {text[:40]!r})", hint) from problem
    _check_values(found, what, hint)
    return found


def _depth(data: bytes) -> int:
    """Levels of brackets, those in strings aside."""
    bare = _STRING.sub(b"", data)
    if bare.count(b"[") + bare.count(b"{") <= DEEPEST:
        return 0
    deepest = level = 0
    for bracket in _BRACKET.finditer(bare):
        level += 1 if bracket[0] in b"[{" else -1
        deepest = max(deepest, level)
    return deepest


def _check_levels(found: object, what: str, hint: str) -> None:
    """Without recursion: dotted keys nest without brackets."""
    level = [found]
    for _ in range(DEEPEST):
        level = [inner for one in level for inner in _inside(one)]
    if level:
        raise RecordError(f"{what}: more than {DEEPEST} levels", hint)


def _inside(found: object) -> list[Any]:
    return list(found.values()) if isinstance(found, dict) else list(found) if isinstance(found, list) else []


def _check_values(found: object, what: str, hint: str) -> None:
    for one in _values(found):
        if isinstance(one, int):
            if abs(one) > _GREATEST:
                raise RecordError(f"{what}: a whole number must have at most 64 bits", hint)
        elif one.tzinfo is None:
            raise RecordError(f"{what}: a moment must have a zone (got {one.isoformat()})", hint)
        elif not EARLIEST <= one < LATEST:
            raise RecordError(f"{what}: a moment must lie in 1970 to 2199 (got {one.isoformat()})", hint)


def _values(found: Any) -> Iterator[datetime | int]:
    """The moments and whole numbers in what was decoded."""
    match found:
        case datetime() | int():
            yield found
        case Struct():
            for name in found.__struct_fields__:
                yield from _values(getattr(found, name))
        case dict():
            for value in found.values():
                yield from _values(value)
        case list() | tuple() | set() | frozenset():
            for value in found:
                yield from _values(value)
        case _:
            return

"""Decodes untrusted bytes: from the network, another service, a USB stick, or a disk after a power cut.

Limits are checked before objects are created; anything invalid raises `RecordError` and no other exception.
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
"""Bytes of one message, record, line or answer, unless its type has another limit."""
DEEPEST = 16
"""Levels of nested arrays and objects; Lykta's own data has at most six."""
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Range of valid times. Near the limits of `datetime`, sums and changes of time zone overflow."""
END = r"$(?!\n)"
"""The end of a text in a pattern, for Python (where `$` alone lets a newline pass) and for JSON Schema (which has no `\\Z`)."""
_GREATEST = (1 << 63) - 1
_LONGEST_ERROR = 4096
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
"""A JSON string; an unclosed one extends to the end. It never backtracks, so that it takes linear time for any input."""
_BRACKET = re.compile(rb"[\[\]{}]")


def decode(data: bytes, into: type[T], what: str, *, hint: str = "", most: int = LONGEST) -> T:
    """Decode JSON as that type. `RecordError` unless it is UTF-8 of at most `most` bytes and `DEEPEST` levels, with integers of at
    most 64 bits, other numbers finite, and times with a zone.

    what, hint   name of the data, and what to do, for the error
    """
    if len(data) > most:
        raise RecordError(f"{what}: must be at most {most} bytes (got {len(data)})", hint)
    try:
        data.decode()
        if _depth(data) > DEEPEST:
            raise RecordError(f"{what}: invalid JSON: more than {DEEPEST} levels", hint)
        found = msgspec.json.decode(data, type=into)
    except msgspec.ValidationError as problem:
        raise RecordError(f"{what}: {problem}", hint) from problem
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise RecordError(f"{what}: not JSON: {problem}", hint) from problem
    _check_values(found, what, hint)
    return found


def toml(text: str, what: str, *, hint: str = "", most: int = LONGEST) -> dict[str, Any]:
    """Decode TOML, with the limits of `decode`; `RecordError` otherwise."""
    if len(text.encode(errors="replace")) > most:
        raise RecordError(f"{what}: must be at most {most} bytes", hint)
    try:
        found = tomllib.loads(text)
    except RecursionError as problem:
        raise RecordError(f"{what}: invalid TOML: more than {DEEPEST} levels", hint) from problem
    except ValueError as problem:  # also for a number with thousands of digits
        raise RecordError(f"{what}: not TOML: {problem}", hint) from problem
    _check_levels(found, what, hint)
    return found


def printable(text: object, most: int = 300) -> str:
    """Untrusted text for a log or a terminal: without line ends and other control characters, at most `most` characters."""
    cut = str(text)[: most + 1]
    shown = "".join(c if c.isprintable() else "\ufffd" for c in cut)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def encodable(found: Any) -> Any:
    """A copy of builtin objects with `?` for each byte of a file name that is not UTF-8, which JSON cannot encode."""
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
    """`printable` for a text of several lines, of any length."""
    return "\n".join(printable(line, len(line)) for line in text.split("\n"))


def error_lines(problem: LyktaError) -> str:
    """An error and its hint for stderr, one line each; line ends and control characters in quoted text are replaced."""
    said = [f"error: {printable(problem, _LONGEST_ERROR)}", f"hint: {printable(problem.hint, _LONGEST_ERROR)}"]
    return "\n".join(said[: 2 if problem.hint else 1]) + "\n"


def traceback_lines(problem: BaseException) -> str:
    """A traceback for a log. Control characters in quoted text are replaced, and every line is indented so that none looks like an
    error message of Lykta."""
    text = "".join(traceback.format_exception(problem))
    return "".join(f"  {printable(line, _LONGEST_ERROR)}\n" for line in text.splitlines())


def moment(text: str, what: str, hint: str = "") -> datetime:
    """A time in ISO 8601 with its zone, between `EARLIEST` and `LATEST`; otherwise `RecordError`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as problem:
        raise RecordError(f"{what}: must be a date and time (got {text[:40]!r})", hint) from problem
    _check_values(found, what, hint)
    return found


def _depth(data: bytes) -> int:
    """Nesting depth of brackets outside of strings; 0 if there are too few brackets to exceed `DEEPEST`."""
    bare = _STRING.sub(b"", data)
    if bare.count(b"[") + bare.count(b"{") <= DEEPEST:
        return 0
    deepest = level = 0
    for bracket in _BRACKET.finditer(bare):
        level += 1 if bracket[0] in b"[{" else -1
        deepest = max(deepest, level)
    return deepest


def _check_levels(found: object, what: str, hint: str) -> None:
    """`RecordError` if TOML is nested too deeply: dotted keys nest without brackets. Without recursion."""
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
    """The times and integers in decoded data."""
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

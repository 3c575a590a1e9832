"""Signing what a node obeys: basis, view, configuration and commands. Orders: central/orders.py."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from central.folder import listed, signer
from privacy.basis import BASIS, VIEW, Area, Basis, Hours, View
from privacy.command import COMMAND, LONGEST, Command
from privacy.errors import RecordError, UsageError
from privacy.models import STACKS
from privacy.records import sign, verify_listed
from privacy.settings import CONFIG, Settings

T = TypeVar("T")
KINDS: dict[str, tuple[str, type[Basis] | type[View] | type[Settings], str]] = {
    "basis": (BASIS, Basis, "basis"),
    "view": (VIEW, View, "basis"),
    "config": (CONFIG, Settings, "command"),
}
"""Type of the record, what it holds, and the key that signs it."""


def sign_record(name: str, source: Path, keys: Path) -> bytes:
    """The signed record from its JSON file; `RecordError` names field and rule where it is not one."""
    kind, into, key = KINDS[name]
    return sign(decoded(name, read_json(name, source), into), signer(keys, key), kind)


def signed_record(name: str, source: Path, keys: Path, node: tuple[str, str]) -> bytes:
    """The signed record from a file, if it is of these keys and for that node: what a node would refuse is not sent."""
    kind, into, key = KINDS[name]
    token = read_json(name, source).strip()
    record = verify_listed(token, kind, listed(keys, key), into)
    if (record.site, record.node) != node:
        raise RecordError(f"{name}: node: is for {record.site}/{record.node} (got {'/'.join(node)})", "send it there")
    return token


def read_json(name: str, source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as problem:
        raise RecordError(f"{source}: {problem.strerror}", f"lykta-central sign {name} --example SITE/NODE prints one") from problem


def decoded(name: str, data: bytes, into: type[T]) -> T:
    """The record that somebody wrote; `RecordError` names field and rule where it is not one."""
    try:
        return msgspec.json.decode(data, type=into)
    except msgspec.ValidationError as problem:
        rule, _, where = str(problem).partition(" - at `$.")
        raise RecordError(f"{name}: {where.rstrip('`') or 'file'}: {rule[:1].lower()}{rule[1:]}", "mend the file") from problem
    except msgspec.DecodeError as problem:
        raise RecordError(f"{name}: the file is not JSON: {problem}", "mend the file") from problem


def example(name: str, site: str, node: str) -> Any:
    """A minimal record to edit."""
    now = datetime.now(UTC).replace(microsecond=0)
    if name == "view":
        whole = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
        area = Area("stop", "KBL11.5b", False, whole)
        return View("view-1", "basis-1", site, node, (area,))
    if name == "config":
        return Settings(site, node, 1, {"upload": {"what": "events"}})
    return Basis(
        id="basis-1",
        assessment="example, not an assessment",
        type="hallplats",
        controller="Linköpings kommun",
        site=site,
        node=node,
        stop="example stop",
        purpose="order",
        hours=(Hours((1, 2, 3, 4, 5, 6, 7), "18:00", "06:00"),),
        least_profile="standard",
        retention_hours=72,
        stacks=tuple(stack.name for stack in STACKS),
        begin=now,
        end=now + timedelta(days=365),
    )


def command(keys: Path, site: str, node: str, name: str, args: dict[str, str]) -> bytes:
    """A signed command that stands for a minute."""
    if not re.fullmatch(r"[a-z-]+", name):
        raise UsageError(f"command: name: must be lower case and hyphens (got {name!r})", "for instance ack")
    now = datetime.now(UTC)
    record = Command(name, site, node, str(uuid.uuid4()), args, now, now + LONGEST)
    return sign(record, signer(keys, "command"), COMMAND)

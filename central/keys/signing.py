"""Signs basis, view and configuration, each by an officer and in the access log.

Orders are signed in central.ingest.orders, commands in central.fleet.node_commands.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from central.keys.access_log import log_access
from central.keys.key_folder import signer, trusted_keys
from central.keys.officers import authorize
from central.keys.review import Objection, review
from privacy.errors import RecordError
from privacy.files import read_own
from privacy.masking.networks.models import STACKS
from privacy.records.basis import BASIS, VIEW, Area, Basis, Hours, View
from privacy.records.journal import Fact
from privacy.records.jws import sha256_hex, sign, verify_listed
from privacy.records.settings import CONFIG, Settings

T = TypeVar("T")
KINDS: dict[str, tuple[str, type[Basis] | type[View] | type[Settings], str]] = {
    "basis": (BASIS, Basis, "basis"),
    "view": (VIEW, View, "basis"),
    "config": (CONFIG, Settings, "command"),
}
"""By name: the record's JWS type, its Python type, and the key that signs it."""


def sign_record(
    name: str, source: Path, keys: Path, officer: str | None, on_objections: Callable[[list[Objection]], None]
) -> bytes:
    """Sign a record from its JSON file; returns the signed text, which is then in the access log. `RecordError` names the field and
    the rule that it breaks.

    officer         who signs; None or empty: the only one with a key in KEYS
    on_objections   called with the objections; raises if the record must not be signed
    """
    kind, into, key = KINDS[name]
    record = decode_record(name, read_json(name, source), into)
    on_objections(review(name, record, datetime.now(UTC)))
    acting = authorize(keys, officer, "sign", {"node": f"{record.site}/{record.node}", "record": name})
    token = sign(record, signer(keys, key), kind)
    log_access(keys, "sign", _facts(name, record, token), acting)
    return token


def send_record(name: str, source: Path, keys: Path, node: tuple[str, str], officer: str | None, to: str) -> bytes:
    """The signed text from a file, if these keys signed it for that node; the access log then has it as sent.

    to   where it is sent, as text for the access log
    """
    acting = authorize(keys, officer, "sign", {"node": "/".join(node), "act": "send", "record": name})
    record, token = _read_signed(name, source, keys, node)
    log_access(keys, "send", {**_facts(name, record, token), "to": to[:200]}, acting)
    return token


def _facts(name: str, record: Basis | View | Settings, token: bytes) -> dict[str, Fact]:
    """A record's facts for the access log."""
    which = record.version if isinstance(record, Settings) else record.id
    return {"node": f"{record.site}/{record.node}", "record": name, "id": which, "sha256": sha256_hex(token)}


def _read_signed(name: str, source: Path, keys: Path, node: tuple[str, str]) -> tuple[Basis | View | Settings, bytes]:
    """A record and its signed text from a file, if these keys signed it for that node; else `RecordError`: the node would refuse
    it."""
    kind, into, key = KINDS[name]
    token = read_json(name, source).strip()
    record = verify_listed(token, kind, trusted_keys(keys, key), into)
    if (record.site, record.node) != node:
        raise RecordError(f"{name}: node: is for {record.site}/{record.node} (got {'/'.join(node)})", "send it there")
    return record, token


def read_json(name: str, source: Path) -> bytes:
    """The bytes of a record's file; `RecordError` if it cannot be read."""
    try:
        return read_own(source)
    except OSError as problem:
        raise RecordError(f"{source}: {problem.strerror}", f"lykta-central sign {name} --example SITE/NODE prints one") from problem


def decode_record(name: str, data: bytes, into: type[T]) -> T:
    """A record from JSON written by hand; `RecordError` names the field and the rule that it breaks."""
    try:
        return msgspec.json.decode(data, type=into)
    except msgspec.ValidationError as problem:
        rule, _, where = str(problem).partition(" - at `$.")
        raise RecordError(f"{name}: {where.rstrip('`') or 'file'}: {rule[:1].lower()}{rule[1:]}", "correct the file") from problem
    except msgspec.DecodeError as problem:
        raise RecordError(f"{name}: the file is not JSON: {problem}", "correct the file") from problem


def example(name: str, site: str, node: str) -> Any:
    """An example record to edit."""
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

"""`lykta apply`: one run as root, without a network. Verifies and places what the centre desires, or reports why not: records,
settings, and the certificates that `lykta renew` requested.

A power cut may come after any step: each file is completely the old or the new one, and the next run continues from there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agent.inbox.applied import KINDS, Applied, Kind, id_in_force, last_judgement, names_in, note_of, place_of
from agent.inbox.desired import Taken, alone, taken
from agent.root.apply_rate import back_off
from agent.root.renew import Said, take_answers
from agent.runtime.settings_in_force import effective, laid_over
from agent.terminal import show, table_of
from drivers import stderr
from privacy.errors import ConfigError, LyktaError, RecordError, UsageError
from privacy.files import PUBLIC, make_folder, place, read_own
from privacy.records.basis import BASIS, VIEW, Basis, check_basis, check_running, check_successor, check_view
from privacy.records.jws import kind_of, peek, sha256_hex, verify_listed
from privacy.records.settings import CONFIG, Settings
from provisioning.identity import check_revoked, command_keys, load_permit, verify_basis, verify_view
from provisioning.layout import Layout

_MOST_PAST = 400
_TYPES: dict[str, Kind] = {BASIS: "basis", VIEW: "view", CONFIG: "config"}


def command(layout: Layout, files: list[Path], only: Kind | None, as_json: bool) -> int:
    """Exit code: 0 if all was placed, 1 if something was refused. files: given by hand, under the same rules as the uplink's."""
    return _judge(layout, dict(_read(path, only) for path in files), as_json)[0]


def paced(layout: Layout, as_json: bool) -> int:
    """The same for the unit: it waits longer at its end after each run in a row that changed nothing, also a failed one, since
    systemd starts no second one while it runs.
    """
    useful = False
    try:
        code, useful = _judge(layout, {}, as_json)
    finally:
        wait_s = back_off(layout, useful=useful)
        stderr.note(f"the next may come in {wait_s:.0f} s")
        sys.stdout.flush()
        time.sleep(wait_s)
    return code


def _judge(layout: Layout, by_hand: dict[Kind, bytes], as_json: bool) -> tuple[int, bool]:
    """The exit code, and whether anything in force changed: a record that is in force already is placed again without effect."""
    with alone(layout), taken(layout) as left:
        before = _in_force(layout)
        said = apply(layout, by_hand, None if by_hand else left)
        keys = take_answers(layout, left) if left and not by_hand else {}
        if left:
            left.sweep()
        results = {result for result, _ in keys.values()}
        useful = _in_force(layout) != before or "swapped" in results
    _tell(layout, said, keys, as_json)
    return int("refused" in {one.result for one in said} | results), useful


def _in_force(layout: Layout) -> list[str]:
    """The contents of the files of records and settings in force."""
    return [sha256_hex(_lying(path) or b"") for path in (place_of(layout, kind) for kind in KINDS)]


def _lying(path: Path) -> bytes | None:
    """The file's content; None if it is absent or unreadable: the next one replaces it."""
    with suppress(OSError):
        return read_own(path)
    return None


def apply(layout: Layout, by_hand: dict[Kind, bytes], left: Taken | None) -> list[Applied]:
    """Check and place in the order of KINDS; then store each result, and only then delete the desired file."""
    said = []
    for kind in KINDS:
        try:
            token = left.claim(f"{kind}.jws") if left else by_hand.get(kind)
        except RecordError as problem:
            said.append(_judgement(layout, kind, b"", str(problem)))
            continue
        if token is not None:
            said.append(_take(layout, kind, token))
    closed = why_closed(layout) if said else ""
    said = [_with_standing(one, closed) for one in said]
    make_folder(layout.applied, 0o755)
    for one in said:
        place(note_of(layout, one.kind), msgspec.json.encode(one), mode=PUBLIC)
        if left:
            left.remove_claimed(f"{one.kind}.jws")
    return said


def _with_standing(one: Applied, closed: str) -> Applied:
    """A basis is placed also if it forbids filming, since the law comes first; the result then says so."""
    said = f"the camera stays closed: {closed}" if closed and one.kind == "basis" and one.result == "placed" else one.reason
    return msgspec.structs.replace(one, reason=said)


def why_closed(layout: Layout) -> str:
    """Why the records and settings in force do not permit filming; "" if they do, regardless of hours."""
    try:
        config = effective(layout).config
        load_permit(layout, config.node.site, config.node.id, config.mask.profile, config.mask.stack)
    except LyktaError as problem:
        return str(problem)
    return ""


def _take(layout: Layout, kind: Kind, token: bytes) -> Applied:
    path, reason = place_of(layout, kind), ""
    used = _used(layout, kind)
    try:
        if _lying(path) != token:
            _JUDGES[kind](layout, token, used)
            if (before := _lying(path)) is not None:
                place(path.with_name(f"{path.name}.previous"), before, mode=PUBLIC)
            place(path, token, mode=PUBLIC)
    except (RecordError, ConfigError) as problem:
        reason = str(problem)
    return _judgement(layout, kind, token, reason)


def _judgement(layout: Layout, kind: Kind, token: bytes, reason: str) -> Applied:
    past = tuple(dict.fromkeys([*_used(layout, kind), *names_in(kind, place_of(layout, kind))]))[-_MOST_PAST:]
    against = id_in_force(layout, "basis")
    return Applied(kind, sha256_hex(token), "refused" if reason else "placed", reason, against, past, datetime.now(UTC))


def _used(layout: Layout, kind: Kind) -> tuple[str, ...]:
    """Names that were in force here before, oldest first, also those that an interrupted run had not stored yet."""
    try:
        before = last_judgement(layout, kind)
    except RecordError as problem:
        stderr.note(str(problem))
        before = None
    path = place_of(layout, kind)
    return (*(before.past if before else ()), *names_in(kind, path.with_name(f"{path.name}.previous")))


# -- the rules ---------------------------------------------------------------------------------------------------------


def _judge_basis(layout: Layout, token: bytes, used: Collection[str]) -> None:
    node = effective(layout).config.node
    basis = verify_basis(layout, token)
    check_basis(basis, node.site, node.id)
    check_revoked(layout, basis.id)
    old = peek(read_own(layout.basis), BASIS, Basis) if names_in("basis", layout.basis) else None
    if old and (old.site, old.node) == (node.site, node.id):
        check_successor(old, basis, used)


def _judge_view(layout: Layout, token: bytes, used: Collection[str]) -> None:
    basis = _basis_in_force(layout)
    if basis is None:
        raise RecordError("view: there is no basis that it could narrow", "place the basis first")
    view = verify_view(layout, basis, token)
    check_view(basis, view)
    check_revoked(layout, view.id)
    if view.id in {*used, id_in_force(layout, "view")}:
        raise RecordError(f"view: id: was in force here before (got {view.id})", "a changed view needs an id of its own")


def _judge_config(layout: Layout, token: bytes, used: Collection[str]) -> None:
    said = verify_listed(token, CONFIG, command_keys(layout), Settings)
    mask = laid_over(layout, said).mask
    newest = max(int(version) for version in ("0", *used, *names_in("config", layout.overlay)))
    if said.version <= newest:
        raise RecordError(f"config: version: must come after {newest} (got {said.version})", "sign it with a higher version")
    basis = _basis_in_force(layout)
    if basis is not None:
        check_running(basis, mask.profile, mask.stack)


_JUDGES: dict[Kind, Callable[[Layout, bytes, Collection[str]], None]] = {
    "basis": _judge_basis,
    "view": _judge_view,
    "config": _judge_config,
}


def _basis_in_force(layout: Layout) -> Basis | None:
    return verify_basis(layout, read_own(layout.basis)) if layout.basis.exists() else None


# -- by hand -----------------------------------------------------------------------------------------------------------


def _read(path: Path, only: Kind | None) -> tuple[Kind, bytes]:
    """The kind of a file, by its own header, and its text."""
    try:
        token = read_own(path).strip()
    except OSError as problem:
        raise UsageError(f"apply: {path}: {problem.strerror}", "name the file that `lykta-central sign` made") from problem
    kind = _TYPES.get(kind_of(token))
    if kind is None or only not in (None, kind):
        raise UsageError(f"apply: {path}: is no signed {only or 'basis, view or configuration'}", "lykta-central sign makes one")
    return kind, token


def _tell(layout: Layout, said: list[Applied], keys: Said, as_json: bool) -> None:
    table = table_of("what", "", "in force", "reason")
    facts = []
    for one in said:
        now, reason = id_in_force(layout, one.kind), one.reason
        table.add_row(one.kind, one.result, now, reason)
        facts.append({"what": one.kind, "result": one.result, "in_force": now, "reason": reason})
    for unit, (result, reason) in keys.items():
        table.add_row(unit, result, "", reason)
        facts.append({"what": unit, "result": result, "in_force": "", "reason": reason})
    closed = why_closed(layout)
    if closed:
        stderr.note(f"the camera stays closed: {closed}")
    show("apply", {"applied": facts, "closed": closed}, table, as_json)

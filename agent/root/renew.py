"""`lykta renew`: as root, daily, without a network. A new key beside the old at two thirds of a certificate's life, then the swap.

The request is in <applied>/<unit>.renewal.jws until its certificate has arrived: the uplink sends it to the centre and puts the
answer into the folder of desired records, from which `lykta apply` takes it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from agent.inbox.desired import Taken, alone
from agent.runtime.ask_status import status_of
from agent.runtime.clocks import clock_of
from agent.runtime.settings_in_force import settings_in_force
from agent.terminal import show, table_of
from privacy.errors import LyktaError, RecordError, UsageError
from privacy.files import PUBLIC, make_folder, place, read_own
from privacy.records.jws import load_chain
from privacy.records.renewal import check_answer, due_at, new_key, request, requested_key
from provisioning.identity import TLS_AND_UNITS, load_authority, renewal_of
from provisioning.keystore import UnitKeys
from provisioning.layout import Layout

Said = dict[str, tuple[str, str]]


def command(layout: Layout, files: list[Path], as_json: bool) -> int:
    """Exit code: 0; 1 if a certificate was refused. files: certificates given by hand, <unit>.pem."""
    by_hand = dict(_read(path) for path in files)
    with alone(layout):
        said = attend(layout, by_hand)
    table = table_of("key", "", "reason")
    for unit, (result, reason) in said.items():
        table.add_row(unit, result, reason)
    show("renew", {"keys": {unit: {"result": result, "reason": reason} for unit, (result, reason) in said.items()}}, table, as_json)
    return int(any(result == "refused" for result, _ in said.values()))


def attend(layout: Layout, by_hand: dict[str, bytes]) -> Said:
    """The result for each key: kept, asked, waits, swapped, fell_back or refused; and why."""
    for unit in TLS_AND_UNITS:
        _end_swap(UnitKeys.of(layout, unit))
    gone = _judge_connection(layout, UnitKeys.of(layout, "tls"))
    came = {"tls": gone} if gone else {}
    came |= {unit: _taken(layout, unit, answer) for unit, answer in by_hand.items()}
    return {unit: came.get(unit) or _wish(layout, UnitKeys.of(layout, unit)) for unit in TLS_AND_UNITS}


def take_answers(layout: Layout, left: Taken) -> Said:
    """The results for certificates from the uplink: swapped or refused. For `lykta apply`: no private key is read."""
    said: Said = {}
    for unit in TLS_AND_UNITS:
        try:
            answer = left.claim(f"{unit}.pem")
        except RecordError as problem:
            said[unit] = ("refused", str(problem))
        else:
            if answer is None:
                continue
            said[unit] = _taken(layout, unit, answer)
        left.remove_claimed(f"{unit}.pem")
    return said


def _taken(layout: Layout, unit: str, answer: bytes) -> tuple[str, str]:
    try:
        return _take(layout, UnitKeys.of(layout, unit), answer)
    except RecordError as problem:
        return "refused", str(problem)


def _end_swap(keys: UnitKeys) -> None:
    """Finish a swap that a power cut interrupted between its two steps."""
    if keys.pem(".next").exists():
        keys.swap(keep=keys.unit == "tls")


def _wish(layout: Layout, keys: UnitKeys) -> tuple[str, str]:
    """Two phases: the new key first, on the disk; then the signed request."""
    if renewal_of(layout, keys.unit).exists() and keys.key(".next").exists():
        return "waits", "for the centre's certificate"
    config = settings_in_force(layout)
    clock, present = clock_of(layout, config), load_chain(read_own(keys.pem()))[0]
    now, due = clock.now(), due_at(present)
    if not clock.trusted():
        return "kept", "the time is not trusted"
    if now < due:
        return "kept", f"until {due:%Y-%m-%d}"
    key, pem = new_key()
    keys.keep_next(pem)
    make_folder(layout.applied, 0o755)
    node = (config.node.site, config.node.id)
    place(renewal_of(layout, keys.unit), request(key, keys.signer(), node, keys.unit, now), mode=PUBLIC)
    return "asked", _ends(present.not_valid_after_utc, now)


def _ends(end: datetime, now: datetime) -> str:
    return f"the present certificate ended {end:%Y-%m-%d}" if end <= now else f"the present one ends {end:%Y-%m-%d}"


def _take(layout: Layout, keys: UnitKeys, answer: bytes) -> tuple[str, str]:
    """Take a certificate if it is for the waiting key, by our centre, for this node and unit; else `RecordError`."""
    node = settings_in_force(layout).node
    chain, wish = load_chain(answer), renewal_of(layout, keys.unit)
    _end_swap(keys)
    if answer == read_own(keys.pem()):
        if not keys.key(".next").exists():
            wish.unlink(missing_ok=True)
        return "kept", "is in force already"
    if not (keys.key(".next").exists() and wish.exists()):
        raise RecordError(f"{keys.unit}: no key waits for a certificate", "it was renewed already")
    check_answer(chain, load_authority(layout), f"{node.site}/{node.id}", keys.unit)
    if requested_key(read_own(wish)) != chain[0].public_key():
        raise RecordError(f"{keys.unit}: is not the certificate of the key that waits", "the centre answered another wish")
    place(keys.pem(".next"), answer, mode=PUBLIC)
    keys.swap(keep=keys.unit == "tls")
    wish.unlink(missing_ok=True)
    return "swapped", f"until {chain[0].not_valid_after_utc:%Y-%m-%d}"


def _judge_connection(layout: Layout, keys: UnitKeys) -> tuple[str, str] | None:
    """Check whether the broker accepts the new TLS certificate: if so the old one is destroyed, if not it is restored."""
    if not keys.key(".previous").exists():
        return None
    try:
        standing = status_of(layout, "uplink").standing
    except LyktaError:
        return None  # the uplink does not answer: checked the next day
    if standing.reason == "certificate_refused":
        keys.restore_previous()
        return "fell_back", "the broker refuses the new certificate; the one before is in force again"
    if standing.reason == "connected":
        keys.forget_previous()
    return None


def _read(path: Path) -> tuple[str, bytes]:
    if path.stem not in TLS_AND_UNITS:
        raise UsageError(f"renew: {path}: must be named after its key: {', '.join(TLS_AND_UNITS)}", "for instance tls.pem")
    try:
        return path.stem, read_own(path)
    except OSError as problem:
        raise UsageError(f"renew: {path}: {problem.strerror}", "name the file that `lykta-central renew` made") from problem

"""`lykta check`: what would keep this node from working, each with its next step. It changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from msgspec import to_builtins

from agent.commands.check.far_zone import camera
from agent.commands.check.findings import Finding
from agent.commands.check.security import security
from agent.commands.options import Json
from agent.inbox.applied import KINDS, last_judgement
from agent.runtime.ask_status import status_of
from agent.runtime.clocks import clock_of, floor_of
from agent.runtime.config import Config
from agent.runtime.settings_in_force import Effective, effective
from agent.terminal import show, table_of
from drivers.disk import room_of
from privacy.errors import LyktaError, StorageError, UsageError
from privacy.files import read_own
from privacy.masking.networks.models import load_files, stack_of
from privacy.records.basis import Permit
from privacy.records.chains import cross_check, verify_chain
from privacy.records.jws import Authority, load_chain
from privacy.records.renewal import LATE, due_at
from provisioning.identity import TLS_AND_UNITS, UNITS, load_authority, load_permit, load_signer, recipients, tls_files
from provisioning.layout import SERVICES, Layout

_LEAST_FREE_MB = 500
_LEAST_FILES = 2_000
_SOON = timedelta(days=30)
_SIGN = "assess, then `lykta-central sign basis` the next one and send it"


Check = Callable[[Layout, Config], list[Finding]]


def _keys(layout: Layout, _config: Config) -> list[Finding]:
    authority = load_authority(layout)
    for unit in UNITS:
        load_signer(layout, unit)
    tls_files(layout)
    what = f"{len(UNITS)} unit keys, TLS key, CA; clips sealed to {len(recipients(layout))} recipient(s)"
    now = datetime.now(UTC)
    old = [finding for unit in TLS_AND_UNITS if (finding := _expiry(layout, unit, now))]
    return [Finding("keys", "ok", what), *old, *_ca_expiry(authority, now)]


def _ca_expiry(authority: Authority, now: datetime) -> list[Finding]:
    """An expired CA verifies nothing; one of several may be expired while it is being replaced."""
    end = max(ca.not_valid_after_utc for ca in authority.cas)
    if now + _SOON < end:
        return []
    hint = "docs/KEY-DRILLS.md says how a CA is replaced"
    return [Finding("keys", "fail" if now >= end else "warn", f"ca.pem ends {end:%Y-%m-%d}", hint)]


def _expiry(layout: Layout, unit: str, now: datetime) -> Finding | None:
    """A finding for a certificate that is expired or was not renewed; None if it is valid."""
    leaf = load_chain(read_own(layout.certificates / f"{unit}.pem"))[0]
    end = leaf.not_valid_after_utc
    if now >= end:
        return Finding("keys", "fail", f"{unit}.pem ended {end:%Y-%m-%d}", "`lykta renew`; does its wish get to the centre?")
    if now >= due_at(leaf) + LATE:
        return Finding("keys", "warn", f"{unit}.pem ends {end:%Y-%m-%d} and was not renewed", "does the timer run `lykta renew`?")
    return None


def _records(layout: Layout, config: Config) -> list[Finding]:
    permit = load_permit(layout, config.node.site, config.node.id, config.mask.profile, config.mask.stack)
    clock = clock_of(layout, config)
    return [_standing(permit, clock.now(), clock.trusted()), *_refused(layout)]


def _standing(permit: Permit, now: datetime, trusted: bool) -> Finding:
    """How long the basis still permits filming; unknown while the time is not trusted."""
    basis, view = permit.basis, permit.view
    what = f"basis {basis.id} until {basis.end:%Y-%m-%d %H:%M} UTC, view {view.id}"
    if not trusted:
        return Finding("records", "warn", f"{what}; whether it is over is not known: the time is not trusted", "see `clock`")
    if now >= basis.end:
        return Finding("records", "fail", f"basis {basis.id} ended {basis.end:%Y-%m-%d %H:%M} UTC: the camera stays closed", _SIGN)
    if not any(hours.days for hours in basis.hours):
        return Finding("records", "fail", f"basis {basis.id} has no hours: the camera stays closed", _SIGN)
    if basis.end - now < _SOON:
        return Finding("records", "warn", f"{what}: ends in {(basis.end - now).days} days", _SIGN)
    if now < basis.begin:
        return Finding(
            "records", "warn", f"basis {basis.id} begins {basis.begin:%Y-%m-%d %H:%M} UTC", "the camera is closed until then"
        )
    return Finding("records", "ok", what)


def _refused(layout: Layout) -> list[Finding]:
    """Records that the centre desires and the node refused."""
    said = [last for kind in KINDS if (last := last_judgement(layout, kind))]
    hint = "`lykta-central sign` a better one"
    return [Finding("records", "warn", f"refused: {last.reason}", hint) for last in said if last.result == "refused"]


def _models(layout: Layout, config: Config) -> list[Finding]:
    load_files(layout.models, stack_of(config.mask.stack))
    return [Finding("models", "ok", f"{config.mask.stack}: all files have their pinned hash")]


def _storage(layout: Layout, config: Config) -> list[Finding]:
    if not layout.var.is_dir():
        raise StorageError(f"{layout.var}: is not there", "is the data partition mounted?")
    room = room_of(layout.var)
    if room.files and room.files_free < _LEAST_FILES:
        return [
            Finding(
                "storage",
                "fail",
                f"room for {room.files_free} more files (inodes)",
                "delete files, or make the disk anew with more",
            )
        ]
    free = room.free // 1_000_000
    if free < _LEAST_FREE_MB:
        return [Finding("storage", "fail", f"{free} MB free", "free space, or lower record.quota_mb")]
    if free < config.record.quota_mb:
        return [Finding("storage", "warn", f"{free} MB free, the quota is {config.record.quota_mb} MB", "lower record.quota_mb")]
    return [Finding("storage", "ok", f"{free} MB free")]


def _clock(layout: Layout, config: Config) -> list[Finding]:
    floor, clock = floor_of(layout, UNITS), clock_of(layout, config)
    now, state = clock.now(), clock.state()
    if now < floor:
        what = f"{now:%Y-%m-%d %H:%M} UTC is before {floor:%Y-%m-%d %H:%M}, which the journals know: the camera stays off"
        return [Finding("clock", "fail", what, "set the clock, or let it synchronise: is an NTP server reachable?")]
    if state == "unknown":
        hint = "is an NTP server reachable (`timedatectl timesync-status`)? or fit a real-time clock and set clock.trust"
        return [Finding("clock", "fail", "time is not trusted: the camera stays off", hint)]
    age = clock.sync_age_s()
    return [Finding("clock", "ok", state + (f", synchronised {age / 60:.0f} min ago" if age is not None else ""))]


def _journal(layout: Layout, _config: Config) -> list[Finding]:
    authority = load_authority(layout)
    chains = {unit: verify_chain(layout.journal(unit), unit, authority) for unit in UNITS}
    claims = cross_check(chains, authority).claims
    if claims:
        return [
            Finding("journal", "warn", "; ".join(claims[:3]), "one of the two is wrong: have the centre compare what it stores")
        ]
    return [Finding("journal", "ok", "chains hold: " + ", ".join(f"{unit} {chain.head.length}" for unit, chain in chains.items()))]


def _services(layout: Layout, _config: Config) -> list[Finding]:
    found = []
    for name in SERVICES:
        try:
            standing = status_of(layout, name).standing
        except LyktaError as problem:
            found.append(Finding("services", "fail", str(problem), problem.hint))
            continue
        # Off for any other reason is a fault: the basis is over, or the time is not known.
        good = standing.state == "ready" or (standing.state, standing.reason) == ("off", "outside_hours")
        found.append(Finding("services", "ok" if good else "warn", f"{name}: {standing.state} ({standing.reason})"))
    return found


CHECKS: dict[str, Check] = {
    "keys": _keys,
    "records": _records,
    "camera": camera,
    "models": _models,
    "storage": _storage,
    "clock": _clock,
    "journal": _journal,
    "services": _services,
    "security": lambda layout, _config: security(layout),
}


app = typer.Typer(add_completion=False)


@app.command()
def check(
    groups: Annotated[
        list[str] | None, typer.Argument(help="config, keys, records, camera, models, storage, clock, journal, services, security")
    ] = None,
    as_json: Json = False,
    strict: Annotated[bool, typer.Option("--strict", help="exit 3 if there are warnings")] = False,
) -> None:
    """Look for what would keep this node from working. Changes nothing."""
    raise typer.Exit(run_check(Layout.from_environment(), groups or [], as_json, strict))


def run_check(layout: Layout, groups: list[str], as_json: bool, strict: bool) -> int:
    """Exit code: 0 no findings, 1 a failure, 3 only warnings and --strict."""
    known = ["config", *CHECKS]
    for group in groups:
        if group not in known:
            raise UsageError(f"check: no such group (got {group!r})", f"known: {', '.join(known)}")
    findings = look(layout, groups or known)
    table = table_of("group", "", "what", "next step")
    for finding in findings:
        table.add_row(finding.group, finding.result, finding.what, finding.hint)
    show("check", {"findings": to_builtins(findings)}, table, as_json)
    results = {finding.result for finding in findings}
    return 1 if "fail" in results else 3 if strict and "warn" in results else 0


def look(layout: Layout, groups: list[str]) -> list[Finding]:
    """The findings of these groups. All other checks need the configuration: without a valid one there is one finding."""
    try:
        settings = effective(layout)
    except LyktaError as problem:
        return [Finding("config", "fail", str(problem), problem.hint)]
    config = settings.config
    findings = _config(layout, settings) if "config" in groups else []
    for name, check in CHECKS.items():
        if name in groups:
            findings += _guarded(name, check, layout, config)
    return findings


def _config(layout: Layout, settings: Effective) -> list[Finding]:
    if settings.trouble:
        return [Finding("config", "fail", f"{settings.trouble}: the camera stays closed", settings.trouble.hint)]
    if not settings.version:
        return [Finding("config", "ok", str(layout.config))]
    return [Finding("config", "ok", f"{layout.config}, over it version {settings.version} from the centre")]


def _guarded(name: str, check: Check, layout: Layout, config: Config) -> list[Finding]:
    try:
        return check(layout, config)
    except LyktaError as problem:
        return [Finding(name, "fail", str(problem), problem.hint)]

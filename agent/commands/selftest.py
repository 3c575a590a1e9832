"""`lykta selftest`: the self-test on demand, alone or with everything that an installation is checked for."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from agent.commands.diag import hand_in
from agent.commands.mask.command import model_folder
from agent.commands.mask.report import write_report
from agent.runtime.settings_in_force import settings_in_force
from agent.terminal import show, table_of
from privacy.masking.networks.detectors import open_stack
from privacy.masking.networks.models import installed
from privacy.masking.self_test import Check, run
from provisioning.layout import Layout


def command(layout: Layout, models: Path | None, install: bool, report: Path | None, send: bool, as_json: bool) -> int:
    """0 if all passed, else 1. Without --models: the node's configured stack, or the one `make setup` installed.

    send   also leave the report to the uplink, which carries it to the centre
    """
    folder = model_folder(models)
    name = settings_in_force(layout).mask.stack if layout.config.exists() and models is None else installed(folder)
    detector = open_stack(name, folder)
    checks = run(detector)
    passed = all(check.passed for check in checks)
    facts = {"stack": name, "models": detector.models, "passed": passed, "checks": msgspec.to_builtins(checks)}
    whole = {"schema": "lykta.selftest/1", **facts}
    if report:
        write_report(report, whole)
    _show(checks, facts, as_json)
    if send:
        hand_in(layout, "report", "selftest.json", json.dumps(whole).encode())
    if install:
        from agent.commands.check.command import command as check_all

        return max(int(not passed), check_all(layout, [], as_json, strict=False))
    return int(not passed)


def _show(checks: tuple[Check, ...], facts: dict[str, object], as_json: bool) -> None:
    table = table_of("self-test", "", "detail")
    for check in checks:
        table.add_row(check.name, "passed" if check.passed else "FAILED", check.detail)
    show("selftest", facts, table, as_json)

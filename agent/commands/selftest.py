"""`lykta selftest`: the self-test on demand, alone or with all checks of an installation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from agent.commands.diag import hand_in
from agent.commands.options import Json
from agent.runtime.settings_in_force import settings_in_force
from agent.terminal import show, table_of
from provisioning.layout import Layout

if TYPE_CHECKING:
    from privacy.masking.self_test import Check

app = typer.Typer(add_completion=False)


@app.command()
def selftest(
    models: Annotated[Path | None, typer.Option(help="another folder with the model files than the node's")] = None,
    install: Annotated[bool, typer.Option("--install", help="also everything that `lykta check` looks at")] = False,
    report: Annotated[Path | None, typer.Option(help="also write the result as JSON")] = None,
    send: Annotated[bool, typer.Option("--send", help="also let the uplink carry the result to the centre")] = False,
    as_json: Json = False,
) -> None:
    """Show drawn people to the networks and paint them: proves the path, not how many real people are found."""
    raise typer.Exit(run_selftest(Layout.from_environment(), models, install, report, send, as_json))


def run_selftest(layout: Layout, models: Path | None, install: bool, report: Path | None, send: bool, as_json: bool) -> int:
    """Exit code: 0 if all passed, else 1. Without --models: the node's configured stack, or the one `make setup` installed.

    send   also pass the report to the uplink, which sends it to the centre
    """
    from agent.commands.mask.report import write_report
    from agent.commands.mask.run import model_folder
    from privacy.masking.networks.detectors import open_stack
    from privacy.masking.networks.models import installed
    from privacy.masking.self_test import run

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
        from agent.commands.check.command import run_check

        return max(int(not passed), run_check(layout, [], as_json, strict=False))
    return int(not passed)


def _show(checks: tuple[Check, ...], facts: dict[str, object], as_json: bool) -> None:
    table = table_of("self-test", "", "detail")
    for check in checks:
        table.add_row(check.name, "passed" if check.passed else "FAILED", check.detail)
    show("selftest", facts, table, as_json)

"""Commands that systemd's units start: services, and helpers that end by themselves."""

from __future__ import annotations

import typer

from agent.services import serve
from provisioning.layout import Layout

app = typer.Typer(add_completion=False)


@app.command()
def camera() -> None:
    """The service that films: captures, masks, encodes, seals. No network."""
    raise typer.Exit(serve("camera"))


@app.command()
def io() -> None:
    """The service that helps: button and lamp. No pixels, no network."""
    raise typer.Exit(serve("io"))


@app.command()
def uplink() -> None:
    """The service that talks: MQTT and upload. No devices."""
    raise typer.Exit(serve("uplink"))


@app.command()
def retention() -> None:
    """Delete what is past its deadline, free what was received, obey orders: once. systemd's timer runs it."""
    from agent.clips.retention import serve as once

    raise typer.Exit(once(Layout.from_environment()))


@app.command()
def setup() -> None:
    """The page of a visit: what the camera sees, masked, on one phone, for an hour at most. systemd starts it by the held
    service button; `ssh -L 8080:/run/lykta/setup/page.sock NODE` brings it to http://localhost:8080 there."""
    from agent.setup.service import serve as show

    raise typer.Exit(show(Layout.from_environment()))


@app.command("last-word", hidden=True)
def last_word(unit: str) -> None:
    """What systemd's failure hook runs."""
    from agent.runtime.exit_report import leave

    raise typer.Exit(leave(Layout.from_environment(), unit))

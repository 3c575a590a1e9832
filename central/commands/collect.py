"""The command `lykta-central collect`: stores what the nodes say over MQTT, accounts for it, and hands alarms on."""

from __future__ import annotations

import re
import socket
from typing import Annotated

import typer

from central.commands.options import KeysFolder
from privacy.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command()
def collect(
    keys: KeysFolder,
    broker: Annotated[str, typer.Option(help="HOST:PORT of the broker's listener for operators")],
    database: Annotated[
        str, typer.Option(help="sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME", show_default="sqlite, KEYS/collect.db")
    ] = "",
    share: Annotated[str, typer.Option(help="group of collectors that share events and health", show_default="none")] = "",
    replica: Annotated[
        str, typer.Option(help="name of this collector in the group, the same at each start", show_default="host name")
    ] = "",
    metrics: Annotated[str, typer.Option(help="ADDR:PORT where Prometheus reads /metrics")] = "",
    alertmanager: Annotated[str, typer.Option(help="address of Alertmanager, which gets the alarms")] = "",
    webhook: Annotated[str, typer.Option(help="or an address that gets each alarm as JSON")] = "",
    keep_days: Annotated[int, typer.Option(min=1, max=3650, help="days that messages are kept")] = 30,
    keep_band_days: Annotated[int, typer.Option(min=1, max=3650, help="days that bands of an hour are kept")] = 400,
    max_rows: Annotated[int, typer.Option(min=0, help="messages that are kept at most, the oldest go; 0: no limit")] = 0,
    clip_hours: Annotated[int, typer.Option(min=0, help="hours that nodes keep a clip by their basis; 0: not known, no alarm")] = 0,
) -> None:
    """Collect the nodes' messages into a database until SIGTERM; a message is confirmed to the broker when it is stored.

    Several may run in one group (--share), on one PostgreSQL. For instance:
    lykta-central collect KEYS --broker 127.0.0.1:8884 --metrics 127.0.0.1:9464
    """
    from central.fleet.collect.notifying import Receiver
    from central.fleet.collect.run import Settings, run
    from central.fleet.collect.store.retention import Limits
    from central.keys.bundle import Address

    if alertmanager and webhook:
        raise UsageError("collect: --webhook: has no meaning with --alertmanager", "Alertmanager has webhooks of its own")
    receiver = Receiver.parse("alertmanager", alertmanager) if alertmanager else None
    receiver = Receiver.parse("webhook", webhook) if webhook else receiver
    run(
        Settings(
            keys=keys,
            broker=Address.parse(broker),
            database=database or f"sqlite:///{keys.resolve() / 'collect.db'}",
            share=_name("share", share) if share else "",
            replica=_name("replica", replica or socket.gethostname().lower()),
            metrics=Address.parse(metrics) if metrics else None,
            receiver=receiver,
            limits=Limits(keep_days, keep_band_days, max_rows),
            clip_hours=clip_hours or None,
        )
    )


def _name(option: str, text: str) -> str:
    """A name that may stand in a topic and in a client id."""
    if not re.fullmatch(r"[a-z0-9.-]{1,64}", text):
        raise UsageError(
            f"collect: --{option}: must be lower case, digits, dots and hyphens, 64 at most (got {text[:80]!r})",
            "for instance collect-1",
        )
    return text

"""The command `lykta-central console`: the pages of operations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privacy.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command()
def console(
    database: Annotated[str, typer.Option(help="the collector's: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME")],
    listen: Annotated[str, typer.Option(help="ADDR:PORT")] = "127.0.0.1:8080",
    tls: Annotated[tuple[Path, Path] | None, typer.Option(metavar="CERT KEY", help="serve HTTPS with this certificate")] = None,
    client_ca: Annotated[
        Path | None, typer.Option(help="KEYS/ca.pem: who shows an officer's certificate of this CA may draft answers")
    ] = None,
    officers: Annotated[Path | None, typer.Option(help="KEYS/roles.jws: who is not in it may only read")] = None,
    proxy_from: Annotated[str, typer.Option(help="address of the reverse proxy whose header names the officer")] = "",
    user_header: Annotated[str, typer.Option(help="that header, for instance X-Remote-User")] = "",
    clip_hours: Annotated[int, typer.Option(min=0, help="hours that nodes keep a clip by their basis; 0: not known")] = 0,
) -> None:
    """Serve the console until SIGTERM: calls for help, who needs a visit, areas, nodes, clips. It has no key: it drafts
    answers, and `lykta-central answer` signs them. Without an officer's certificate or the proxy's header it can be read only.

    For instance: lykta-central console --database URL --tls C.pem C.key --client-ca KEYS/ca.pem --officers KEYS/roles.jws
    """
    from central.fleet.console.run import Settings, run
    from central.fleet.console.server import Tls
    from central.keys.bundle import Address

    if (client_ca or officers) and not tls:
        raise UsageError("console: --client-ca: needs --tls", "a certificate is shown over TLS only")
    if officers and not client_ca:
        raise UsageError("console: --officers: needs --client-ca", "the list is signed by that CA")
    if bool(proxy_from) != bool(user_header):
        raise UsageError("console: --proxy-from and --user-header belong together", "name both, or none")
    run(
        Settings(
            database=database,
            listen=Address.parse(listen),
            tls=Tls(tls[0], tls[1], client_ca) if tls else None,
            officers=officers,
            proxy=proxy_from,
            header=user_header.lower(),
            clip_hours=clip_hours or None,
        )
    )

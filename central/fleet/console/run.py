"""The console as a process, until SIGTERM or SIGINT."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from central.fleet.collect.reporting import Reporter
from central.fleet.collect.store.database import dispose, open_database, told_as_error
from central.fleet.collect.store.migrating import migrate
from central.fleet.console.http import Console
from central.fleet.console.identity import Identities, OfficerList
from central.fleet.console.pages import Pages
from central.fleet.console.server import Tls, make_server
from central.fleet.console.snapshot import Snapshots
from central.fleet.console.visit_list import VisitList
from central.keys.bundle import Address
from central.keys.key_folder import read
from privacy.records.jws import Authority, load_chain


class Settings(Struct, frozen=True):
    """header: in lower case; proxy: the address from which it counts; each "" without one. clip_hours: None if not known."""

    database: str
    listen: Address
    tls: Tls | None
    officers: Path | None
    proxy: str
    header: str
    clip_hours: int | None


def run(settings: Settings) -> None:
    """Serve. Tables are made first. `UsageError` for an address, certificate or database that cannot be used."""
    report = Reporter("console")
    writes, reads = open_database(settings.database), open_database(settings.database, reading=True)
    with told_as_error(writes):
        migrate(writes)
    listed = None
    if settings.officers and settings.tls and settings.tls.client_ca:
        listed = OfficerList(settings.officers, Authority(load_chain(read(settings.tls.client_ca))))
    identities = Identities(report, settings.proxy, settings.header, listed)
    snapshots = Snapshots(reads)
    with told_as_error(reads):
        snapshots.read()  # all names of the stops, so that the first reader does not wait for them
    snapshots.expire()
    console = Console(Pages(reads, snapshots, VisitList(reads), settings.clip_hours), writes, identities, report)
    server = make_server(console.app(), settings.listen, settings.tls)
    console.ending = lambda: server.should_exit
    report.say(f"http{'s' if settings.tls else ''}://{settings.listen.host}:{settings.listen.port}")
    try:
        server.run()
    finally:
        dispose(reads)
        dispose(writes)

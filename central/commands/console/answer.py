"""The command `lykta-central answer`: signs at the desk what the console drafted."""

from __future__ import annotations

from typing import Annotated

import typer

from central.commands.options import KeysFolder, OfficerName, print_result

app = typer.Typer(add_completion=False)


@app.command()
def answer(
    keys: KeysFolder,
    broker: Annotated[str, typer.Option(help="HOST:PORT of the broker's listener for operators")],
    database: Annotated[str, typer.Option(help="the collector's: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME")],
    once: Annotated[bool, typer.Option(help="answer what waits now, and end")] = False,
    officer: OfficerName = "",
) -> None:
    """Sign and send the answers to calls for help that were drafted in the console, until SIGTERM. Runs at the desk, where the
    keys are; the officer needs the right `order`. Each answer is in the access log, signed by the officer; only a call that
    stands is answered.

    For instance: lykta-central answer KEYS --broker 127.0.0.1:8884 --database sqlite:///KEYS/collect.db --as eva-ek
    """
    import signal
    from threading import Event

    from central.fleet.answering import AnsweringDesk
    from central.fleet.collect.reporting import Reporter
    from central.fleet.collect.store.database import dispose, open_database, told_as_error
    from central.fleet.collect.store.migrating import migrate
    from central.keys.bundle import Address
    from central.keys.officers import authorize

    Address.parse(broker)
    who = authorize(keys, officer, "order", {"act": "answer"})
    engine, report, stop = open_database(database), Reporter("answer"), Event()
    with told_as_error(engine):
        migrate(engine)
    desk = AnsweringDesk(keys, broker, who.name, engine, report, lambda line: print_result("answer", {}, line, as_json=False))
    try:
        if once:
            desk.answer_waiting()
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        report.say(f"answers as {who.name}")
        desk.run(stop)
    finally:
        dispose(engine)

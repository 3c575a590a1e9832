"""Migrations make exactly the tables that the code names, on both databases, once."""

from __future__ import annotations

import threading

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine

from central.fleet.collect.store.migrating import migrate
from central.fleet.collect.store.tables import metadata
from tests.support.collecting import ready, rows


def test_migrations_make_the_tables_of_the_code(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    assert rows(engine, "SELECT version_num FROM alembic_version") == [("0002",)]
    migrate(engine)


def test_several_collectors_that_start_at_once_migrate_once(url: str) -> None:
    failures: list[BaseException] = []

    def start() -> None:
        try:
            ready(url).dispose()
        except BaseException as problem:  # noqa: BLE001 - judged below
            failures.append(problem)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []

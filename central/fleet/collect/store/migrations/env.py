"""Run by alembic, with the connection of `central.fleet.collect.store.migrating`; there is no other way to run it."""

from __future__ import annotations

from alembic import context

from central.fleet.collect.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()

"""Brings the tables of a database up to date, with alembic; run at every start, by one process at a time."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

_LOCK = 7_106_001
"""Number of the advisory lock of PostgreSQL; of SQLite the transaction holds the lock."""


def migrate(engine: Engine) -> None:
    """Make or upgrade the tables in one transaction; nothing if they are up to date."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

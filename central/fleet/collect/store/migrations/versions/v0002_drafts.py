"""Answers to calls for help that were drafted in the console."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    keys = [sa.Column(name, sa.Text, primary_key=True) for name in ("node", "press")]
    texts = [sa.Column(name, sa.Text, nullable=False, server_default="") for name in ("officer", "state", "reason")]
    op.create_table("drafts", *keys, *texts, sa.Column("changed", sa.BigInteger, nullable=False))
    op.create_index("drafts_by_state", "drafts", ["state"])

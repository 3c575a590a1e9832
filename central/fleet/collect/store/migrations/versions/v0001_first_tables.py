"""The first tables of the collector, as they were on 2026-11-30. A migration is never changed; the next one amends it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _messages()
    _accounts()
    _nodes()
    _alarms()
    _clips()
    told = [*_texts("epoch"), *_numbers("seq", "received", "told"), *_texts("numbers", "unreadable")]
    op.create_table("health", *_keys("node", "health_group"), *told)
    op.create_table("hours", *_keys("node"), _number_key("hour"), *_keys("what"), *_texts("band"))
    op.create_table("replicas", *_keys("replica"), *_numbers("seen"))


def _messages() -> None:
    binary = [sa.Column(name, sa.LargeBinary, nullable=False) for name in ("digest", "payload")]
    named = [
        *_keys("node", "epoch"),
        _number_key("seq"),
        *_texts("kind", "tail"),
        *_numbers("received", "told", "rank"),
        *_flags("late"),
    ]
    op.create_table("messages", *named, *binary)
    op.create_index("messages_by_received", "messages", ["received"])
    op.create_index("messages_by_tail", "messages", ["node", "tail", "received"])
    key = sa.Column("digest", sa.LargeBinary, primary_key=True)
    payload = sa.Column("payload", sa.LargeBinary, nullable=False)
    op.create_table("conflicts", *_keys("node", "epoch"), _number_key("seq"), key, *_numbers("received"), *_texts("tail"), payload)
    op.create_index("conflicts_by_received", "conflicts", ["received"])


def _accounts() -> None:
    keys = [*_keys("node", "epoch"), _number_key("first"), _number_key("last"), *_keys("cause")]
    op.create_table("tombstones", *keys, *_numbers("received"))
    op.create_table(
        "epochs", *_keys("node", "epoch"), *_numbers("last", "start", "settled", "rank", "proof", "began", "heard"), *_flags("open")
    )
    op.create_table("gaps", *_keys("node", "epoch"), _number_key("first"), *_numbers("last"), *_texts("cause"), *_numbers("found"))
    op.create_index("gaps_by_cause", "gaps", ["cause"])


def _nodes() -> None:
    seen = [*_keys("node"), *_numbers("first_heard", "heard"), *_moments("lost"), *_numbers("back")]
    state = [
        *_texts("state", "reason"),
        *_moments("since", "until"),
        *_texts("owner", "services", "state_epoch"),
        *_numbers("state_seq"),
    ]
    describe = [*_texts("describe", "describe_epoch"), *_numbers("describe_seq", "help_test"), *_texts("help_button")]
    op.create_table("nodes", *seen, *state, *describe)


def _alarms() -> None:
    named = [sa.Column("id", sa.Integer, primary_key=True), *_texts("node", "name", "reason", "ref", "origin", "epoch")]
    times = [*_numbers("seq", "raised"), *_moments("ended"), *_texts("ending"), *_moments("answered", "told_at", "claimed")]
    op.create_table("alarms", *named, *times)
    standing = sa.text("ended IS NULL")
    op.create_index("alarms_standing", "alarms", ["node", "name"], unique=True, sqlite_where=standing, postgresql_where=standing)
    op.create_index("alarms_by_ended", "alarms", ["ended"])
    op.create_table("streams", *_keys("replica", "node", "name"), *_texts("epoch"), *_numbers("seq"))
    op.create_table("presses", *_keys("node", "press"), *_moments("pressed", "taken", "unanswered"))
    op.create_index("presses_by_pressed", "presses", ["pressed"])


def _clips() -> None:
    named = [*_keys("node", "clip"), *_texts("stage", "trigger", "reason"), *_numbers("bytes", "began", "changed")]
    op.create_table("clips", *named, *_moments("uploaded"), *_texts("epoch"), *_numbers("seq"))
    op.create_index("clips_by_began", "clips", ["node", "began"])
    op.create_index("clips_by_stage", "clips", ["stage", "began"])


def _keys(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Text, primary_key=True) for name in names]


def _number_key(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, primary_key=True, autoincrement=False)


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Text, nullable=False, server_default="") for name in names]


def _numbers(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def _moments(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.BigInteger, nullable=True) for name in names]


def _flags(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Boolean, nullable=False) for name in names]

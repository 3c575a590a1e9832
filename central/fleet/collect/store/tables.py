"""The collector's tables. Names and columns are a contract with the console; a change needs a migration.

A node is named "site/node". Times are whole milliseconds since 1970: `received` is the centre's clock, `told` the node's.
Texts that came from a node are printable and bounded before they get here (`intake`).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text, text

metadata = MetaData()


def _key(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True)


def _number(name: str, *, key: bool = False, empty: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=key, nullable=empty, autoincrement=False)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


messages = Table(
    "messages",
    metadata,
    _key("node"),
    _key("epoch"),
    _number("seq", key=True),
    _text("kind"),
    _text("tail"),
    _number("received"),
    _number("told"),
    _number("rank"),
    _flag("late"),
    Column("digest", LargeBinary, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Index("messages_by_received", "received"),
    Index("messages_by_tail", "node", "tail", "received"),
)
"""Every message once. digest: SHA-256 without the mark of lateness; late: the node said so, or its clock was not trusted."""

conflicts = Table(
    "conflicts",
    metadata,
    _key("node"),
    _key("epoch"),
    _number("seq", key=True),
    Column("digest", LargeBinary, primary_key=True),
    _number("received"),
    _text("tail"),
    Column("payload", LargeBinary, nullable=False),
    Index("conflicts_by_received", "received"),
)
"""A second message with a number that another content had: two nodes with one identity, or a node whose disk was put back."""

tombstones = Table(
    "tombstones",
    metadata,
    _key("node"),
    _key("epoch"),
    _number("first", key=True),
    _number("last", key=True),
    _key("cause"),
    _number("received"),
)
"""Numbers that the node itself said will not come, and why; of epoch `epoch`, whichever epoch the tombstone came in."""

epochs = Table(
    "epochs",
    metadata,
    _key("node"),
    _key("epoch"),
    _number("last"),
    _number("start"),
    _number("settled"),
    _number("rank"),
    _number("proof"),
    _number("began"),
    _number("heard"),
    _flag("open"),
)
"""What is known of each outbox of a node, as in `accounting.Epoch`. open: something came since the last account."""

gaps = Table(
    "gaps",
    metadata,
    _key("node"),
    _key("epoch"),
    _number("first", key=True),
    _number("last"),
    _text("cause"),
    _number("found"),
    Index("gaps_by_cause", "cause"),
)
"""Numbers that were not heard, and why (`accounting.Why`)."""

nodes = Table(
    "nodes",
    metadata,
    _key("node"),
    _number("first_heard"),
    _number("heard"),
    _number("lost", empty=True),
    _number("back"),
    _text("state"),
    _text("reason"),
    _number("since", empty=True),
    _number("until", empty=True),
    _text("owner"),
    _text("services"),
    _text("state_epoch"),
    _number("state_seq"),
    _text("describe"),
    _text("describe_epoch"),
    _number("describe_seq"),
    _number("help_test"),
    _text("help_button"),
)
"""What is known of each node now. lost: when its will came, empty if it was heard after that; back: when that was.

services, describe: JSON. help_test: when the last one came, 0 if none did.
"""

alarms = Table(
    "alarms",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("node"),
    _text("name"),
    _text("reason"),
    _text("ref"),
    _text("origin"),
    _text("epoch"),
    _number("seq"),
    _number("raised"),
    _number("ended", empty=True),
    _text("ending"),
    _number("answered", empty=True),
    _number("told_at", empty=True),
    _number("claimed", empty=True),
    Index(
        "alarms_standing", "node", "name", unique=True, sqlite_where=text("ended IS NULL"), postgresql_where=text("ended IS NULL")
    ),
    Index("alarms_by_ended", "ended"),
)
"""origin: node or collector. answered: a call for help was taken.

told_at: when the webhook last took it; claimed: since when a replica tells it.
"""

streams = Table(
    "streams",
    metadata,
    _key("replica"),
    _key("node"),
    _key("name"),
    _text("epoch"),
    _number("seq"),
)
"""The alarm that a replica last saw on a topic: an empty message in its stream ends that one, and no later one."""

clips = Table(
    "clips",
    metadata,
    _key("node"),
    _key("clip"),
    _text("stage"),
    _text("trigger"),
    _text("reason"),
    _number("bytes"),
    _number("began"),
    _number("changed"),
    _number("uploaded", empty=True),
    _text("epoch"),
    _number("seq"),
    Index("clips_by_began", "node", "began"),
    Index("clips_by_stage", "stage", "began"),
)
"""began: by the clip's name (UUIDv7), 0 if that says none; changed: when the last of its messages came."""

presses = Table(
    "presses",
    metadata,
    _key("node"),
    _key("press"),
    _number("pressed", empty=True),
    _number("taken", empty=True),
    _number("unanswered", empty=True),
    Index("presses_by_pressed", "pressed"),
)

health = Table(
    "health",
    metadata,
    _key("node"),
    _key("health_group"),
    _text("epoch"),
    _number("seq"),
    _number("received"),
    _number("told"),
    _text("numbers"),
    _text("unreadable"),
)
"""The last message of each group of each node. numbers, unreadable: JSON. Earlier ones: `messages`, tail health/<group>."""

hours = Table(
    "hours",
    metadata,
    _key("node"),
    _number("hour", key=True),
    _key("what"),
    _text("band"),
)
"""What is kept after the messages are deleted: a band an hour, never a number (R44). hour: its beginning."""

replicas = Table(
    "replicas",
    metadata,
    _key("replica"),
    _number("seen"),
)
"""Collectors that share the subscription; `seen` is renewed as long as one runs."""

drafts = Table(
    "drafts",
    metadata,
    _key("node"),
    _key("press"),
    _text("officer"),
    _text("state"),
    _text("reason"),
    _number("changed"),
    Index("drafts_by_state", "state"),
)
"""Answers to calls for help that somebody drafted in the console (`central.fleet.console.drafts`), to be signed at the desk.

state: draft, sent, or a final result of a command. changed: when it got this state.
"""

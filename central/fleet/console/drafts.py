"""Answers to calls for help: drafted in the console, claimed and settled by the desk that has the key.

A draft can be claimed once, so that of two desks one answers. One whose desk gave no result in `GIVEN_UP_MS` can be drafted again.
"""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Connection, and_, or_, select, update

from central.fleet.collect.store.database import insert
from central.fleet.collect.store.tables import alarms, drafts

DRAFT, SENT = "draft", "sent"
GIVEN_UP_MS = 20_000
"""Longer than a desk waits for a node's answer."""
_MOST = 20


class Draft(Struct, frozen=True):
    """node: "site/node"; press: names the press; officer: who pressed the button in the console."""

    node: str
    press: str
    officer: str


def draft_answer(connection: Connection, node: str, press: str, officer: str, now: int) -> bool:
    """Draft the answer to a call; False if no such call waits, or its answer is on its way. now: ms since 1970."""
    call = and_(alarms.c.node == node, alarms.c.name == "help", alarms.c.ref == press)
    waits = and_(call, alarms.c.ended.is_(None), alarms.c.answered.is_(None))
    if not connection.execute(select(alarms.c.id).where(waits)).first():
        return False
    row = {"officer": officer, "state": DRAFT, "reason": "", "changed": now}
    statement = insert(connection, drafts).values(node=node, press=press, **row)
    stuck = or_(drafts.c.state.not_in((DRAFT, SENT)), drafts.c.changed < now - GIVEN_UP_MS)
    statement = statement.on_conflict_do_update(index_elements=["node", "press"], set_=row, where=stuck)
    # The number of rows is not told for this statement by every driver; what it returns is.
    return connection.execute(statement.returning(drafts.c.node)).first() is not None


def claim(connection: Connection, now: int) -> list[Draft]:
    """Take the drafts that wait; no other desk gets them."""
    waiting = select(drafts.c.node, drafts.c.press, drafts.c.officer).where(drafts.c.state == DRAFT).limit(_MOST)
    taken = []
    for row in connection.execute(waiting).all():
        here = and_(drafts.c.node == row.node, drafts.c.press == row.press, drafts.c.state == DRAFT)
        if connection.execute(update(drafts).where(here).values(state=SENT, changed=now)).rowcount:
            taken.append(Draft(row.node, row.press, row.officer))
    return taken


def settle(connection: Connection, draft: Draft, result: str, reason: str, now: int) -> None:
    """What came of an answer: done, refused or failed, and why."""
    here = and_(drafts.c.node == draft.node, drafts.c.press == draft.press)
    connection.execute(update(drafts).where(here).values(state=result, reason=reason, changed=now))

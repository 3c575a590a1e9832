"""The list of visits: reads the fleet once, judges each suspect, sorts by urgency."""

from __future__ import annotations

from collections import Counter
from typing import Final

from sqlalchemy import Connection

from central.fleet.visits.causes import CAUSES
from central.fleet.visits.evidence import FLEET_SHARE
from central.fleet.visits.groups import Groups
from central.fleet.visits.infer import infer
from central.fleet.visits.link import GROUP
from central.fleet.visits.reading import evidence
from central.fleet.visits.suspects import look
from central.fleet.visits.visit import Visit

_OF_THE_CENTRE: Final = ("mobile_link", "mobile_cell", "clock", "help_path")
"""If half of the fleet has one of these, it is the centre, its network or a time server, and no node needs a visit."""


def visits(connection: Connection, now: int, area: str = "") -> tuple[Visit, ...]:
    """Every node that somebody has to care for, the most urgent first, then the oldest. area: of this one only, "" for all.

    now: ms since 1970. The whole fleet is looked at in any case: neighbours count.
    """
    fleet = look(connection, now)
    groups = Groups(fleet)
    names = [name for name in fleet.suspects if not groups.with_the_fleet(name)]
    found = [one for facts in evidence(connection, groups, names, now) if (one := infer(facts))]
    common = Counter(one.cause for one in found)
    most = max(GROUP + 1, FLEET_SHARE * len(fleet.members))
    left = [one for one in found if area in ("", one.area) and not (one.cause in _OF_THE_CENTRE and common[one.cause] >= most)]
    return tuple(sorted(left, key=lambda one: (CAUSES[one.cause].urgency, one.since_ms, one.node)))

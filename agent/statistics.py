"""What a node says of an hour: bands, never counts (R44)."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from agent.envelope import Route, Sent
from agent.ranks import Rank

PeopleClass = Literal["none", "few", "some", "crowd"]
Band = Literal["none", "little", "half", "most", "all"]
"""A share of an hour: up to a quarter, up to three quarters, more, all but half a minute."""
HelpBand = Literal["none", "one", "few", "many"]
"""Presses in an hour; few: two or three."""
Availability = Literal["filming", "resting", "blind"]


class HourStats(Sent, frozen=True, tag="hour"):
    """stats/hour: an hour in bands (R44). Time of which nothing is known is in no other share; light: of the stop's own.

    hour          when it began
    presence      share of the hour with so many people, while the node filmed
    availability  share of the hour in which it filmed, rested lawfully, should have filmed and could not
    unknown       share of the hour without knowledge, of each
    """

    route: ClassVar = Route("stats/hour", Rank.PRESENCE)
    hour: datetime
    presence: dict[PeopleClass, Band]
    light: Band | Literal["not_fitted"]
    help: HelpBand
    availability: dict[Availability, Band]
    unknown: dict[Literal["presence", "light", "help", "availability"], Band]

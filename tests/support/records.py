"""A basis and a view that fit each other, and any moment about them."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from privacy.records.basis import Area, Basis, Hours, View

WHOLE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
AREA = Area("stop", "KBL11.5b", False, WHOLE)
VIEW = View("view-1", "basis-1", "city", "stop-1", (AREA,))
BASIS = Basis(
    id="basis-1",
    assessment="2026-17",
    type="hallplats",
    controller="Linköpings kommun",
    site="city",
    node="stop-1",
    stop="Centrum A",
    purpose="order",
    hours=(Hours((1, 2, 3, 4, 5, 6, 7), "18:00", "06:00"),),
    least_profile="standard",
    retention_hours=72,
    stacks=("yolox-nano+yunet",),
    begin=datetime(2026, 1, 1, tzinfo=UTC),
    end=datetime(2027, 1, 1, tzinfo=UTC),
)
ANY_TIME = st.datetimes(datetime(2025, 12, 1), datetime(2027, 2, 1), timezones=st.just(UTC))

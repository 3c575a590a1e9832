"""Makes the pages of the console and their live parts from what the collector stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Engine

from central.fleet.console import areas, node_facts, search
from central.fleet.console.rendering import render
from central.fleet.console.snapshot import Snapshot, Snapshots, now_ms
from central.fleet.console.visit_list import VisitList

_AWAY_MS = 60_000
"""A collector renews its sign of life every few seconds."""
_MOST_VISITS, VISITS_PAGE = 12, 100


class Viewer(Struct, frozen=True):
    """language: sv or en; officer: "" for somebody who may only read; path, query: of the page, for links to other languages."""

    language: str
    officer: str
    path: str = "/"
    query: str = ""


@dataclass(frozen=True)
class Pages:
    """reads: an engine that is not written with; clip_hours: that a node keeps a clip, None if not known."""

    reads: Engine
    snapshots: Snapshots
    visit_list: VisitList
    clip_hours: int | None

    def live(self, view: str, viewer: Viewer) -> dict[str, str]:
        """The parts of a page that change, by name. view: overview, or node:SITE/NODE; any other has the calls alone."""
        snapshot = self.snapshots.read()
        parts = {"calls": self._part("_calls.html", viewer, calls=snapshot.calls, away_ms=_away(snapshot))}
        kind, _, name = view.partition(":")
        if kind == "overview":
            found = self.visit_list.read()
            parts["visits"] = self._part("_visits.html", viewer, visits=found[:_MOST_VISITS], total=len(found), heading="h3")
            parts["areas"] = self._part("_areas.html", viewer, areas=areas.areas(snapshot))
        elif kind == "node" and name in snapshot.stops:
            with self.reads.begin() as connection:
                now = node_facts.live(connection, name, self.clip_hours, now_ms())
            parts["node"] = self._part("_node.html", viewer, stop=snapshot.stops[name], node=now)
        return parts

    def overview(self, viewer: Viewer) -> str:
        return self._page("overview.html", viewer, "overview", total=len(self.snapshots.read().stops))

    def node(self, viewer: Viewer, node: str) -> str | None:
        """None for a node that was never heard."""
        stop = self.snapshots.read().stops.get(node)
        if stop is None:
            return None
        with self.reads.begin() as connection:
            details = node_facts.details(connection, node, now_ms())
        return self._page("node.html", viewer, f"node:{node}", stop=stop, details=details)

    def visits(self, viewer: Viewer, page: int) -> str:
        found = self.visit_list.read()
        shown = found[page * VISITS_PAGE : (page + 1) * VISITS_PAGE]
        more = (page + 1) * VISITS_PAGE < len(found)
        return self._page("visits.html", viewer, "visits", visits=shown, total=len(found), page=page, more=more)

    def area(self, viewer: Viewer, name: str, page: int) -> str:
        found = areas.of_area(self.snapshots.read(), name)
        shown = found[page * areas.PAGE : (page + 1) * areas.PAGE]
        more = (page + 1) * areas.PAGE < len(found)
        return self._page("area.html", viewer, "area", name=name, stops=shown, total=len(found), page=page, more=more)

    def clips(self, viewer: Viewer, text: str) -> str:
        """Clips by stop and time; text: "" for an empty form."""
        question = search.read_question(text, datetime.now(UTC))
        stops = search.matching(self.snapshots.read().stops.values(), question.words)
        found: list[search.Found] = []
        if stops and question.at_ms is not None:
            with self.reads.begin() as connection:
                found = search.near(connection, stops, question.at_ms, self.clip_hours)
        shown = text[: search.LONGEST]
        return self._page("clips.html", viewer, "clips", text=shown, question=question, stops=stops, found=found)

    def message(self, viewer: Viewer, key: str) -> str:
        """A page that says one thing. key: of the texts."""
        return self._page("message.html", viewer, "message", key=key)

    def _page(self, template: str, viewer: Viewer, view: str, **facts: Any) -> str:
        return render(template, viewer.language, viewer=viewer, view=view, live=self.live(view, viewer), **facts)

    def _part(self, template: str, viewer: Viewer, **facts: Any) -> str:
        return render(template, viewer.language, officer=viewer.officer, **facts)


def _away(snapshot: Snapshot) -> int | None:
    """When a collector was seen last if none runs, 0: never; None if one runs."""
    return snapshot.collector_ms if now_ms() - snapshot.collector_ms > _AWAY_MS else None

"""Health groups: flat numbers and words, made from the declarations of the types; null with the reason where one cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct

from agent.messages import Health, HealthGroup
from agent.runtime.routes import Route, routes
from agent.runtime.status import STATUS, Status
from privacy.errors import LyktaError

Reader = Callable[[], float | int | str]
Numbers = dict[str, float | int | None]
GROUPS: tuple[HealthGroup, ...] = ("system", "power", "storage", "camera", "privacy", "link", "clock", "buffer", "agent")


class Group(Struct):
    """A group while it is collected. routes: of each number and word, by its name in the message."""

    values: Numbers = {}
    unreadable: dict[str, str] = {}
    words: dict[str, str] = {}
    routes: dict[str, Route] = {}

    def put(self, name: str, route: Route, value: object, why: str = "") -> None:
        """Take one value. why: the reason for None, instead of the declared one."""
        self.routes[name] = route
        if isinstance(value, str) and value:
            self.words[name] = value
        elif value is None or value == "":
            self.values[name] = None
            self.unreadable[name] = why or route.absent
        else:
            assert isinstance(value, int | float)
            self.values[name] = int(value) if isinstance(value, bool) else value

    def message(self, name: HealthGroup) -> Health:
        return Health(name, self.values, self.unreadable, self.words)


Groups = dict[HealthGroup, Group]


def collect(statuses: Mapping[str, Status], readings: Iterable[tuple[type[Struct], Mapping[str, Reader]]]) -> Groups:
    """All groups.

    statuses  of the services that answer, by name: the numbers of one that does not are null
    readings  types whose fields are read here, each with a reader for each field
    """
    groups: Groups = {name: Group() for name in GROUPS}
    for service, kind in STATUS.items():
        _of_service(groups, service, kind, statuses.get(service))
    for kind_read, readers in readings:
        _read(groups, kind_read, readers)
    return groups


def _of_service(groups: Groups, service: str, kind: type[Status], status: Status | None) -> None:
    for field, route in routes(kind).items():
        name = route.name_of(field, service)
        for group in route.groups:
            if status is None:
                groups[group].put(name, route, None, f"the {service} service does not answer")
            else:
                _put(groups[group], name, route, getattr(status, field))


def _put(group: Group, name: str, route: Route, value: Any) -> None:
    """One field; each key of a dictionary is a number of its own."""
    if not isinstance(value, dict):
        group.put(name, route, value)
        return
    for key, number in value.items():
        group.put(f"{name}_{key}", route, number)


def _read(groups: Groups, kind: type[Struct], readers: Mapping[str, Reader]) -> None:
    """Read each field of a type; a reader that fails loses only its own value."""
    for field, route in routes(kind).items():
        for group in route.groups:
            try:
                groups[group].put(route.name_of(field, ""), route, readers[field]())
            except (OSError, LyktaError, ValueError, LookupError) as problem:
                groups[group].put(route.name_of(field, ""), route, None, str(problem) or route.absent)

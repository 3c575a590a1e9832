"""Asking a service how it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from agent.runtime.control import Request, ask_for
from agent.runtime.status import STATUS, CameraStatus, IoStatus, Status, StatusAnswer, UplinkStatus
from provisioning.layout import Layout

S = TypeVar("S", bound=Status)


class AskStatus(Request[Any], frozen=True, tag="status"):
    """How a service stands: `StatusAnswer` of its own kind of status."""

    answer = Any


def status_at(path: Path, kind: type[S]) -> StatusAnswer[S]:
    """Of the service that answers on this socket; `UnreachableError` if none does, or says nonsense."""
    found: StatusAnswer[S] = ask_for(StatusAnswer[kind], path, AskStatus())  # type: ignore[valid-type]
    return found


def status_of(layout: Layout, service: str) -> StatusAnswer[Any]:
    """As a technician asks, of a service by its name."""
    return status_at(layout.socket(service, "ctl"), STATUS[service])


def camera_status(layout: Layout) -> StatusAnswer[CameraStatus]:
    return status_at(layout.socket("camera", "ctl"), CameraStatus)


def io_status(layout: Layout) -> StatusAnswer[IoStatus]:
    return status_at(layout.socket("io", "ctl"), IoStatus)


def uplink_status(layout: Layout) -> StatusAnswer[UplinkStatus]:
    return status_at(layout.socket("uplink", "ctl"), UplinkStatus)

"""Requests for the status of a service."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from agent.runtime.control import EXCHANGE_S, Request, ask_for
from agent.runtime.status import STATUS, CameraStatus, IoStatus, Status, StatusAnswer, UplinkStatus
from provisioning.layout import Layout

S = TypeVar("S", bound=Status)


class AskStatus(Request[Any], frozen=True, tag="status"):
    """The status of a service: `StatusAnswer` with the service's own type."""

    answer = Any


def status_at(path: Path, kind: type[S], timeout: float = EXCHANGE_S) -> StatusAnswer[S]:
    """The status of the service on this socket; `UnreachableError` if it does not answer, or not in this form."""
    found: StatusAnswer[S] = ask_for(StatusAnswer[kind], path, AskStatus(), timeout)  # type: ignore[valid-type]
    return found


def status_of(layout: Layout, service: str) -> StatusAnswer[Any]:
    """The status of a service by its name, over the technicians' socket."""
    return status_at(layout.socket(service, "ctl"), STATUS[service])


def camera_status(layout: Layout) -> StatusAnswer[CameraStatus]:
    return status_at(layout.socket("camera", "ctl"), CameraStatus)


def io_status(layout: Layout) -> StatusAnswer[IoStatus]:
    return status_at(layout.socket("io", "ctl"), IoStatus)


def uplink_status(layout: Layout) -> StatusAnswer[UplinkStatus]:
    return status_at(layout.socket("uplink", "ctl"), UplinkStatus)

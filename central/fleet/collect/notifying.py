"""Hands alarms on: to Alertmanager, whose job are routing, repetition, silence and mail; or to one webhook.

Alertmanager is told all that stands each minute, by each replica: it ends an alert that nobody repeats. A webhook is told once of
each alarm and once of its end, and of a call for help each minute until somebody took it; of several replicas one tells it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event
from typing import Any, Literal
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import msgspec
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from central.fleet.alarm_catalogue import entry_of
from central.fleet.collect.metrics import Metrics
from central.fleet.collect.reporting import Reporter
from central.fleet.collect.store import telling
from central.fleet.collect.store.database import may_pass, reason_of
from central.fleet.collect.store.telling import Told
from privacy.errors import UsageError
from privacy.foreign import printable

AGAIN_MS = 60_000
_TURN_S, _SHORT_S, _LONG_S = 5.0, 1.0, 60.0
_ANSWER_S = 10.0
_MOST_AT_ONCE = 500
_ALERTS = "/api/v2/alerts"


@dataclass(frozen=True)
class Receiver:
    """Who is told. url: of Alertmanager without its path, or of the webhook."""

    kind: Literal["alertmanager", "webhook"]
    url: str

    @classmethod
    def parse(cls, kind: Literal["alertmanager", "webhook"], url: str) -> Receiver:
        """`UsageError` unless it is an address of HTTP without a user."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise UsageError(
                f"collect: --{kind}: must be an address of HTTP (got {printable(url, 80)!r})", "for instance http://127.0.0.1:9093"
            )
        return cls(kind, url.rstrip("/"))


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Notifier:
    """Used by a thread of its own: a receiver that is slow holds up nothing else."""

    def __init__(self, engine: Engine, receiver: Receiver, metrics: Metrics, report: Reporter) -> None:
        self._engine, self._receiver, self._metrics, self._report = engine, receiver, metrics, report
        self._open = build_opener(_NoRedirect).open
        self._next_ms = 0

    def run(self, stop: Event, urgent: Event) -> None:
        """Until `stop`; at once when `urgent` is set."""
        pause_s = _SHORT_S
        while not stop.is_set():
            hurry = urgent.wait(_TURN_S)
            urgent.clear()
            if stop.is_set():
                return
            try:
                self._turn(hurry)
                self._report.well("alarms")
                pause_s = _SHORT_S
            except (OSError, SQLAlchemyError) as problem:
                if isinstance(problem, SQLAlchemyError) and not may_pass(problem):
                    raise
                self._metrics.told.labels("failed").inc()
                text = reason_of(problem) if isinstance(problem, SQLAlchemyError) else str(problem)
                self._report.trouble("alarms", f"cannot be handed to {printable(self._receiver.url, 100)}: {printable(text, 200)}")
                urgent.set()
                stop.wait(pause_s)
                pause_s = min(2 * pause_s, _LONG_S)

    def _turn(self, hurry: bool) -> None:
        now = time.time_ns() // 1_000_000
        if self._receiver.kind == "webhook":
            self._tell_webhook(now)
        elif hurry or now >= self._next_ms:
            with self._engine.connect() as connection:
                found = telling.standing_and_ended(connection, now)
            for at in range(0, len(found), _MOST_AT_ONCE):
                self._post(f"{self._receiver.url}{_ALERTS}", [_alert(one) for one in found[at : at + _MOST_AT_ONCE]])
                self._metrics.told.labels("done").inc(len(found[at : at + _MOST_AT_ONCE]))
            self._next_ms = now + AGAIN_MS

    def _tell_webhook(self, now: int) -> None:
        with self._engine.begin() as connection:
            found = telling.claim(connection, now, AGAIN_MS)
        try:
            while found:
                self._post(self._receiver.url, _plain(found[0]))
                with self._engine.begin() as connection:
                    telling.told(connection, found.pop(0), now)
                self._metrics.told.labels("done").inc()
        finally:
            if found:
                with self._engine.begin() as connection:
                    telling.release(connection, found)

    def _post(self, url: str, body: Any) -> None:
        """POST JSON; `OSError` unless the answer is a 2xx."""
        request = Request(url, msgspec.json.encode(body), {"Content-Type": "application/json"}, method="POST")
        with self._open(request, timeout=_ANSWER_S) as answer:
            if not 200 <= answer.status < 300:
                raise URLError(f"answered {answer.status}")


def _alert(one: Told) -> dict[str, Any]:
    """An alert of Alertmanager's API v2 (`postableAlert`). The labels name it; the annotations are for people."""
    site, _, node = one.node.partition("/")
    entry = entry_of(one.name, one.reason)
    labels = {"alertname": one.name, "site": site, "node": node, "severity": entry.severity, "origin": one.origin}
    texts = {"summary": entry.text.en, "summary_sv": entry.text.sv, "todo": entry.todo.en, "todo_sv": entry.todo.sv}
    texts |= {"bring": entry.bring.en, "bring_sv": entry.bring.sv, "reason": one.reason, "ref": one.ref}
    ends = {"endsAt": _iso(one.ended)} if one.ended else {}
    return {"labels": labels, "annotations": texts, "startsAt": _iso(one.raised), **ends}


def _plain(one: Told) -> dict[str, Any]:
    """The body for a webhook."""
    entry = entry_of(one.name, one.reason)
    said: Sequence[tuple[str, Any]] = (("text", entry.text), ("todo", entry.todo), ("bring", entry.bring))
    return {
        "schema": "lykta-central.alarm/1",
        "node": one.node,
        "alarm": one.name,
        "severity": entry.severity,
        "origin": one.origin,
        "reason": one.reason,
        "ref": one.ref,
        "raised": _iso(one.raised),
        "ended": _iso(one.ended) if one.ended else None,
        "again": one.again,
        **{name: {"en": words.en, "sv": words.sv} for name, words in said},
    }


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")

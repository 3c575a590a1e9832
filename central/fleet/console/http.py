"""The console's pages over HTTP, one stream of changes, and one act: drafting the answer to a call for help."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from central.fleet.collect.reporting import Reporter
from central.fleet.collect.store.database import may_pass, reason_of
from central.fleet.console.drafts import draft_answer
from central.fleet.console.identity import Identities
from central.fleet.console.pages import Pages, Viewer
from central.fleet.console.rendering import FOLDER, version_of
from central.fleet.console.snapshot import now_ms
from central.fleet.console.texts import LANGUAGES
from privacy.foreign import printable

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TURN_S, _ALIVE_S = 0.4, 10.0
"""Time between two looks for changes, and between two signs of life: a page that hears none for longer says so."""
_LONGEST_FORM = 4096


class Console:
    """writes: an engine for drafts; ending: whether the server stops."""

    def __init__(self, pages: Pages, writes: Engine, identities: Identities, report: Reporter) -> None:
        self._pages, self._writes, self._identities, self._report = pages, writes, identities, report
        self.ending: Callable[[], bool] = lambda: False

    def app(self) -> Starlette:
        routes = [
            Route("/", self._get(lambda viewer, _: self._pages.overview(viewer))),
            Route("/visits", self._get(lambda viewer, request: self._pages.visits(viewer, _number(request, "page")))),
            Route(
                "/area",
                self._get(lambda viewer, request: self._pages.area(viewer, _text(request, "name"), _number(request, "page"))),
            ),
            Route("/node/{site}/{node}", self._get(self._node)),
            Route("/clips", self._get(lambda viewer, request: self._pages.clips(viewer, _text(request, "q")))),
            Route("/live", self.live),
            Route("/answer", self.answer, methods=["POST"]),
            Mount("/static", StaticFiles(directory=FOLDER / "static")),
        ]
        handlers: dict[Any, Any] = {HTTPException: self._http_error, DBAPIError: self._database_error}
        return Starlette(routes=routes, exception_handlers=handlers)

    async def live(self, request: Request) -> Response:
        """Server-sent events: each changed part of a page as HTML, named by its element, with its version as id."""
        viewer, view = self._viewer(request), printable(_text(request, "view"), 160)
        return StreamingResponse(self._changes(viewer, view), media_type="text/event-stream", headers=_HEADERS)

    async def _changes(self, viewer: Viewer, view: str) -> AsyncIterator[str]:
        sent: dict[str, str] = {}
        quiet_s = _ALIVE_S
        while not self.ending():
            for event in await run_in_threadpool(self._events, viewer, view, sent):
                quiet_s = 0.0
                yield event
            if quiet_s >= _ALIVE_S:
                quiet_s = 0.0
                yield "event: alive\ndata: \n\n"
            await asyncio.sleep(_TURN_S)
            quiet_s += _TURN_S

    def _events(self, viewer: Viewer, view: str, sent: dict[str, str]) -> list[str]:
        """Events for what is not in `sent`, which is brought up to date."""
        try:
            parts = self._pages.live(view, viewer)
        except DBAPIError as problem:
            self._report.trouble("database", reason_of(problem))
            return ["event: trouble\ndata: \n\n"]
        self._report.well("database")
        events = []
        for name, html in parts.items():
            if sent.get(name) != (version := version_of(html)):
                sent[name] = version
                lines = "".join(f"data: {line}\n" for line in html.splitlines())
                events.append(f"id: {version}\nevent: {name}\n{lines}\n")
        return events

    async def answer(self, request: Request) -> Response:
        """Draft the answer to a call. 403 without an officer, or from a page of another site."""
        viewer = self._viewer(request)
        if not viewer.officer:
            return self._said(viewer, "not_officer", 403)
        origin = urlsplit(request.headers.get("origin", ""))
        if not origin.netloc or origin.netloc != request.headers.get("host"):
            return self._said(viewer, "refused", 403)
        form = await _form(request)
        drafted = partial(self._draft, form.get("node", ""), form.get("press", ""), viewer.officer)
        if not await run_in_threadpool(drafted):
            return self._said(viewer, "not_waiting", 409)
        return RedirectResponse("/", 303, _HEADERS)

    def _draft(self, node: str, press: str, officer: str) -> bool:
        with self._writes.begin() as connection:
            drafted = draft_answer(connection, printable(node, 160), printable(press, 64), officer, now_ms())
        self._pages.snapshots.expire()
        return drafted

    def _node(self, viewer: Viewer, request: Request) -> str | None:
        return self._pages.node(viewer, f"{request.path_params['site']}/{request.path_params['node']}")

    def _get(self, page: Callable[[Viewer, Request], str | None]) -> Callable[[Request], Any]:
        """A page; None is "not found". A language in the query is remembered in a cookie."""

        async def call(request: Request) -> Response:
            viewer = self._viewer(request)
            html = await run_in_threadpool(page, viewer, request)
            if html is None:
                return self._said(viewer, "not_found", 404)
            response = HTMLResponse(html, headers=_HEADERS)
            if request.query_params.get("lang") in LANGUAGES:
                response.set_cookie("lang", viewer.language, max_age=31_536_000, samesite="strict")
            return response

        return call

    def _viewer(self, request: Request) -> Viewer:
        others = urlencode([(key, value) for key, value in request.query_params.multi_items() if key != "lang"])
        return Viewer(_language(request), self._identities.officer(dict(request.scope)), request.url.path, others)

    def _said(self, viewer: Viewer, key: str, status: int) -> Response:
        return HTMLResponse(self._pages.message(viewer, key), status, _HEADERS)

    async def _http_error(self, request: Request, problem: HTTPException) -> Response:
        key = "not_found" if problem.status_code == 404 else "refused"
        return await run_in_threadpool(self._said, self._viewer(request), key, problem.status_code)

    async def _database_error(self, _request: Request, problem: DBAPIError) -> Response:
        """Plain text: every page needs the database."""
        if not may_pass(problem):
            raise problem
        self._report.trouble("database", reason_of(problem))
        return Response("503 database", 503, {**_HEADERS, "Retry-After": "5"}, "text/plain")


async def _form(request: Request) -> dict[str, str]:
    """Fields of a short form; `HTTPException` 413 for a longer one."""
    body = b""
    async for block in request.stream():
        body += block
        if len(body) > _LONGEST_FORM:
            raise HTTPException(413)
    return {key: values[0] for key, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _language(request: Request) -> str:
    """By the link that was followed, the cookie, or the first known language that the browser names; else Swedish."""
    wanted = [request.query_params.get("lang"), request.cookies.get("lang")]
    wanted += [one.strip()[:2].lower() for one in request.headers.get("accept-language", "")[:200].split(",")]
    return next((one for one in wanted if one in LANGUAGES), LANGUAGES[0])


def _text(request: Request, name: str) -> str:
    return request.query_params.get(name, "")


def _number(request: Request, name: str) -> int:
    """The number of a page, 0 for anything else."""
    text = _text(request, name)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0

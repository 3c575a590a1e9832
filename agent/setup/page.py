"""The installer's page: what the camera sees, masked, while a visit lasts (R35).

One page, one script, no request to another server. It has no key and stores no picture. It answers only requests with a host name
of this machine and from its own pages, so that another site in the same browser gets nothing, also by DNS rebinding; and the
camera gives pictures only to the phone that sent the visit's word.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from html import escape
from typing import Any

from msgspec import Struct, to_builtins
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.runtime.requests import Admit, AskPicture, AskVisit, EndVisit, VisitPicture
from privacy.errors import AccessError, LyktaError

Ask = Callable[[Any], Any]
"""Sends a request of `agent.runtime.requests` to the camera: its answer; `LyktaError` if it refuses or does not run."""
PHONE = "phone"
HOSTS = ("localhost", "127.0.0.1")
_LONGEST_WORD = 64
_PRIVATE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self' blob:; connect-src 'self'; script-src 'self'; style-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class SetupPage:
    """The HTTP endpoints of the page. node: site/node."""

    def __init__(self, node: str, ask: Ask) -> None:
        self._node, self._ask = node, ask

    def app(self) -> Starlette:
        """The application."""
        files = {"/style.css": (_STYLE, "text/css"), "/page.js": (_SCRIPT, "text/javascript")}
        routes = [Route("/", self.page), Route("/picture", self.picture), Route("/state", self.state)]
        routes += [Route(path, _file(*what)) for path, what in files.items()]
        routes += [Route("/admit", self.admit, methods=["POST"]), Route("/end", self.end, methods=["POST"])]
        hosts = Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)
        return Starlette(routes=routes, middleware=[hosts], exception_handlers={LyktaError: _refused, ClientDisconnect: _gone})

    def page(self, request: Request) -> Response:
        """The page; a browser without one gets a secret as a cookie, by which the camera recognises it."""
        response = Response(_PAGE.format(node=escape(self._node)), media_type="text/html", headers=_PRIVATE)
        if not request.cookies.get(PHONE):
            response.set_cookie(PHONE, secrets.token_urlsafe(24), httponly=True, samesite="strict")
        return response

    async def admit(self, request: Request) -> Response:
        """Send the visit's word, which is the body, for this browser."""
        _check_origin(request)
        word = b""
        async for part in request.stream():
            word += part
            if len(word) > _LONGEST_WORD:
                raise AccessError("visit: this is not its word", "type the word that `lykta status` prints on the node")
        phone = request.cookies.get(PHONE, "")
        return _json(await run_in_threadpool(self._ask, Admit(phone, word.decode(errors="replace"))))

    def picture(self, request: Request) -> Response:
        """The newest picture; its age and the cause of a full mask are in its headers."""
        _check_origin(request)
        shown: VisitPicture = self._ask(AskPicture(request.cookies.get(PHONE, "")))
        facts = {"X-Taken-Ms": str(shown.mono_ms), "X-Masked-Because": shown.cause}
        return Response(shown.jpeg, media_type="image/jpeg", headers=_PRIVATE | facts)

    def state(self, request: Request) -> Response:
        """The end of the visit, None if it is over, and the camera's state."""
        _check_origin(request)
        return _json(self._ask(AskVisit()))

    def end(self, request: Request) -> Response:
        """End the visit before its hour is over."""
        _check_origin(request)
        return _json(self._ask(EndVisit(request.cookies.get(PHONE, ""))))


def _check_origin(request: Request) -> None:
    """`AccessError` for a request from another site, by the headers in which a browser names the origin."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
    own = f"http://{request.headers.get('host', '')}"
    if origin not in (None, own) or site not in ("none", "same-origin"):
        raise AccessError(f"page: a request of another site (got {(origin or site)[:80]!r})", f"open {own} itself")


def _json(answer: Struct) -> Response:
    return JSONResponse(to_builtins(answer), headers=_PRIVATE)


def _file(text: str, kind: str) -> Callable[[Request], Response]:
    def answer(_request: Request) -> Response:
        return Response(text, media_type=kind, headers=_PRIVATE)

    return answer


def _refused(_request: Request, problem: Exception) -> Response:
    hint = problem.hint if isinstance(problem, LyktaError) else ""
    return JSONResponse({"error": str(problem), "hint": hint}, status_code=409, headers=_PRIVATE)


def _gone(_request: Request, _problem: Exception) -> Response:
    """A client that disconnects during a request gets no answer and no log line."""
    return Response(status_code=400)


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Lykta: visit at {node}</title><link rel="stylesheet" href="/style.css"><script src="/page.js" defer></script>
<main><h1>Visit at {node}</h1>
<p id="left" role="status">…</p>
<form id="ask"><label for="word">The word that <code>lykta status</code> prints on the node</label>
<input id="word" autocomplete="off" autocapitalize="none" spellcheck="false" maxlength="64" required>
<button type="submit">Look</button></form>
<img id="picture" alt="What the camera sees now; people and vehicles are painted over" width="640" height="360">
<p id="why"></p>
<p>What the view never shows is dark: outside its areas, in its zones, above its far line.</p>
<p>Masked as <code>strict</code>, two pictures a second, to this phone alone. Nothing of it is recorded or sent; that there was a
visit stands in the node's journal.</p>
<p>The camera: <span id="camera">…</span>. For the others: <code>lykta status</code> over the same SSH.</p>
<button id="end" type="button">End the visit</button></main></html>
"""
_STYLE = """
body{font:17px/1.5 system-ui,sans-serif;margin:0;color:#1c2430;background:#fbfaf7}
main{max-width:42rem;margin:0 auto;padding:1rem}h1{font-size:1.4rem;margin:.2rem 0}
img{width:100%;height:auto;background:#1c2430;border-radius:4px;display:block}#why:empty{display:none}
#why{color:#a3000f;font-weight:600}
label{display:block}#word{font:inherit;padding:.6rem;width:12rem;border:2px solid #1c2430;border-radius:4px}
#word:focus-visible{outline:3px solid #1463c4;outline-offset:2px}
button{font:inherit;padding:.6rem 1.2rem;border:2px solid #1c2430;border-radius:4px;background:#fff}
button:focus-visible{outline:3px solid #1463c4;outline-offset:2px}
"""
_SCRIPT = """
"use strict";
const at = (id) => document.getElementById(id);
let over = false;
async function fetched(path, options) {
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  const { error, hint } = await answer.json();
  throw new Error(`${error}. ${hint}`);
}
async function look() {
  try {
    const answer = await fetched("/picture");
    const because = answer.headers.get("X-Masked-Because");
    const before = at("picture").src;
    at("picture").src = URL.createObjectURL(await answer.blob());
    URL.revokeObjectURL(before);
    at("why").textContent = because ? `All masked: ${because}` : "";
  } catch (problem) { at("why").textContent = problem.message; }
  if (!over) setTimeout(look, 500);
}
async function judge() {
  try {
    const { until, state, reason } = await (await fetched("/state")).json();
    over = !until;
    const minutes = until ? Math.ceil((new Date(until) - Date.now()) / 60000) : 0;
    at("left").textContent = until ? `${minutes} min left` : "The visit is over.";
    at("camera").textContent = `${state}, ${reason.replaceAll("_", " ")}`;
  } catch (problem) {
    at("left").textContent = "The node does not answer: the visit is over, or it starts again.";
  }
  if (!over) setTimeout(judge, 2000);
  else { at("picture").removeAttribute("src"); at("why").textContent = ""; at("end").disabled = true; }
}
at("end").addEventListener("click", async () => {
  try { await fetched("/end", { method: "POST" }); } catch (problem) { at("why").textContent = problem.message; }
});
at("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await fetched("/admit", { method: "POST", body: at("word").value });
    at("ask").remove();
    at("why").textContent = "";
    look();
  } catch (problem) { at("why").textContent = problem.message; }
});
judge();
"""

"""Chromium without a window: what it makes of a page, and what axe says of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tests.support.broker import PATIENCE

CHROMIUM = shutil.which("chromium")
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
_RUN = """
const put = (found) => {
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = found;
  document.body.append(out);
};
const nodes = (one) => one.nodes.map((node) => node.html).join(" ");
addEventListener("load", () => {
  const wide = Math.max(0, document.documentElement.scrollWidth - innerWidth);
  const small = [...document.querySelectorAll("button")].filter((one) => one.offsetHeight && one.offsetHeight < 24).length;
  const said = (found) => put(JSON.stringify({
    wide, small, passes: found.passes.length, violations: found.violations.map((one) => `${one.id}: ${nodes(one)}`)}));
  axe.run(document, {runOnly: RULES}).then(said, (problem) => put(String(problem)));
});
""".replace("RULES", str(_RULES))


class Seen(NamedTuple):
    """wide: pixels by which the page is wider than the window; small: buttons too low for a finger; violations: of axe's rules."""

    wide: int
    small: int
    passes: int
    violations: list[str]


def axe() -> Path:
    """axe-core, as a package of PyPI brings it."""
    import axe_core_python

    return Path(axe_core_python.__file__).parent / "axe.min.js"


def look(folder: Path, html: str, styles: str, width: int, height: int) -> Seen:
    """Load a page with its styles, without its script, in a window of this size, and run axe over it."""
    text = re.sub(r'<link rel="stylesheet"[^>]*>', lambda _: f"<style>{styles}</style>", html)
    text = re.sub(r"<script[^>]*></script>", lambda _: f"<script>{axe().read_text()}</script><script>{_RUN}</script>", text)
    page = folder / "page.html"
    page.write_text(text)
    dom = _chromium(
        folder, "--dump-dom", "--virtual-time-budget=20000", "--hide-scrollbars", f"--window-size={width},{height}", page.as_uri()
    ).stdout
    found = re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)
    assert found, dom[-2000:]
    plain: Any = msgspec.json.decode(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    return Seen(**plain)


def picture(folder: Path, html: str, styles: str, width: int, height: int, into: Path) -> None:
    """A PNG of a page with its styles, without its script."""
    page = folder / "page.html"
    page.write_text(re.sub(r'<link rel="stylesheet"[^>]*>', lambda _: f"<style>{styles}</style>", html))
    _chromium(folder, f"--screenshot={into}", "--hide-scrollbars", f"--window-size={width},{height}", page.as_uri())


def after_script(folder: Path, url: str) -> str:
    """A page as it is after some seconds, with its script."""
    return _chromium(folder, "--dump-dom", "--timeout=4000", url).stdout


def _chromium(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM
    always = (CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}")
    return subprocess.run([*always, *words], capture_output=True, text=True, timeout=PATIENCE * 60, check=True)

"""The pages in a browser, at a desk and on a phone: nothing sticks out, and axe finds nothing that shuts somebody out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.browser import CHROMIUM, after_script, look
from tests.support.consoles import Console

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: `setup.sh tests` installs it where Debian has it"
)
PATHS = ("/", "/node/city/stop-12", "/clips?q=stop+12+12:00", "/visits", "/area?name=Centrum")


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)], ids=["desk", "phone"])
def test_axe_finds_nothing_and_no_page_is_wider_than_its_window(
    console: Console, pressed: str, clip: str, tmp_path: Path, size: tuple[int, int]
) -> None:
    """With a press that stands, in the language whose words are longer."""
    styles = console.request("/static/console.css").text
    for path in PATHS:
        seen = look(tmp_path, console.page(path, "sv", X_User="eva-ek"), styles, *size)
        assert (seen.violations, seen.wide, seen.small) == ([], 0, 0), path
        assert seen.passes > 20


def test_axe_would_find_a_button_without_a_name(console: Console, tmp_path: Path) -> None:
    """And the measure a page that is too wide."""
    page = console.page("/").replace("<main", "<button></button><pre>" + "x" * 400 + "</pre><main")
    seen = look(tmp_path, page, console.request("/static/console.css").text, 390, 844)
    assert any(one.startswith("button-name") for one in seen.violations)
    assert seen.wide > 0


def test_the_script_runs_under_the_policy(console: Console, pressed: str, tmp_path: Path) -> None:
    """It alone shows the button for sound, and the call in the title."""
    page = after_script(tmp_path, console.address + "/?lang=en")
    assert "<title>(1) HELP – somebody waits</title>" in page
    assert 'Sound: off – switch on"' in page
    assert 'Sound: off – switch on" hidden' not in page

"""Makes HTML of templates; every value is escaped, so that a name of a node stays text."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from central.fleet.console.charts import HEIGHT, WIDTH
from central.fleet.console.texts import LANGUAGES
from central.fleet.console.words import Speaker, number, plain

FOLDER = Path(__file__).parent
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_ENVIRONMENT.globals |= {"number": number, "plain": plain, "chart_width": WIDTH, "chart_height": HEIGHT, "languages": LANGUAGES}


def version_of(html: str) -> str:
    """Names a part's content, so that a page need not show again what it has."""
    return hashlib.sha256(html.encode()).hexdigest()[:16]


def live_part(live: dict[str, str], name: str) -> Markup:
    """A part in its element. The part was rendered with every value escaped; the name is a constant of a template."""
    return Markup('<div id="live-{}" data-version="{}">{}</div>').format(name, version_of(live[name]), Markup(live[name]))


_ENVIRONMENT.globals["live_part"] = live_part


def render(template: str, language: str, **facts: Any) -> str:
    """HTML of a template. In templates `s` is the `Speaker` and `t` its texts. `UndefinedError` for a fact that is missing."""
    speaker = Speaker(language)
    return _ENVIRONMENT.get_template(template).render(s=speaker, t=speaker.t, language=language, **facts)

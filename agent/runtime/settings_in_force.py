"""The settings in force: lykta.toml, overridden by the signed configuration that `lykta apply` placed last.

Its signature was verified when root placed it beside lykta.toml, which has none: write access is the same for both. So no key
is needed to read it, and retiring a command key stops no node. Its form, its node and its values are checked each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.runtime.config import Config, build, load, read, tree
from privacy.errors import ConfigError, LyktaError
from privacy.files import read_own
from privacy.records.jws import peek
from privacy.records.settings import CONFIG, Settings, merged
from provisioning.layout import Layout

_OF_HELP = ("node", "broker", "ingest", "pins", "light", "clock")
"""Sections that io reads, and those that are required."""


@dataclass(frozen=True)
class Effective:
    """version: of the configuration that overrides lykta.toml, 0 without one; trouble: why one that exists is not in force."""

    config: Config
    settings: dict[str, dict[str, Any]]
    version: int = 0
    trouble: LyktaError | None = None

    def source(self, layout: Layout, section: str, key: str) -> str:
        """The file that gives a setting its value, or "default"."""
        if key in self.settings.get(section, {}):
            return f"{layout.overlay.name} {self.version}"
        return layout.config.name if key in tree(read(layout.config)).get(section, {}) else "default"


def effective(layout: Layout) -> Effective:
    """`ConfigError` only for lykta.toml: help and the link go on without an invalid signed configuration."""
    plain = load(layout.config)
    try:
        token = read_own(layout.overlay)
    except FileNotFoundError:
        return Effective(plain, {})
    except OSError as problem:
        return Effective(plain, {}, trouble=ConfigError(f"{layout.overlay}: {problem.strerror}", "`lykta config show`"))
    try:
        said = peek(token, CONFIG, Settings)
        return Effective(laid_over(layout, said), said.settings, said.version)
    except LyktaError as problem:
        return Effective(plain, {}, trouble=problem)


def for_help(layout: Layout) -> Effective:
    """The same for io, which must start also if a section that it does not read is invalid: then only its sections are parsed."""
    try:
        return effective(layout)
    except ConfigError as problem:
        sections = tree(read(layout.config))
        needed = {name: sections[name] for name in _OF_HELP if name in sections}
        return Effective(build(needed, layout.config.name), {}, trouble=problem)


def laid_over(layout: Layout, said: Settings) -> Config:
    """The configuration that would be in force with these settings; `ConfigError` if it would be invalid."""
    below = load(layout.config)
    if (said.site, said.node) != (below.node.site, below.node.id):
        raise ConfigError(
            f"config: node: is for {said.site}/{said.node}, this node is {below.node.site}/{below.node.id}", "send it there"
        )
    return build(merged(tree(read(layout.config)), said.settings), layout.overlay.name)


def settings_in_force(layout: Layout) -> Config:
    return effective(layout).config

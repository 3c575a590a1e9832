"""Settings of a node in TOML: the least that is needed."""

from __future__ import annotations

GOOD = '[node]\nsite = "city"\nid = "stop-1"\narea = "City"\n[broker]\nhost = "b"\n[ingest]\nhost = "i"\n'

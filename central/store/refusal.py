"""What the centre refuses a node, with the HTTP status that says so."""

from __future__ import annotations

from privacy.errors import LyktaError


class RefusalError(LyktaError, ValueError):
    def __init__(self, status: int, error: str, hint: str) -> None:
        super().__init__(error, hint)
        self.status = status

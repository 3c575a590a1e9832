"""How often the uplink passes a new record to `lykta apply`: a few at once, then with pauses that double.

Each costs root a start of Python. A client that may publish below this node's topics could otherwise start it all day.
"""

from __future__ import annotations

from msgspec import Struct

from privacy.records.jws import sha256_hex

AT_ONCE = 3
SHORTEST_S, LONGEST_S = 10.0, 900.0
FORGOTTEN_S = 3600.0
"""Time without a new record after which a few may come at once again."""


class DesiredRate(Struct, frozen=True):
    """For one kind of record. left: different ones passed in a row; last: SHA-256 of the last; at_s: its time (monotonic)."""

    left: int = 0
    last: str = ""
    at_s: float = 0.0

    def allows(self, token: bytes, now_s: float) -> bool:
        """Whether this record may be passed now. The last one may be repeated at any time: the disk may have been full."""
        return sha256_hex(token) == self.last or now_s - self.at_s >= self._pause_s()

    def after(self, token: bytes, now_s: float) -> DesiredRate:
        """The rate after this record was passed."""
        if sha256_hex(token) == self.last:
            return self
        return DesiredRate(1 if now_s - self.at_s >= FORGOTTEN_S else self.left + 1, sha256_hex(token), now_s)

    def _pause_s(self) -> float:
        return 0.0 if self.left < AT_ONCE else min(LONGEST_S, SHORTEST_S * 2.0 ** min(self.left - AT_ONCE, 10))

"""How often the uplink leaves something new for `lykta apply`: a few at once, then with pauses that double.

Each costs root a start of Python. Whoever may publish below this node's topics could else have it start all day.
"""

from __future__ import annotations

from msgspec import Struct

from privacy.records.jws import sha256_hex

AT_ONCE = 3
SHORTEST_S, LONGEST_S = 10.0, 900.0
FORGOTTEN_S = 3600.0
"""Without a new one: then a few may come at once again."""


class DesiredRate(Struct, frozen=True):
    """Of one kind of record. left: how many different ones in a row; last: SHA-256 of the last, and when (monotonic)."""

    left: int = 0
    last: str = ""
    at_s: float = 0.0

    def allows(self, token: bytes, now_s: float) -> bool:
        """Whether this one may be left now. The same again is nothing new: the disk may have been full."""
        return sha256_hex(token) == self.last or now_s - self.at_s >= self._pause_s()

    def after(self, token: bytes, now_s: float) -> DesiredRate:
        """The rate when it was left."""
        if sha256_hex(token) == self.last:
            return self
        return DesiredRate(1 if now_s - self.at_s >= FORGOTTEN_S else self.left + 1, sha256_hex(token), now_s)

    def _pause_s(self) -> float:
        return 0.0 if self.left < AT_ONCE else min(LONGEST_S, SHORTEST_S * 2.0 ** min(self.left - AT_ONCE, 10))

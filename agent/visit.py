"""A visit: who is on site looks, on one phone, while the node is set up. Masked, two pictures a second at most, kept nowhere (R35).

It lives in the camera's memory alone: a camera that starts again has none. What follows from it is `privacy.basis.rule_visit`.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from threading import Lock

from privacy.errors import AccessError, MediaError
from privacy.frames import MaskedFrame
from privacy.preview import jpeg, shrunk

LONG_SIDE = 640
EVERY_NS = 500_000_000


@dataclass(frozen=True)
class Shown:
    """A picture: JPEG, when it was taken (monotonic), and why it is masked as a whole, or empty."""

    jpeg: bytes
    mono_ns: int
    cause: str


class Visit:
    """One visit. `leaves` comes from the capture thread, the others from any.

    begun_ms  since boot
    ended     why, once it is over before its time
    """

    def __init__(self, begun_ms: int) -> None:
        self.begun_ms = begun_ms
        self.pictures = 0
        self.ended = ""
        self._phone = ""
        self._shown: Shown | None = None
        self._lock = Lock()

    def leaves(self, picture: MaskedFrame) -> None:
        """Keep one in half a second; the one before is gone."""
        if self._shown is None or picture.mono_ns - self._shown.mono_ns >= EVERY_NS:
            self._shown = Shown(jpeg(shrunk(picture, LONG_SIDE)), picture.mono_ns, picture.record.cause)
            self.pictures += 1

    def admit(self, phone: str) -> None:
        """The phone that asked first is the one; `AccessError` for any other.

        phone  a word of its own that nobody else has
        """
        with self._lock:
            self._phone = self._phone or phone
            if not phone or not hmac.compare_digest(self._phone.encode(), phone.encode()):
                raise AccessError("visit: another phone looks already", "end the visit on that one; then hold the service button")

    def newest(self) -> Shown:
        """`MediaError` before the first."""
        if self._shown is None:
            raise MediaError("visit: no picture yet", "the camera opens: a few seconds")
        return self._shown

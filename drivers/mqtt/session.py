"""One connection to a broker for a short task: publish and wait for the broker's word, hear what comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue, SimpleQueue

from drivers.mqtt.client import Credentials, Link
from privacy.errors import UnreachableError

_WORD_S = 5.0
"""How long the broker has for the connection, and for its word on a message."""


class Session:
    """An open link. heard: topic and payload of what came; words: the broker's on each message by its token, "" if it took it."""

    def __init__(self, link: Link, broker: str, heard: Queue[tuple[str, bytes]], words: SimpleQueue[tuple[int, str]]) -> None:
        self._link, self._broker, self._heard, self._words = link, broker, heard, words

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Returns once the broker took it. `UnreachableError` if it refused, or said nothing."""
        token, end_s = self._link.publish(topic, payload, retain=retain), time.monotonic() + _WORD_S
        trouble = "no answer"
        with suppress(Empty):
            # A late word on an earlier message is none on this one.
            while (word := self._words.get(timeout=max(0.0, end_s - time.monotonic())))[0] != token:
                pass
            trouble = word[1]
        _check(trouble, self._broker, "does its access list let us write there?")

    def hear(self, within_s: float) -> tuple[str, bytes] | None:
        """The next message; None if none came in time."""
        with suppress(Empty):
            return self._heard.get(timeout=max(0.0, within_s))
        return None


@contextmanager
def session(
    client_id: str, credentials: Credentials, address: tuple[str, int], subscribe: tuple[str, ...] = (), most: int = 1000
) -> Iterator[Session]:
    """A session as long as the block lasts; `UnreachableError` if there is no link in time.

    most   messages that wait to be heard; what comes beyond them is not kept
    """
    broker = "{}:{}".format(*address)
    heard: Queue[tuple[str, bytes]] = Queue(most)
    ups: SimpleQueue[str] = SimpleQueue()
    words: SimpleQueue[tuple[int, str]] = SimpleQueue()

    def received(topic: str, payload: bytes) -> None:
        with suppress(Full):
            heard.put_nowait((topic, payload))

    link = Link(
        client_id,
        credentials,
        acknowledged=lambda token, refusal: words.put((token, refusal)),
        changed=lambda up, cause: ups.put("" if up else cause),
        received=received,
        subscribe=subscribe,
    )
    link.open(*address)
    try:
        trouble = "no answer"
        with suppress(Empty):
            trouble = ups.get(timeout=_WORD_S)
        _check(trouble, broker, "is it up, and does it trust our certificate?")
        yield Session(link, broker, heard, words)
    finally:
        link.close()


def _check(trouble: str, broker: str, hint: str) -> None:
    if trouble:
        raise UnreachableError(f"broker {broker}: {trouble}", hint)

"""One connection to a broker for a short task: publish with acknowledgement, and receive messages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue, SimpleQueue

from drivers.mqtt.client import Client, Credentials
from drivers.threads import start
from privacy.errors import UnreachableError

_ANSWER_S = 5.0
"""Seconds for the connection, and for the acknowledgement of a message."""


class Session:
    """An open connection.

    broker     HOST:PORT, for errors
    received   topic and payload of received messages
    answers    token of each message that the broker answered, and its reason if it refused it, else ""
    """

    def __init__(
        self, client: Client, broker: str, received: Queue[tuple[str, bytes]], answers: SimpleQueue[tuple[int, str]]
    ) -> None:
        self._client, self._broker, self._received, self._answers = client, broker, received, answers

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish and wait for the acknowledgement. `UnreachableError` if the broker refuses the message, or does not answer."""
        token, end_s = self._client.publish(topic, payload, retain=retain), time.monotonic() + _ANSWER_S
        trouble = "no answer"
        with suppress(Empty):
            # Skip late answers to earlier messages.
            while (answer := self._answers.get(timeout=max(0.0, end_s - time.monotonic())))[0] != token:
                pass
            trouble = answer[1]
        _check(trouble, self._broker, "does its access list allow writing to this topic?")

    def receive(self, within_s: float) -> tuple[str, bytes] | None:
        """Topic and payload of the next message; None if none came within so many seconds."""
        with suppress(Empty):
            return self._received.get(timeout=max(0.0, within_s))
        return None


@contextmanager
def session(
    client_id: str, credentials: Credentials, address: tuple[str, int], subscribe: tuple[str, ...] = (), most: int = 1000
) -> Iterator[Session]:
    """A session for the duration of the block; `UnreachableError` if there is no connection within `_ANSWER_S`, or not all that
    is subscribed to was granted.

    address   host and port
    most      received messages that are queued; further ones are dropped
    """
    broker = "{}:{}".format(*address)
    messages: Queue[tuple[str, bytes]] = Queue(most)
    causes: SimpleQueue[str] = SimpleQueue()
    answers: SimpleQueue[tuple[int, str]] = SimpleQueue()

    def received(topic: str, payload: bytes) -> None:
        with suppress(Full):
            messages.put_nowait((topic, payload))

    client = Client(
        client_id,
        credentials,
        acknowledged=lambda token, refusal: answers.put((token, refusal)),
        changed=lambda up, cause: None if up else causes.put(cause),
        subscribed=lambda refused: causes.put(f"refuses subscriptions: {', '.join(refused)}" if refused else ""),
        received=received,
        subscribe=subscribe,
    )
    start("mqtt", lambda: client.run(*address), failed=lambda problem: causes.put(f"{type(problem).__name__}: {problem}"))
    try:
        trouble = "no answer"
        with suppress(Empty):
            trouble = causes.get(timeout=_ANSWER_S)
        _check(trouble, broker, "is it running, does it trust this certificate, and does its access list allow these topics?")
        yield Session(client, broker, messages, answers)
    finally:
        client.close()


def _check(trouble: str, broker: str, hint: str) -> None:
    if trouble:
        raise UnreachableError(f"broker {broker}: {trouble}", hint)

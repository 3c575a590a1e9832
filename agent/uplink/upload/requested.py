"""Clips that an operator asked for by command, each with the answers that it still owes."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from agent.runtime.commands.desk import ACCEPTED, Answer, Outcome, refused


class RequestedClips:
    """`add` may be called from any thread; all else is the uploader's. The number is bounded by that of open commands.

    complete  whether the node has that clip, finished
    """

    def __init__(self, complete: Callable[[str], bool]) -> None:
        self._complete, self._lock = complete, Lock()
        self._owed: dict[str, list[Answer]] = {}
        self._news: set[str] = set()

    def add(self, clip: str, answer: Answer) -> Outcome | None:
        if not self._complete(clip):
            return refused("no_such_clip")
        answer(ACCEPTED)  # before the uploader can answer more
        with self._lock:
            self._owed.setdefault(clip, []).append(answer)
            self._news.add(clip)
        return None

    def news(self) -> set[str]:
        """Clips that were asked for since the last call."""
        with self._lock:
            news, self._news = self._news, set()
        return news

    def begun(self, clip: str) -> None:
        """Its upload begins, or goes on."""
        for answer in self._owed.get(clip, ()):
            answer(Outcome("running", ref=clip))

    def sent(self, clip: str) -> None:
        """The centre has it."""
        self._tell(clip, Outcome("done", ref=clip))

    def look_through(self) -> None:
        """Answer those that were deleted before they were sent."""
        for clip in [clip for clip in self._owed if not self._complete(clip)]:
            self._tell(clip, Outcome("failed", "deleted", clip))

    def _tell(self, clip: str, outcome: Outcome) -> None:
        with self._lock:
            answers = self._owed.pop(clip, [])
        for answer in answers:
            answer(outcome)

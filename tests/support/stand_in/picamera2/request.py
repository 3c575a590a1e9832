"""`_MappedBuffer`, as picamera2 0.3.38 has it: a context manager that gives a request's memory."""

from __future__ import annotations

from picamera2 import Request


class _MappedBuffer:
    def __init__(self, request: Request, _stream: str) -> None:
        self._memory = request.memory

    def __enter__(self) -> bytearray:
        return self._memory

    def __exit__(self, *_problem: object) -> None:
        pass

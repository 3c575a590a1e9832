"""Accepts TLS connections; handshakes that are not finished are limited in number and time (decision 0040).

When there are too many, the oldest is closed. A node's handshake takes well under a second, so it finishes before it is the
oldest, however many silent connections somebody opens.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
from collections.abc import Callable
from functools import partial

from privacy.errors import UsageError

HANDSHAKE_S = 10.0
MOST_HANDSHAKES = 256
"""Most connections whose handshake is not finished."""
_WANTED_FILES = 8192
_PAUSE_S = 0.05


class ConnectionListener:
    """Accepts connections of one listening socket. `close` ends listening and unfinished handshakes; other connections stay."""

    def __init__(self, listener: socket.socket, context: ssl.SSLContext, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._listener, self._context, self._protocol = listener, context, protocol
        self._handshakes: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._loop = asyncio.get_running_loop()
        self._accepting = self._loop.create_task(self._accept(), name="accept")

    def close(self) -> None:
        for task in (self._accepting, *self._handshakes):
            task.cancel()
        self._listener.close()

    async def wait_closed(self) -> None:
        await asyncio.gather(self._accepting, *self._handshakes, return_exceptions=True)

    async def _accept(self) -> None:
        while True:
            try:
                connection, _ = await self._loop.sock_accept(self._listener)
            except OSError:
                # No file descriptor is left, or the client has already gone.
                self._drop_oldest()
                await asyncio.sleep(_PAUSE_S)
                continue
            while len(self._handshakes) >= MOST_HANDSHAKES:
                self._drop_oldest()
            task = self._loop.create_task(self._handshake(connection))
            self._handshakes[task] = None
            task.add_done_callback(partial(self._ended, connection))

    async def _handshake(self, connection: socket.socket) -> None:
        """Returns when the handshake is finished, has failed or took `HANDSHAKE_S`; if finished, the protocol goes on."""
        await self._loop.connect_accepted_socket(self._protocol, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_S)

    def _ended(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._handshakes.pop(task, None)
        if task.cancelled():
            connection.close()
        elif problem := task.exception():
            connection.close()
            if not isinstance(problem, OSError):  # those of TLS and network are no faults of ours
                raise problem

    def _drop_oldest(self) -> None:
        oldest = next(iter(self._handshakes), None)
        if oldest:
            self._handshakes.pop(oldest)
            oldest.cancel()


def open_listener(host: str, port: int) -> socket.socket:
    """A listening TCP socket; also raises the process's limit of file descriptors. `UsageError` if the address cannot be used."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(_WANTED_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, number)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as problem:
        raise UsageError(
            f"ingest: {host}:{port}: {problem.strerror}", "choose another port, or stop the program that uses it"
        ) from problem
    listener.setblocking(False)
    return listener

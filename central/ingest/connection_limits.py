"""Taking connections in: those that have shown no certificate yet are bounded in number and time (decision 0040).

Where there are too many, the oldest goes: a node's handshake takes well under a second, so it is through before its turn comes,
however many silent connections are opened beside it.
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
MOST_UNKNOWN = 256
"""Connections without a certificate."""
_WANTED_FILES = 8192
_PAUSE_S = 0.05


class Doorway:
    """One listening socket. `close` ends listening and every handshake; connections that are through go on."""

    def __init__(self, listener: socket.socket, context: ssl.SSLContext, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._listener, self._context, self._protocol = listener, context, protocol
        self._unknown: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._loop = asyncio.get_running_loop()
        self._accepting = self._loop.create_task(self._accept(), name="accept")

    def close(self) -> None:
        for task in (self._accepting, *self._unknown):
            task.cancel()
        self._listener.close()

    async def wait_closed(self) -> None:
        await asyncio.gather(self._accepting, *self._unknown, return_exceptions=True)

    async def _accept(self) -> None:
        while True:
            try:
                connection, _ = await self._loop.sock_accept(self._listener)
            except OSError:
                # No descriptor is left, or the client is gone already.
                self._let_go()
                await asyncio.sleep(_PAUSE_S)
                continue
            while len(self._unknown) >= MOST_UNKNOWN:
                self._let_go()
            task = self._loop.create_task(self._admit(connection))
            self._unknown[task] = None
            task.add_done_callback(partial(self._ended, connection))

    async def _admit(self, connection: socket.socket) -> None:
        """Until the handshake is done, has failed or takes too long; then the protocol has the connection, or nobody."""
        await self._loop.connect_accepted_socket(self._protocol, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_S)

    def _ended(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._unknown.pop(task, None)
        if task.cancelled():
            connection.close()
        elif problem := task.exception():
            connection.close()
            if not isinstance(problem, OSError):  # TLS errors and hang-ups are; anything else is ours
                raise problem

    def _let_go(self) -> None:
        oldest = next(iter(self._unknown), None)
        if oldest:
            self._unknown.pop(oldest)
            oldest.cancel()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, and as many descriptors as the system gives. `UsageError` if the address is taken."""
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
        raise UsageError(f"ingest: {host}:{port}: {problem.strerror}", "another port, or end what listens there") from problem
    listener.setblocking(False)
    return listener

"""One connection that never blocks: TCP, then TLS if there is a context, then packets."""

from __future__ import annotations

import selectors
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from tests.bench.fleet.packets import Packet, packets

_READ = 65_536


class Line:
    """received: called with each packet; broken: called once when the connection has ended, not after `close`."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        address: tuple[str, int],
        context: ssl.SSLContext | None,
        received: Callable[[Packet], None],
        broken: Callable[[], None],
    ) -> None:
        self._selector, self._host, self._context = selector, address[0], context
        self._received, self._broken = received, broken
        self._in, self._out, self._reading = bytearray(), bytearray(), False
        self._socket: socket.socket | ssl.SSLSocket = socket.socket()
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._socket.connect_ex(address)
        self._step: Callable[[], None] = self._connected
        self._wanted = selectors.EVENT_WRITE
        selector.register(self._socket, self._wanted, self)

    def send(self, data: bytes) -> None:
        """Queue bytes; `flush` sends them, and so does the end of each call of `received`."""
        self._out += data

    def flush(self) -> None:
        if self._step == self._flowing and not self._reading:
            self.ready(0)

    def close(self) -> None:
        """Without a DISCONNECT: the broker takes it for a lost link."""
        if self._step != self._closed:
            self._step = self._closed
            self._selector.unregister(self._socket)
            self._socket.close()

    def ready(self, events: int) -> None:
        try:
            self._step()
        except ssl.SSLWantReadError:
            self._want(selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._want(selectors.EVENT_READ | selectors.EVENT_WRITE)
        except OSError:
            if self._step != self._closed:
                self.close()
                self._broken()

    def _connected(self) -> None:
        if code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, "connect")
        if not self._context:
            self._step = self._flowing
            return self._flowing()
        self._selector.unregister(self._socket)
        self._socket = self._context.wrap_socket(self._socket, server_hostname=self._host, do_handshake_on_connect=False)
        self._selector.register(self._socket, self._wanted, self)
        self._step = self._greeting
        return self._greeting()

    def _greeting(self) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)
        self._socket.do_handshake()
        self._step = self._flowing
        self._flowing()

    def _flowing(self) -> None:
        self._reading = True
        try:
            self._read()
        finally:
            self._reading = False
        if self._step == self._flowing:
            self._write()

    def _closed(self) -> None:
        """Nothing: an event of a socket that was closed in the same turn."""

    def _read(self) -> None:
        with suppress(BlockingIOError, ssl.SSLWantReadError):
            while data := self._socket.recv(_READ):
                self._in += data
                for packet in packets(self._in):
                    self._received(packet)
                    if self._step != self._flowing:
                        return
                if len(data) < _READ and not self._context:
                    return
            raise ConnectionResetError

    def _write(self) -> None:
        with suppress(BlockingIOError, ssl.SSLWantWriteError):
            while self._out:
                del self._out[: self._socket.send(self._out)]
        self._want(selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0))

    def _want(self, events: int) -> None:
        if events != self._wanted:
            self._wanted = events
            self._selector.modify(self._socket, events, self)

"""A forwarded port that can be closed and opened again, for tests of a server that is unreachable for a while."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Gate:
    """Forwards connections at ``port`` of ``host`` to another port of this machine while it is open.

    With ``loses_responses``, requests arrive and each connection ends before the response.
    """

    loses_responses = False

    def __init__(self, target: int, host: str = "127.0.0.1", port: int = 0) -> None:
        self.target, self.host, self.port = target, host, port
        self._connections: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        """Accept connections."""
        self._listener = socket.create_server((self.host, self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Refuse new connections and end the existing ones."""
        # shutdown() first: close() alone would not wake the thread that accepts, and the port would stay open.
        for each in (self._listener, *self._connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._connections.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near = listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self._connections += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(*pair, pair[0] is far), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_response: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if is_response and self.loses_responses:
                    target.shutdown(socket.SHUT_RDWR)
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@contextmanager
def gate(target: int, host: str = "127.0.0.1") -> Iterator[Gate]:
    """Open a gate to a port, and close it at the end."""
    opened = Gate(target, host)
    try:
        yield opened
    finally:
        opened.close()

"""Addresses that a server is to listen at."""

from __future__ import annotations

import socket

from vicur.errors import VicurError


def require_free(host: str, port: int, where: str) -> None:
    """Refuses an address that a server could not listen at: vLLM tells it in many lines, and only once it has loaded much.

    Raises:
        VicurError: saying why.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            # As vLLM does: connections that have just ended do not count.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        raise VicurError(
            f"cannot be listened at ({error.strerror}).",
            where=f"{where}, {host}:{port}",
            remedy="Choose another --port or --host, or stop what listens there.",
        ) from error

"""The server's side of ``kubectl exec``: a WebSocket with the channels of the protocol ``v5.channel.k8s.io``."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import BinaryIO

_STDIN, _STDOUT, _ERROR, _CLOSE = 0, 1, 3, 255
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _GOODBYE = 2, 8


def serve_exec(handler: BaseHTTPRequestHandler, answer: Callable[[str], str]) -> None:
    """Answer an exec request: read standard input to its end, then send the answer as standard output and success."""
    key = handler.headers["Sec-WebSocket-Key"].encode()
    assert "v5.channel.k8s.io" in handler.headers["Sec-WebSocket-Protocol"]
    handler.send_response(101, "Switching Protocols")
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    handler.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode())  # noqa: S324
    handler.send_header("Sec-WebSocket-Protocol", "v5.channel.k8s.io")
    handler.end_headers()
    stdin = b""
    while message := _read(handler.rfile):
        if message[0] == _STDIN:
            stdin += message[1:]
        # Closes one channel: standard input.
        if message[0] == _CLOSE:
            break
    _write(handler, bytes([_STDOUT]) + answer(stdin.decode()).encode())
    _write(handler, bytes([_ERROR]) + json.dumps({"kind": "Status", "status": "Success"}).encode())
    _write(handler, struct.pack(">H", 1000), _GOODBYE)
    handler.close_connection = True


def _read(stream: BinaryIO) -> bytes:
    """Return the payload of a client's next frame."""
    head = stream.read(2)
    size = head[1] & 0x7F
    if size == 126:
        (size,) = struct.unpack(">H", stream.read(2))
    elif size == 127:
        (size,) = struct.unpack(">Q", stream.read(8))
    mask = stream.read(4)
    return bytes(byte ^ mask[n % 4] for n, byte in enumerate(stream.read(size)))


def _write(handler: BaseHTTPRequestHandler, payload: bytes, kind: int = _BINARY) -> None:
    size = struct.pack(">B", len(payload)) if len(payload) < 126 else b"\x7e" + struct.pack(">H", len(payload))
    handler.wfile.write(bytes([0x80 | kind]) + size + payload)
    handler.wfile.flush()

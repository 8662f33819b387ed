"""The library `websockets` as a server that broadcasts what one connection sends to all others, on uvloop, without compression."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

NAME = "websockets broadcast()"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3


def accepted(head: bytes) -> bytes:
    """The answer to a handshake."""
    key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
    token = base64.b64encode(hashlib.sha1((key[1] if key else b"") + GUID).digest())
    return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + token + b"\r\n\r\n"


def frame_of(text: bytes) -> bytes:
    """A text frame of a server, of up to 64 KiB (RFC 6455 5.2)."""
    head = struct.pack(">BB", 0x81, len(text)) if len(text) < 126 else struct.pack(">BBH", 0x81, 126, len(text))
    return head + text


async def main(port: int) -> None:
    """Serves until it is killed."""
    others: set[ServerConnection] = set()

    async def served(connection: ServerConnection) -> None:
        if connection.request is not None and connection.request.path == "/feed":
            async for lines in connection:
                for line in str(lines).splitlines():
                    broadcast(others, line)
            return
        others.add(connection)
        await connection.wait_closed()

    async with serve(served, "127.0.0.1", port, compression=None, ping_interval=None, max_size=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))

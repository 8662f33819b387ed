"""The least a fan-out can do: a uvloop server that writes what comes on one connection to all others, a write a message and connection."""

from __future__ import annotations

import asyncio
import sys
from typing import ClassVar, cast

import uvloop

from bench.peers.websockets_broadcast import accepted, frame_of

NAME = "bare uvloop writes"


class _Connection(asyncio.Protocol):
    """The first to ask for /feed gives lines; everybody else gets each of them in a WebSocket frame."""

    others: ClassVar[set[asyncio.Transport]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._data = b""
        self._feeds = False

    def connection_lost(self, error: Exception | None) -> None:
        self.others.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._feeds:
            *lines, self._data = self._data.split(b"\n")
            for line in lines:
                frame = frame_of(line)
                for other in self.others:
                    other.write(frame)
        elif b"\r\n\r\n" in self._data:
            head, _, self._data = self._data.partition(b"\r\n\r\n")
            self._feeds = head.startswith(b"GET /feed")
            self._transport.write(accepted(head))
            if not self._feeds:
                self.others.add(self._transport)


async def main(port: int) -> None:
    """Serves until it is killed."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))

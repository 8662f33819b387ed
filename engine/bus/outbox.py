"""What waits to be written to one connection: bounded, so that a reader that stalls costs a fixed amount of memory."""

from __future__ import annotations

import asyncio
from collections import deque

from engine.bus.frames import Dropped, encode
from engine.bus.limits import Limits

WRITE_BUFFER_BYTES = 256 << 10
FORCED_FACTOR = 4


class Outbox:
    """Frames on their way to one peer. Answers and requests go ahead of events.

    The transport tells `pause` and `resume`; while it is paused everything waits here.
    """

    def __init__(self, transport: asyncio.WriteTransport, limits: Limits) -> None:
        self._transport = transport
        self._limits = limits
        self._paused = False
        self._direct: deque[bytes] = deque()
        self._events: deque[bytes] = deque()
        self._direct_bytes = 0
        self._events_bytes = 0
        self._told_dropped = 0
        self.dropped = 0
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    @property
    def waiting(self) -> int:
        """Frames that wait for the transport."""
        return len(self._direct) + len(self._events)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the frames that wait for the transport."""
        return self._direct_bytes + self._events_bytes

    def offer(self, frame: bytes) -> bool:
        """Takes a request or an answer; False when the queue is full."""
        limits = self._limits
        full = self._direct_bytes + len(frame) > limits.queue_bytes
        if self._direct and (len(self._direct) >= limits.queue_messages or full):
            return False
        self._take(frame)
        return True

    def force(self, frame: bytes) -> bool:
        """Takes a small frame that must not be lost; False when the peer is so far behind that it is hopeless."""
        if len(self._direct) >= FORCED_FACTOR * self._limits.queue_messages:
            return False
        self._take(frame)
        return True

    def event(self, frame: bytes) -> None:
        """Takes an event; the oldest ones make room for it."""
        limits = self._limits
        self._events.append(frame)
        self._events_bytes += len(frame)
        while len(self._events) > 1 and (
            len(self._events) > limits.queue_messages or self._events_bytes > limits.queue_bytes
        ):
            self._events_bytes -= len(self._events.popleft())
            self.dropped += 1
        self._flush()

    def pause(self) -> None:
        """The transport holds enough."""
        self._paused = True

    def resume(self) -> None:
        """The transport takes more."""
        self._paused = False
        self._flush()

    def _take(self, frame: bytes) -> None:
        self._direct.append(frame)
        self._direct_bytes += len(frame)
        self._flush()

    def _flush(self) -> None:
        while not self._paused and not self._transport.is_closing():
            if self._direct:
                frame = self._direct.popleft()
                self._direct_bytes -= len(frame)
            elif self._told_dropped != self.dropped:
                self._told_dropped = self.dropped
                frame = encode(Dropped(self.dropped))
            elif self._events:
                frame = self._events.popleft()
                self._events_bytes -= len(frame)
            else:
                return
            self._transport.write(frame)


__all__ = ["FORCED_FACTOR", "WRITE_BUFFER_BYTES", "Outbox"]

"""How much the bus holds, carries and waits for."""

from __future__ import annotations

import msgspec

ENVELOPE_BYTES = 8 << 10
"""What a frame may hold beside its payload: names, numbers, the text of an error."""
MAX_ERROR_CHARACTERS = 1000


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one bus connection or one hub; each holds for every queue of its kind. Every one may be lowered."""

    payload_bytes: int = 8 << 20
    """Largest payload of one message, as msgpack."""
    queue_messages: int = 1024
    """Messages that wait for one slow reader. A full queue of events drops its oldest; a request is refused."""
    queue_bytes: int = 16 << 20
    """Payload of the messages that wait for one slow reader. One message always fits."""
    requests: int = 1024
    """Requests of one process that may await their answers; the next one waits for a place."""
    handlers: int = 1024
    """Requests that one process works on at once; further ones are refused as busy."""
    connect_s: float = 10.0
    """How long opening a bus keeps trying."""
    handshake_s: float = 5.0
    """How long a hub waits for a new connection to name itself."""
    confirm_s: float = 5.0
    """How long a broker may take to accept one message."""
    retry_first_s: float = 0.05
    retry_last_s: float = 2.0
    """Pauses between attempts to connect again: doubled from the first to the last, each shortened by up to half."""
    probe_s: float = 1.0
    """How often a process asks, through a broker, whether its awaited requests are still being worked on."""

    @property
    def frame_bytes(self) -> int:
        """Largest frame on the Unix socket."""
        return self.payload_bytes + ENVELOPE_BYTES


__all__ = ["ENVELOPE_BYTES", "MAX_ERROR_CHARACTERS", "Limits"]

"""/ws/transcriptions: transcripts of all calls, or of the one in `call_id`, as they are heard."""

from __future__ import annotations

from typing import Any

from litestar import WebSocket, websocket

from api.scopes import requires
from api.sockets.connection import follow


@websocket("/ws/transcriptions", opt={"scopes": requires("realtime.read")})
async def transcriptions(socket: WebSocket[Any, Any, Any]) -> None:
    """Query: `call_id` (or `call_uuid`), `token`. Each message is one JSON document in a frame of its own."""
    await follow(socket, "transcriptions", lambda client: ())


__all__ = ["transcriptions"]

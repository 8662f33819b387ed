"""/ws/analytics: snapshots and events of all calls, or of the one in `call_id`. Without analytics.enabled it tells so and closes with 4404."""

from __future__ import annotations

from typing import Any, Final

from litestar import WebSocket, websocket

from api.scopes import requires
from api.sockets.connection import follow
from api.sockets.hub import Client, Closing, encoded, fault

VERSION: Final = "1.0"
FEATURES: Final = ("sentiment", "keywords", "compliance", "metrics")
CLOSE_NOT_FOUND: Final = 4404
DISABLED: Final = Closing(CLOSE_NOT_FOUND, "analytics.disabled", fault("Analytics is not enabled on this server", "analytics.disabled"))


@websocket("/ws/analytics", opt={"scopes": requires("realtime.read")})
async def analytics(socket: WebSocket[Any, Any, Any]) -> None:
    """Query: `call_id` (or `call_uuid`), `session_id`, `token`. The first message is `connected`; with a call its last snapshot follows."""
    services = socket.app.state.services

    def greet(client: Client) -> tuple[str]:
        data = {"session_id": client.session_id, "version": VERSION, "features": FEATURES}
        # `event` is where clients of the original look, `data` what its document says
        connected = {"type": "connected", "call_id": client.call_id, "timestamp": services.sockets.timestamp(), "data": data, "event": data}
        return (encoded(connected),)

    await follow(socket, "analytics", greet, None if services.config.analytics.enabled else DISABLED)


__all__ = ["analytics"]

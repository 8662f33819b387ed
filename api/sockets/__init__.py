"""WebSockets for those who follow calls: transcripts and analytics as they come."""

from __future__ import annotations

from api.sockets.analytics import analytics
from api.sockets.page import websocket_client
from api.sockets.transcriptions import transcriptions

ROUTES = [transcriptions, analytics, websocket_client]

__all__ = ["ROUTES"]

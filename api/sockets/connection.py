"""One WebSocket of somebody who follows calls: how it begins, what the client may send, how it ends.

Who may connect is settled before (`api.auth.Identify`), in the same way as for every route. What is wrong is told as
{"type": "error", "message", "error", "code"} before the connection is closed, since a browser shows a page neither status nor reason of a refusal.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec
from litestar import WebSocket

from api.auth import CLOSE_FORBIDDEN, Principal
from api.sockets.hub import POLICY, TOO_BIG, Client, Closing, Hub, Kind, encoded, fault

if TYPE_CHECKING:
    from api.services import Services

INBOUND_MAX_BYTES: Final = 1024
FAR_TOO_BIG_BYTES: Final = 64 << 10
ID_MAX_CHARS: Final = 128
STRIKES_MAX: Final = 3
INBOUND_PER_S, INBOUND_BURST = 20.0, 40.0  # what comes faster is read later
QUERY_FIELDS_MAX: Final = 32
SESSION_ID_BYTES: Final = 16

Receive = Callable[[], Awaitable[Any]]
Greet = Callable[[Client], Iterable[str]]


class Asked(msgspec.Struct, frozen=True):
    """What a client sends. `call_uuid` is another name of `call_id`."""

    type: str
    call_id: str | None = None
    call_uuid: str | None = None


class Malformed(ValueError):
    """What a client sent is not what it may send."""


_decoder = msgspec.json.Decoder(Asked)


def checked_id(text: str, what: str) -> str:
    """An id as it may stand in a query or a message: no space, nothing that cannot be printed. Raises Malformed."""
    if len(text) > ID_MAX_CHARS or not text.isprintable() or " " in text:
        raise Malformed(f"{what} has up to {ID_MAX_CHARS} characters, none of them a space or a control character")
    return text


def _one(name: str, first: str | None, second: str | None) -> str:
    if first and second and first != second:
        raise Malformed("call_id and call_uuid name two different calls")
    return checked_id(first or second or "", name)


def query_of(query: bytes) -> tuple[str, str]:
    """(call id, session id) of a query string, each "" where it is absent. Raises Malformed."""
    try:
        fields = dict(parse_qsl(query.decode("ascii"), max_num_fields=QUERY_FIELDS_MAX, errors="strict"))
    except ValueError:
        raise Malformed("The query cannot be read") from None
    return _one("call_id", fields.get("call_id"), fields.get("call_uuid")), checked_id(fields.get("session_id", ""), "session_id")


def _without_default_port(host: str, secure: bool) -> str:
    return host.strip().lower().removesuffix(":443" if secure else ":80")


def is_own_origin(headers: Iterable[tuple[bytes, bytes]], hosts: Iterable[str]) -> bool:
    """Whether a connection may come from where it comes from: no Origin (RFC 6455 10.2: no browser), that of this server, or one on a host of
    the configuration."""
    origin, host = None, ""
    for name, value in headers:
        if name == b"origin":
            origin = value.decode("latin-1")
        elif name == b"host":
            host = value.decode("latin-1")
    if origin is None:
        return True
    scheme, _, place = origin.partition("://")
    secure = scheme.lower() in ("https", "wss")
    place = _without_default_port(place, secure)
    if not place:
        return False
    named = place.partition("]")[0] + "]" if place.startswith("[") else place.partition(":")[0]
    return place == _without_default_port(host, secure) or named in {each.lower() for each in hosts}


def asked_of(message: dict[str, Any]) -> Asked:
    """What a frame asks for. Raises Malformed."""
    text = message.get("text")
    if text is None:
        raise Malformed("Messages are JSON in text frames")
    if len(text) > INBOUND_MAX_BYTES or len(text.encode()) > INBOUND_MAX_BYTES:
        raise Malformed(f"A message has up to {INBOUND_MAX_BYTES} bytes")
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise Malformed("A message is a JSON object with a type") from None


class Conversation:
    """What a client says, and what it is answered."""

    def __init__(self, hub: Hub, client: Client, receive: Receive) -> None:
        self._hub = hub
        self._client = client
        self._receive = receive
        self._strikes = 0
        self._free_at = hub.now() - INBOUND_BURST / INBOUND_PER_S

    async def run(self) -> None:
        """Until the client is gone, or sent too much that means nothing."""
        if self._client.kind == "analytics":
            await self._hub.snapshot(self._client)
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                await self._answer(asked_of(message))
            except Malformed as error:
                if self._strike(str(error), len(message.get("text") or message.get("bytes") or "")):
                    return
            await self._pace()

    async def _pace(self) -> None:
        now = self._hub.now()
        self._free_at = max(self._free_at, now - INBOUND_BURST / INBOUND_PER_S) + 1 / INBOUND_PER_S
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)

    def _strike(self, why: str, size: int) -> bool:
        """Whether that was one too many."""
        self._strikes += 1
        told = fault(why, "request.invalid")
        if self._strikes < STRIKES_MAX and size <= FAR_TOO_BIG_BYTES:
            self._hub.put(self._client, told)
            return False
        code = POLICY if size <= FAR_TOO_BIG_BYTES else TOO_BIG
        self._hub.let_go(self._client, "malformed", Closing(code, "request.invalid", told))
        return True

    async def _answer(self, asked: Asked) -> None:
        hub, client = self._hub, self._client
        if asked.type == "subscribe":
            call_id = _one("call_id", asked.call_id, asked.call_uuid)
            if not call_id:
                raise Malformed("subscribe names a call_id")
            hub.follow(client, call_id)
            hub.put(client, encoded({"type": "subscribed", "call_id": call_id, "call_uuid": call_id}))
            if client.kind == "analytics":
                await hub.snapshot(client)
        elif asked.type == "unsubscribe":
            left = client.call_id
            hub.follow(client, "")
            hub.put(client, encoded({"type": "unsubscribed", "call_id": left, "call_uuid": left}))
        elif asked.type == "ping":
            hub.put(client, encoded({"type": "pong", "timestamp": hub.timestamp()}))
        elif asked.type != "pong":
            raise Malformed("A message is of the type subscribe, unsubscribe, ping or pong")


def _refusal(scope: Any, hosts: Iterable[str]) -> Closing | None:
    if is_own_origin(scope["headers"], hosts):
        return None
    return Closing(CLOSE_FORBIDDEN, "auth.origin", fault("Pages of other servers may not connect; http.hosts names those that may", "auth.origin"))


async def follow(socket: WebSocket[Any, Any, Any], kind: Kind, greet: Greet, refusal: Closing | None = None) -> None:
    """Serves one connection. `greet` gives the first messages; with `refusal` it ends with that."""
    try:
        await _follow(socket, kind, greet, refusal)
    finally:
        # They hold the socket that holds them; the collector would find them late, since it seldom looks at what lived long.
        del socket.receive, socket.send


async def _follow(socket: WebSocket[Any, Any, Any], kind: Kind, greet: Greet, refusal: Closing | None) -> None:
    services: Services = socket.app.state.services
    hub, scope = services.sockets, socket.scope
    await socket.receive()
    offered = scope.get("subprotocols") or []
    # browsers break off when none of the subprotocols they offered is taken; the first may be the token
    accepted: Any = {"type": "websocket.accept", "subprotocol": offered[0] if offered else None, "headers": []}
    refusal = _refusal(scope, services.config.http.hosts) or refusal or hub.refusal()
    call_id = session_id = ""
    try:
        call_id, session_id = query_of(scope["query_string"])
    except Malformed as error:
        refusal = refusal or Closing(POLICY, "request.invalid", fault(str(error), "request.invalid"))
    if refusal is not None:
        await socket.send(accepted)
        await socket.send({"type": "websocket.send", "bytes": None, "text": refusal.text})
        await socket.send({"type": "websocket.close", "code": refusal.code, "reason": refusal.reason})
        return
    principal: Principal = scope["principal"]  # type: ignore[typeddict-item]
    client = Client(kind, call_id, session_id or secrets.token_hex(SESSION_ID_BYTES), principal)
    for text in greet(client):
        client.put(text)
    await hub.run(client, lambda: socket.send(accepted), Conversation(hub, client, socket.receive).run, socket.send)


__all__ = ["Asked", "Malformed", "asked_of", "checked_id", "follow", "is_own_origin", "query_of"]

"""Who follows calls in this process, and the way to them: one subscription of the bus a kind, one encoding a message, a queue a client.

A message goes to the followers of its call and to those of all calls, and costs as many steps as there are of these. Nothing waits for a client: one
that reads so slowly that its queue fills up, or that takes nothing for SEND_S, is let go, and the others never notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from api.auth import CLOSE_UNAUTHORIZED, AuthUnavailable, Principal
from api.errors import ApiError
from engine.bus import BadPayload, Bus, BusError, Message
from engine.clock import iso
from engine.health import Result
from engine.siprec.events import ANALYTICS_TOPIC, TRANSCRIPTION_TOPIC, LiveMessage

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from engine.bus.machines import Machines

Kind = Literal["transcriptions", "analytics"]
Send = Callable[[Any], Awaitable[None]]
Begin = Callable[[], Awaitable[None]]

QUEUE_MAX: Final = 256  # messages that wait for one client
SEND_S: Final = 10.0  # for one message to be taken
PING_S: Final = 25.0  # well below the 60 s after which readers and proxies give up
SWEEP_S: Final = 1.0
CLOSE_S: Final = 2.0
RECHECKS_AT_ONCE: Final = 16
SNAPSHOT_S: Final = 2.0
KEEPER: Final = "keeper"
SNAPSHOT_SUBJECT: Final = "analytics.snapshot"  # {"call_id"} -> the last snapshot message of a call, or nothing
TOPICS: Final[dict[Kind, str]] = {"transcriptions": TRANSCRIPTION_TOPIC, "analytics": ANALYTICS_TOPIC}
GOING_AWAY, POLICY, TOO_BIG, TRY_LATER = 1001, 1008, 1009, 1013  # RFC 6455 7.4.1, and its registry

log = logging.getLogger("trunkline.sockets")


class Recheck(Protocol):
    """What is needed of the authenticator."""

    async def recheck(self, principal: Principal) -> Principal: ...


class Closing(msgspec.Struct, frozen=True):
    """Why the server ends a connection; `text` is the last message before its end."""

    code: int
    reason: str
    text: str = ""


def encoded(document: Any) -> str:
    """A message as JSON."""
    return msgspec.json.encode(document).decode()


def fault(text: str, code: str) -> str:
    """The message of an error. `message` is the documented name, `error` the one that older clients look for."""
    return encoded({"type": "error", "message": text, "error": text, "code": code})


class Client:
    """One connection. An empty `call_id` follows all calls. To be used on the event loop of its hub alone."""

    __slots__ = ("_filled", "call_id", "closing", "kind", "newer", "ping_at", "principal", "queue", "sending_since", "session_id", "tasks")

    def __init__(self, kind: Kind, call_id: str, session_id: str, principal: Principal) -> None:
        self.kind: Kind = kind
        self.call_id = call_id
        self.session_id = session_id
        self.principal = principal
        self.queue: deque[str] = deque()
        self.closing: Closing | None = None
        self.newer = False  # a snapshot reached it while it waited for the last one
        self.ping_at = 0.0
        self.sending_since: float | None = None
        self.tasks: tuple[asyncio.Task[None], ...] = ()
        self._filled = asyncio.Event()

    def put(self, text: str) -> bool:
        """Queues a message. False where there is no room for it."""
        if len(self.queue) >= QUEUE_MAX:
            return False
        self.queue.append(text)
        self._filled.set()
        return True

    def end(self, closing: Closing) -> None:
        """Ends the connection behind what is queued; the first reason counts."""
        if self.closing is None:
            self.closing = closing
            if closing.text:
                self.queue.append(closing.text)
            self._filled.set()

    def abort(self) -> None:
        """Ends the connection at once, whatever it is at."""
        for task in self.tasks:
            task.cancel()

    async def write(self, send: Send, now: Callable[[], float], count: Callable[[], None]) -> None:
        """Sends what is queued, one message a frame, until the connection is to end."""
        queue = self.queue
        while True:
            while queue:
                self.sending_since = now()
                await send({"type": "websocket.send", "bytes": None, "text": queue.popleft()})
                count()
            self.sending_since = None
            if self.closing is not None:
                return
            self._filled.clear()
            await self._filled.wait()


class _Figures:
    """What is measured of the sockets of all API workers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # not before the environment names the directory that the processes share
        from prometheus_client import Counter, Gauge

        labels = ["socket"]
        self.clients = Gauge("trunkline_socket_clients", "WebSocket clients", labels, registry=registry, multiprocess_mode="livesum")
        self.sent = Counter("trunkline_socket_messages", "Messages sent to WebSocket clients", labels, registry=registry)
        self.dropped = Counter(
            "trunkline_socket_clients_dropped", "WebSocket clients that the server let go", [*labels, "reason"], registry=registry
        )


class _Followers:
    """The clients of one kind, by what they follow."""

    def __init__(self) -> None:
        self.all: set[Client] = set()
        self.by_call: dict[str, set[Client]] = {}

    def add(self, client: Client) -> None:
        (self.by_call.setdefault(client.call_id, set()) if client.call_id else self.all).add(client)

    def discard(self, client: Client) -> None:
        self.all.discard(client)
        found = self.by_call.get(client.call_id)
        if found is not None:
            found.discard(client)
            if not found:
                del self.by_call[client.call_id]

    def of(self, call_id: str) -> Iterator[Client]:
        yield from self.all
        yield from self.by_call.get(call_id, ())


class Hub:
    """The clients of one API worker. Belongs to the event loop that `start` was called in."""

    def __init__(
        self,
        *,
        bus: Bus | None,
        recheck: Recheck | None,
        registry: CollectorRegistry,
        clients_max: int,
        clock: Callable[[], float],
        machines: Machines | None = None,
        machine: str = "",
        now: Callable[[], float] = time.monotonic,
        ping_s: float = PING_S,
        send_s: float = SEND_S,
        sweep_s: float = SWEEP_S,
    ) -> None:
        """`bus` is that of this machine; what `machines` tells is heard too, but for what comes from this `machine`. Without `recheck` nobody is asked for a key. `clock` is wall time in seconds, for timestamps; `now` measures."""
        self.clients_max = clients_max
        self._bus = bus
        self._machines, self._machine, self._joined = machines, machine, False
        self._recheck = recheck
        self._clock = clock
        self.now = now
        self._ping_s, self._send_s, self._sweep_s = ping_s, send_s, sweep_s
        self._followers: dict[Kind, _Followers] = {"transcriptions": _Followers(), "analytics": _Followers()}
        self._clients: set[Client] = set()
        self._sent: dict[Kind, int] = {"transcriptions": 0, "analytics": 0}
        self._fetching: dict[str, tuple[asyncio.Task[str], set[Client]]] = {}
        self._figures = _Figures(registry)
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    async def start(self) -> None:
        """Subscribes, and begins to look after the clients."""
        if self._bus is not None:
            await self._subscribe(self._bus)
        self._tasks = [asyncio.create_task(self._sweep())]
        if self._recheck is not None:
            self._tasks.append(asyncio.create_task(self._recheck_all(self._recheck)))

    async def _subscribe(self, bus: Bus, but_of: str = "") -> None:
        for kind in TOPICS:
            await bus.subscribe(TOPICS[kind], self._listener(kind, but_of))

    async def close(self) -> None:
        """Tells the clients that the server goes away, and ends those that do not hear it. Takes no more."""
        self._closed = True
        for client in self._clients:
            client.end(Closing(GOING_AWAY, "server.stopping"))
        deadline = self.now() + CLOSE_S
        while self._clients and self.now() < deadline:
            await asyncio.sleep(CLOSE_S / 100)
        for client in self._clients:
            client.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._publish_figures()

    @property
    def clients(self) -> int:
        """Connections that are open."""
        return len(self._clients)

    async def check(self) -> Result:
        """For /health."""
        if self._bus is None or not self._bus.connected:
            return Result("degraded", "no live messages come: there is no bus")
        return Result("healthy", f"{len(self._clients)} clients")

    def timestamp(self) -> str:
        """Now, as messages have it: ISO 8601 with milliseconds, UTC."""
        return iso(self._clock())

    # ---- clients ----

    def refusal(self) -> Closing | None:
        """Why one more client cannot be taken now; None when it can."""
        if self._closed:
            return Closing(GOING_AWAY, "server.stopping", fault("The server is stopping", "server.stopping"))
        if len(self._clients) >= self.clients_max:
            return Closing(TRY_LATER, "service.unavailable", fault("Too many clients are connected; try again later", "service.unavailable"))
        return None

    async def run(self, client: Client, accept: Begin, read: Begin, send: Send) -> None:
        """Serves a client until it leaves or is let go. It misses nothing that is told once `accept` has reached it. `read` takes what it sends, and
        returns when it is gone or has to go."""
        client.ping_at = self.now() + self._ping_s
        self._clients.add(client)
        self._followers[client.kind].add(client)
        kind, sent = client.kind, self._sent

        def count() -> None:
            sent[kind] += 1

        try:
            await accept()
            reader, writer = asyncio.ensure_future(read()), asyncio.create_task(client.write(send, self.now, count))
            client.tasks = (reader, writer)
            await asyncio.wait(client.tasks, return_when=asyncio.FIRST_COMPLETED)
            if client.closing is not None:
                await asyncio.wait({writer})
        finally:
            self._followers[kind].discard(client)
            client.abort()
            results = await asyncio.gather(*client.tasks, return_exceptions=True)
            self._clients.discard(client)
            client.tasks = ()  # a cancelled task keeps its frames, and those the client
        if client.closing is not None and results[1] is None:
            # only now: the server sends no close frame while a receive is under way
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._send_s):
                    await send({"type": "websocket.close", "code": client.closing.code, "reason": client.closing.reason})

    def follow(self, client: Client, call_id: str) -> None:
        """Has a client follow one call, or all with "", and nothing else."""
        followers = self._followers[client.kind]
        followers.discard(client)
        client.call_id = call_id
        if client.closing is None:
            followers.add(client)

    def let_go(self, client: Client, reason: str, closing: Closing) -> None:
        """Ends a connection for a reason of ours; nothing more is queued for it."""
        if client.closing is None:
            self._figures.dropped.labels(client.kind, reason).inc()
            self._followers[client.kind].discard(client)
            client.end(closing)

    def put(self, client: Client, text: str) -> None:
        """Queues a message for one client; one whose queue is full is let go."""
        if client.closing is None and not client.put(text):
            client.queue.clear()
            why = f"More than {QUEUE_MAX} messages wait to be read; connect again"
            self.let_go(client, "slow", Closing(POLICY, "client.slow", fault(why, "client.slow")))

    # ---- what comes ----

    def tell(self, kind: Kind, call_id: str, text: str) -> None:
        """Hands a message of a call to everybody who follows it."""
        slow = [client for client in self._followers[kind].of(call_id) if not client.put(text)]
        for client in slow:
            self.put(client, text)

    def _listener(self, kind: Kind, but_of: str = "") -> Callable[[Message], Awaitable[None]]:
        """What hears messages of a kind, but for those of a machine, which came already."""

        async def heard(message: Message) -> None:
            followers = self._followers[kind]
            if (not followers.all and not followers.by_call) or (but_of and message.source.startswith(f"{but_of}.")):
                return
            try:
                live = message.read(LiveMessage)
            except BadPayload as error:
                log.warning("a message of %s was dropped: %s", message.source, error)
                return
            if not followers.all and live.call_id not in followers.by_call:
                return
            if kind == "analytics" and live.call_id in self._fetching and live.document.get("type") == "snapshot":
                for client in self._fetching[live.call_id][1]:
                    client.newer = True
            self.tell(kind, live.call_id, encoded(live.document))

        return heard

    async def snapshot(self, client: Client) -> None:
        """Queues the last snapshot of the call that a client follows, unless a newer one reaches it meanwhile. However many ask for a call at a time,
        the keeper is asked once."""
        call_id = client.call_id
        if self._bus is None or not call_id:
            return
        if call_id not in self._fetching:
            self._fetching[call_id] = (asyncio.create_task(self._fetch(self._bus, call_id)), set())
        fetch, waiting = self._fetching[call_id]
        client.newer = False
        waiting.add(client)
        try:
            text = await asyncio.shield(fetch)
        finally:
            waiting.discard(client)
        if text and not client.newer and client.call_id == call_id:
            self.put(client, text)

    async def _fetch(self, bus: Bus, call_id: str) -> str:
        """The last snapshot of a call as JSON; "" where there is none, or nobody who has it."""
        try:
            found = await bus.request(KEEPER, SNAPSHOT_SUBJECT, {"call_id": call_id}, SNAPSHOT_S)
        except BusError as error:
            log.debug("no snapshot: %s", error)
            return ""
        finally:
            del self._fetching[call_id]
        return encoded(found) if isinstance(found, dict) and found else ""

    # ---- looking after them ----

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_s)
            if not self._joined and self._machines is not None and self._machines.bus is not None:
                self._joined = True  # and stays, whatever becomes of the connection
                try:
                    await self._subscribe(self._machines.bus, self._machine)
                except BusError as error:
                    log.warning("live messages of other machines come later: %s", error)
            now, ping = self.now(), encoded({"type": "ping", "timestamp": self.timestamp()})
            for client in tuple(self._clients):
                if client.sending_since is not None and now - client.sending_since > self._send_s:
                    if client.closing is None:
                        self._figures.dropped.labels(client.kind, "stalled").inc()
                    client.abort()
                elif now >= client.ping_at:
                    client.ping_at = now + self._ping_s
                    self.put(client, ping)
            self._publish_figures()

    def _publish_figures(self) -> None:
        for kind in TOPICS:
            self._figures.clients.labels(kind).set(sum(client.kind == kind for client in self._clients))
            self._figures.sent.labels(kind).inc(self._sent[kind])
            self._sent[kind] = 0

    async def _recheck_all(self, recheck: Recheck) -> None:
        """Lets go those whose key was revoked or ran out. While the store of keys is away they stay: they were let in."""
        slots = asyncio.Semaphore(RECHECKS_AT_ONCE)

        async def one(principal: Principal, clients: list[Client]) -> None:
            try:
                async with slots:
                    await recheck.recheck(principal)
            except AuthUnavailable:
                return
            except ApiError as error:
                for client in clients:
                    self.let_go(client, "key", Closing(CLOSE_UNAUTHORIZED, error.code, fault(str(error), error.code)))

        while True:
            await asyncio.sleep(self._sweep_s)
            by_principal: dict[Principal, list[Client]] = {}
            for client in self._clients:
                by_principal.setdefault(client.principal, []).append(client)
            for result in await asyncio.gather(*(one(*pair) for pair in by_principal.items()), return_exceptions=True):
                if isinstance(result, Exception):
                    log.error("a key could not be checked again", exc_info=result)


__all__ = ["Client", "Closing", "Hub", "Kind", "encoded", "fault"]

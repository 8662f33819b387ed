"""The SIP side of one engine worker: its endpoint, behind the guard, on ports that it shares with its siblings.

A message that comes in is first admitted (`guard.py`), then goes to the worker that its Call-ID belongs to (`router.py`), and there to the
user agent. Calls are counted against their trunk, kept in the live tables (`engine/trace/live.py`), and written down so that whoever
replaces this worker can end them (`ledger.py`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import ssl
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from engine.config.document import Config
from engine.config.document import Sip as SipConfig
from engine.errors import EngineError
from engine.media_worker import AnsweredMedia, MediaWorker
from engine.ports import must_be_free
from engine.sdp.offer_answer import Negotiation
from engine.sdp.terms import Terms, Transport
from engine.sip import auth, compose
from engine.sip import guard as guards
from engine.sip.account import KeptAccount
from engine.sip.call import Call, CallUser, Ending
from engine.sip.endpoint import Endpoint, Listener, Tls, destination_of
from engine.sip.flow import Flow
from engine.sip.guard import Guard, GuardSettings
from engine.sip.incoming import IncomingCall
from engine.sip.ledger import Ledger
from engine.sip.message import Message, parse
from engine.sip.registrar import Registrar, RegistrarSettings
from engine.sip.registration import Account
from engine.sip.registration import State as Registered
from engine.sip.resolver import PORTS, SECURE, Resolver
from engine.sip.router import Router
from engine.sip.session_timer import TimerSettings
from engine.sip.transaction import NonInviteServer
from engine.sip.transaction_layer import branched
from engine.sip.user_agent import Application, Settings
from engine.siprec import server as siprec_server
from engine.trace.live import LiveSettings, LiveTraces

KEY_BYTES: Final = 16
LAG_STEP_S: Final = 0.1
SWEEP_TICKS: Final = 10
GRACE_S: Final = 6.0
UNREGISTERED_S: Final = 1.0
FAR_AHEAD: Final = 1 << 20  # of the CSeq: a BYE written down when the call began is behind all that the call sends itself
METHODS: Final = ("REGISTER",)
DISCARD: Final = 9  # what is inactive is sent nowhere (RFC 863)
log = logging.getLogger("trunkline.sip")


def folder_of(data_dir: Path) -> Path:
    """Where workers keep what they share: their sockets, the routing key, and the ledgers."""
    return data_dir / "sip"


def prepare(data_dir: Path) -> None:
    """Makes a new routing key, before any worker is started."""
    folder = folder_of(data_dir)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder / "key.new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(KEY_BYTES))
    finally:
        os.close(descriptor)
    fresh.rename(folder / "key")


def listeners_of(config: Config) -> list[Listener]:
    """The sockets of a configuration. Raises ValueError for one that cannot be read."""
    made = []
    for url in config.sip.listen or _urls_of(config):
        parts = urlsplit(url)
        name = parts.scheme.upper()
        if name not in PORTS or not parts.hostname or parts.path or parts.query or parts.username:
            raise ValueError(f"sip.listen: {url!r} is not like udp://0.0.0.0:5060; schemes are udp, tcp, tls, ws and wss")
        try:
            port = PORTS[name] if parts.port is None else parts.port
        except ValueError:
            raise ValueError(f"sip.listen: {url!r} has no port that there is") from None
        made.append(Listener(transport=name, host=parts.hostname, port=port, advertised=advertised_of(config)))  # type: ignore[arg-type]
    return made


def _urls_of(config: Config) -> list[str]:
    sip, network = config.sip, config.network
    host = f"[{sip.host}]" if ":" in sip.host else sip.host
    ports = network.ports or ([sip.port] if sip.port else [])
    urls = [] if network.require_tls_only else [f"udp://{host}:{port}" for port in network.udp_ports or ports]
    urls += [] if network.require_tls_only else [f"tcp://{host}:{port}" for port in network.tcp_ports or ports]
    return [*urls, f"tls://{host}:{network.tls_port}"] if network.enable_tls and ports else urls


def advertised_of(config: Config) -> str:
    """The address that others are told, "" for the one that they reach us by."""
    external = config.network.external_ip
    return config.sip.advertised or (external if external != "auto" else "")


def check_free(listeners: Sequence[Listener]) -> None:
    """Raises ValueError where another program has a port already: workers share their ports among themselves, and would with it."""
    for listener in listeners:
        try:
            must_be_free(listener.host, listener.port, socket.SOCK_DGRAM if listener.transport == "UDP" else socket.SOCK_STREAM)
        except OSError as error:
            where = f"{listener.transport} {listener.host} port {listener.port}"
            raise ValueError(f"cannot take SIP on {where}: {error.strerror}; sip.port or sip.listen names another, sip.port 0 none") from error


def tls_of(config: Config, *, listening: bool) -> Tls:
    """The TLS contexts of a configuration. Raises ValueError and OSError for certificates that cannot be used."""
    sip, network = config.sip, config.network
    certificate, key = (sip.tls_cert_file, sip.tls_key_file) if sip.tls_cert_file else (network.tls_cert_file, network.tls_key_file)
    client = ssl.create_default_context(cafile=sip.tls_ca_file or None)
    if not sip.tls_verify:
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
    client.minimum_version = ssl.TLSVersion.TLSv1_2
    server = None
    if certificate:
        client.load_cert_chain(certificate, key or None)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.minimum_version = ssl.TLSVersion.TLSv1_2
        server.load_cert_chain(certificate, key or None)
        if sip.tls_client_ca_file:
            server.load_verify_locations(sip.tls_client_ca_file)
            server.verify_mode = ssl.CERT_REQUIRED
    elif listening:
        raise ValueError("sip.listen has tls or wss, and sip.tls_cert_file is not set")
    return Tls(server=server, client=client)


def guard_settings(config: SipConfig) -> GuardSettings:
    """What the guard is told. Raises ValueError for networks that are none."""
    strangers = [*config.strangers_may, *(["REGISTER"] if config.users else [])]
    trunks = tuple(
        guards.Trunk(
            name=trunk.name, sources=tuple(trunk.sources), calls_max=trunk.calls_max, calls_per_s=trunk.calls_per_s, calls_burst=trunk.calls_burst
        )
        for trunk in config.trunks
    )
    settings = GuardSettings(
        allow=tuple(config.allow), deny=tuple(config.deny), trunks=trunks, strangers_may=tuple(strangers),
        proven_may=(*strangers, "INVITE", "OPTIONS") if config.users else tuple(strangers), calls_max=config.calls_max, source_calls_max=config.calls_max,
    )  # fmt: skip
    guards.Networks(settings)
    return settings


class Desk(Application, CallUser):
    """Who is called on this worker: everybody is answered, with media or without, or nobody is, as the configuration has it."""

    def __init__(self, worker: SipWorker) -> None:
        self._worker = worker

    def takes_without_replaced(self, request: Message, flow: Flow) -> bool:
        """A recording client that fails over to us names a session of another server: it is recorded rather than lost."""
        recordings = self._worker.recordings
        return recordings is not None and recordings.parts_of_recording(request, flow) is not None

    def on_call(self, call: IncomingCall) -> None:
        """A call came."""
        worker = self._worker
        assert call.flow is not None
        token = worker.guard.call_began(call.flow.peer)
        if isinstance(token, guards.Judgement):
            call.refuse(token.status, headers=list(token.headers))
            return
        worker.tokens[call] = token
        if worker.live is not None:
            worker.live.began(call.call_id)
        if worker.recordings is not None and worker.recordings.take(call):
            return
        call.user = self
        if worker.config.sip.answer == "nobody":
            call.refuse(480)
            return
        host = worker.endpoint.host_toward(call.flow)
        if worker.media is not None and worker.config.sip.answer in ("echo", "record"):
            answered = AnsweredMedia(worker.media, host, advertised_of(worker.config), worker.config.sip.answer, call.call_id)
            worker.answered[call] = answered
            call.session = answered.session
            if answered.mode == "record":
                worker.spawn(answered.answer(call))
            else:
                call.answer()
            return
        nowhere = Transport(host=host, port=DISCARD, rtcp_port=DISCARD)
        call.session = Negotiation(Terms(host=host, direction="inactive"), lambda index, family: nowhere, random=secrets.token_bytes)
        call.answer()

    def on_connected(self, call: Call) -> None:
        """A call stands: it is written down."""
        self._worker.write_down(call)

    def on_media(self, call: Call) -> None:
        """An offer was answered."""
        answered = self._worker.answered.get(call)
        if answered is None:
            return
        try:
            answered.agreed()
        except EngineError as error:
            log.error("call %s has no media: %s", call.call_id, error)
            call.hang_up()

    def on_ended(self, call: Call, ending: Ending) -> None:
        """A call is over."""
        self._worker.strike_out(call)
        answered = self._worker.answered.pop(call, None)
        if answered is not None:
            self._worker.spawn(answered.close())

    def on_request(self, transaction: NonInviteServer, flow: Flow) -> bool:
        """A registration."""
        worker = self._worker
        if transaction.request.method != "REGISTER" or worker.registrar is None:
            return False
        answer = worker.registrar.receive(transaction.request, flow)
        if answer.verdict == "bad":
            worker.guard.failed_auth(flow.peer, flow.transport)
        elif answer.verdict == "good":
            worker.guard.proven(flow.peer)
        worker.endpoint.agent.layer.respond(transaction, answer.status, answer.reason, to_tag=secrets.token_hex(5), headers=list(answer.headers))
        return True


class SipWorker:
    """The SIP side of one worker."""

    def __init__(self, config: Config, index: int, count: int, folder: Path, recordings: Path | None = None) -> None:
        """`recordings` is where they go, beside `folder` where nothing is said."""
        loop = asyncio.get_running_loop()
        sip = config.sip
        self.config = config
        self.index = index
        self._count = count
        self.listeners = listeners_of(config)
        self.guard = Guard(guard_settings(sip), loop)
        self.tokens: dict[Call, guards.Call] = {}
        self.registrar = self._registrar(sip, loop)
        self._folder = folder
        self._loop = loop
        self._lag: asyncio.TimerHandle | None = None
        self._due = 0.0
        key = (folder / "key").read_bytes() if count > 1 else bytes(KEY_BYTES)
        self.router = Router(index, count, key, folder, self._deliver, udp_flow=self._udp_flow, on_orphan=self._orphan, on_overload=self._full)
        timer = TimerSettings(expires_s=sip.session_expires_s, min_se_s=sip.min_se_s)
        self.live = LiveTraces(folder / f"live-{index}", settings=LiveSettings(address=advertised_of(config))) if self.listeners else None
        siprec = config.siprec.enabled
        settings = Settings(
            timer=timer, calls_max=sip.calls_max, extensions=(siprec_server.OPTION,) if siprec else (), media_types=siprec_server.MEDIA_TYPES if siprec else ()
        )
        self.endpoint = Endpoint(
            Desk(self), settings=settings,
            tls=tls_of(config, listening=any(one.transport in SECURE for one in self.listeners)),
            resolver=Resolver(servers=sip.dns_servers) if self.listeners else None, admit=self._admit, judge=self._judge, on_malformed=self._malformed, methods=METHODS,
            new_call_id=self.router.new_call_id, receiver=self.router.receiver, may_stay=self._opened, on_closed=self._closed,
            may_answer=self._may_answer, on_wire=self.live.on_wire if self.live is not None else None,
        )  # fmt: skip
        self.ledger: Ledger | None = None
        has_media = bool(self.listeners) and (siprec or sip.answer in ("echo", "record"))
        self.media = MediaWorker(config, index, count, recordings or folder.parent / config.recording.directory) if has_media else None
        self.recordings: siprec_server.RecordingServer | None = None
        self.answered: dict[Call, AnsweredMedia] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticks = 0
        self.byes_left = 0
        self.account = self._account(sip) if index == 0 and self.listeners else None
        self._ending = False

    def _registrar(self, sip: SipConfig, loop: asyncio.AbstractEventLoop) -> Registrar | None:
        if not sip.users:
            return None
        secrets_of = {
            (user.username, name): auth.secret_of(user.username, sip.realm, user.password, name) for user in sip.users for name in ("SHA-256", "MD5")
        }
        server = auth.Server(sip.realm, lambda username, algorithm: secrets_of.get((username, algorithm)), loop.time)
        return Registrar(RegistrarSettings(domains=(sip.realm, *(one.host for one in self.listeners), advertised_of(self.config) or sip.realm)), server, loop)

    def _account(self, sip: SipConfig) -> KeptAccount | None:
        """The account of the configuration, which the first worker keeps."""
        if not sip.username or not sip.server:
            return None
        domain = sip.domain or sip.server
        account = Account(
            registrar=f"sip:{domain}", address_of_record=f"sip:{sip.username}@{domain}", contact="", username=sip.auth_id or sip.username,
            password=sip.password,
        )  # fmt: skip
        way = sip.outbound_proxy or sip.server
        way = way if way.startswith(("sip:", "sips:")) else f"sip:{way}"
        way = way if ";transport=" in way else f"{way};transport={sip.transport}"
        return KeptAccount(self.endpoint, account, way, self._loop, user=sip.username)

    # ---- life ----

    async def open(self) -> None:
        """Binds, ends what a predecessor left, and begins to watch how late the loop is. Raises OSError and ValueError."""
        if not self.listeners:
            return
        if self.media is not None:
            await self.media.open()
            if self.config.siprec.enabled:
                self.recordings = siprec_server.RecordingServer(self.config, self, self.media, self._folder, self.index, self._count)
                self.recordings.open()
        self.router.open()
        for listener in self.listeners:
            await self.endpoint.listen(listener, reuse_port=True)
        self.ledger = Ledger(self._folder / f"ledger-{self.index}")
        for entry in self.ledger.entries():
            self.byes_left += 1
            self._say_bye(entry.dialog_id, entry.bye, entry.transport, entry.host, entry.port)
        self._due = self._loop.time() + LAG_STEP_S
        self._lag = self._loop.call_at(self._due, self._tick)
        if self.account is not None:
            self.account.start()

    def _tick(self) -> None:
        now = self._loop.time()
        self.guard.note_lag(max(0.0, now - self._due))
        self.guard.note_transactions(self.endpoint.agent.layer.counters.transactions)
        self._ticks += 1
        if self.live is not None and not self._ticks % SWEEP_TICKS:
            self.live.sweep()
        self._due = now + LAG_STEP_S
        self._lag = self._loop.call_at(self._due, self._tick)

    def reload(self, config: Config) -> None:
        """Takes over what can change: lists, trunks, users. Raises ValueError, and changes nothing then."""
        settings = guard_settings(config.sip)
        if self.recordings is not None:
            self.recordings.configure(config)
        self.guard.configure(settings)
        self.config = config

    async def close(self, grace_s: float = GRACE_S) -> int:
        """Ends every call with a word to its peer, and closes everything; calls that did not answer in time."""
        self._ending = True
        if self.account is not None:
            self.account.stop()
        left = await self.endpoint.drain(grace_s)
        until = self._loop.time() + min(grace_s, UNREGISTERED_S)
        while self.account is not None and self.account.state is Registered.ENDING and self._loop.time() < until:
            await asyncio.sleep(0.02)
        if self._lag is not None:
            self._lag.cancel()
        await self.endpoint.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.recordings is not None:
            await self.recordings.close()
        if self.media is not None:
            await self.media.close()
        self.router.close()
        if self.registrar is not None:
            self.registrar.close()
        if self.ledger is not None:
            self.ledger.close()
        if self.live is not None:
            self.live.close()
        return left

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs what is not waited for, but at the end."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def advertised(self) -> str:
        """The address that others are told, "" for the one that they reach us by."""
        return advertised_of(self.config)

    def host_toward(self, flow: Flow) -> str:
        """Our address, as the other end of a flow reaches it."""
        return self.advertised or self.endpoint.host_toward(flow)

    def masks(self, call_id: str, masked: bool) -> None:
        """What may be digits in messages of a call is not kept from now on, or is again."""
        if self.live is not None:
            self.live.mask(call_id, masked)

    # ---- messages ----

    def _admit(self, data: bytes, flow: Flow) -> bool:
        return self.guard.admit(flow.peer, data, flow.transport)

    def _deliver(self, data: bytes, flow: Flow) -> None:
        self.endpoint.deliver(data, flow)

    def _udp_flow(self, listener: int, peer: tuple[str, int]) -> Flow:
        return self.endpoint.datagram_flow(listener, peer)

    def _orphan(self, data: bytes, flow: Flow) -> None:
        """The worker that a message belongs to is dead: its calls are gone, and whoever begins one is to come again soon."""
        self._turn_away(data, flow, 481)

    def _full(self, data: bytes, flow: Flow) -> None:
        """It lives and does not keep up."""
        self._turn_away(data, flow, 503)

    def _turn_away(self, data: bytes, flow: Flow, inside: int) -> None:
        try:
            message = parse(data)
            if not message.is_request or message.method == "ACK":
                return
            status = inside if message.essentials.to_tag else 503
        except ValueError:
            return
        headers: list[compose.Header] = [("Retry-After", "2")] if status == 503 else []
        self.endpoint.agent.layer.refuse(message, flow, status, "", headers)

    def _judge(self, request: Message, flow: Flow) -> tuple[int, list[compose.Header]] | None:
        verdict = self.guard.judge(request, flow)
        if verdict.verdict is guards.Verdict.ADMIT:
            if self._ending and not request.essentials.to_tag and request.method in ("INVITE", "OPTIONS", "REGISTER"):
                return 503, [("Retry-After", "5")]
            return None
        return verdict.status, list(verdict.headers)

    def _malformed(self, flow: Flow) -> None:
        self.guard.malformed(flow.peer, flow.transport)

    def _may_answer(self, data: bytes, flow: Flow) -> bool:
        return self.guard.allow_answer(flow.peer, len(data), flow.transport)

    def _opened(self, flow: Flow) -> bool:
        return self.guard.connected(flow.peer)

    def _closed(self, flow: Flow, stayed: bool) -> None:
        if stayed:
            self.guard.disconnected(flow.peer)
        self.router.closed(flow)

    # ---- the ledger ----

    def write_down(self, call: Call) -> None:
        """A call stands: what ends it is kept where a successor finds it."""
        dialog, flow = call.dialog, call.flow
        if self.ledger is None or dialog is None or flow is None:
            return
        self.guard.proven(flow.peer)
        agent = self.endpoint.agent
        transport, host, port = _place_of(call, flow, dialog.next_hop)
        number = (dialog.local_cseq or 0) + FAR_AHEAD
        bye = dialog.request("BYE", via=branched(agent.network.via(flow)), cseq=number, headers=[("Reason", 'SIP;cause=500;text="the server was restarted"')])
        self.ledger.record(_name_of(call), bye, transport, host, port)

    def strike_out(self, call: Call) -> None:
        """A call is over."""
        token = self.tokens.pop(call, None)
        if token is not None:
            self.guard.call_ended(token)
        if self.live is not None:
            self.live.ended(call.call_id)
        if self.ledger is not None:
            self.ledger.forget(_name_of(call))

    def _say_bye(self, name: str, bye: bytes, transport: str, host: str, port: int) -> None:
        """Ends a call of a predecessor; over a connection of its own where that one had one, which is gone."""

        def done() -> None:
            self.byes_left -= 1
            if self.ledger is not None:
                self.ledger.forget(name)

        def send(flow: Flow) -> None:
            self.endpoint.agent.layer.request(
                bye, flow, on_response=lambda response: done() if response.status >= 200 else None, on_timeout=done, on_failure=lambda error: done()
            )

        async def search() -> None:
            try:
                flow = await self.endpoint.reach(transport, host, port)
            except (EngineError, OSError):
                done()
            else:
                send(flow)

        self.endpoint.spawn(search())

    # ---- for those who ask ----

    def numbers(self) -> dict[str, int]:
        """What there is now, for health and metrics."""
        agent = self.endpoint.agent
        return {
            "calls": agent.calls, "dialogs": len(agent.dialogs), "transactions": agent.layer.counters.transactions,
            "registered": int(self.account is not None and self.account.state is Registered.REGISTERED), "connections": self.endpoint.sockets, "messages_received": agent.layer.counters.received, "messages_sent": agent.layer.counters.sent,
            "calls_in": agent.counters.calls_in, "calls_answered": agent.counters.answered, "handed_over": self.router.counters.handed,
            "live": len(self.live) if self.live is not None else 0,
            "ledger": len(self.ledger) if self.ledger is not None else 0, "tokens": len(self.tokens),
            **(self.media.numbers() if self.media is not None else {}),
            **({"sessions": len(self.recordings), "has_room": int(self.recordings.has_room)} if self.recordings is not None else {}),
        }  # fmt: skip


def _place_of(call: Call, flow: Flow, next_hop: str) -> tuple[str, str, int]:
    """Where a successor may reach the other side: connections die with us, so it is where the next request would go if there were none."""
    try:
        there = destination_of(next_hop)
    except EngineError:
        there = None
    if there is None or not there.is_address or there.target.transport != flow.transport or (not flow.reliable and call.way(call.dialog) is flow):  # type: ignore[arg-type]
        return flow.transport, *flow.peer
    return there.target.transport, there.target.host, there.target.port


def _name_of(call: Call) -> str:
    dialog = call.dialog
    return f"{dialog.call_id} {dialog.local_tag}" if dialog is not None else call.call_id


__all__ = ["SipWorker", "advertised_of", "check_free", "folder_of", "guard_settings", "listeners_of", "prepare", "tls_of"]

"""SIP over WebSocket: with another library as the other side, whole calls both ways, and connections that misbehave."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import RemoteProtocolError

from engine.sip import compose, websocket
from engine.sip.flow import Flow
from engine.sip.message import Message, parse
from engine.sip.transaction_layer import TransactionLayer, new_branch
from engine.sip.websocket import MESSAGE_MAX_BYTES, WebSockets
from tests.engine.sip.station import Station
from tests.engine.sip.test_transaction_layer import text
from tests.engine.sip.test_transport import certificate, server_context, until

__all__ = ["certificate"]
WAIT_S = 20.0
OPTIONS = text("OPTIONS").replace(b"SIP/2.0/UDP 192.0.2.1:5060", b"SIP/2.0/WS df7jal23ls0d.invalid")


DIALLED: list[asyncio.StreamWriter] = []


async def dial(host: str, port: int, *, tls: ssl.SSLContext | None = None, limit: int = 65536) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A plain stream that ends with its test."""
    reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=limit)
    DIALLED.append(writer)
    return reader, writer


class Browser:
    """Another library's WebSocket, over a plain stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self.heard: list[bytes] = []
        self.ended = False

    @classmethod
    async def connect(cls, address: tuple[str, int], subprotocols: list[str], tls: ssl.SSLContext | None = None, origin: str = "") -> Browser:
        made = cls(*await dial(*address, tls=tls))
        headers = [(b"Origin", origin.encode())] if origin else []
        made.write(made.protocol.send(Request(host="sip.example", target="/", subprotocols=subprotocols, extra_headers=headers)))
        return made

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def say(self, data: bytes | str) -> None:
        self.write(self.protocol.send(TextMessage(data) if isinstance(data, str) else BytesMessage(data)))

    async def events(self) -> list[Event]:
        """What comes next; nothing at the end."""
        async with asyncio.timeout(WAIT_S):
            data = await self.reader.read(65536)
        try:
            self.protocol.receive_data(data or None)
        except RemoteProtocolError:
            self.ended = True
            return []
        found = list(self.protocol.events())
        for event in found:
            if isinstance(event, Ping):
                self.write(self.protocol.send(event.response()))
            elif isinstance(event, TextMessage | BytesMessage):
                self.heard.append(event.data.encode() if isinstance(event.data, str) else bytes(event.data))
            elif isinstance(event, CloseConnection):
                self.ended = True
        self.ended = self.ended or not data
        return found

    async def opened(self) -> object:
        """The answer to the handshake."""
        while True:
            for event in await self.events():
                if isinstance(event, AcceptConnection | RejectConnection):
                    return event
            if self.ended:
                return None

    async def answers(self, count: int) -> list[bytes]:
        while len(self.heard) < count and not self.ended:
            await self.events()
        return self.heard

    def close(self) -> None:
        self.writer.close()


Scenario = Callable[[WebSockets, Station], Awaitable[None]]


def play(scenario: Scenario, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", **more: object) -> None:
    faults: list[object] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, told: faults.append(told.get("exception") or told))
        station = Station()
        sockets = WebSockets(station.layer.received, tls=tls, **more)  # type: ignore[arg-type]
        await sockets.listen(host, 0)
        try:
            async with asyncio.timeout(60):
                await scenario(sockets, station)
                sockets.close()
                await until(lambda: sockets.counters.connections == 0)
        finally:  # of a test that fails too: uvloop waits for ever for what is open when it is closed and warnings are errors
            for connection in sockets:
                connection.abort()
            for writer in DIALLED:
                writer.transport.abort()
            DIALLED.clear()
            sockets.close()
            station.close()
        await asyncio.sleep(0)

    uvloop.run(run())
    assert faults == []


def client_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(certificate[0]))
    made.check_hostname = False
    return made


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("secure", [False, True])
def test_text_and_binary_messages_are_answered(certificate: tuple[Path, Path], host: str, secure: bool) -> None:
    async def scenario(sockets: WebSockets, station: Station) -> None:
        browser = await Browser.connect(sockets.address, ["other", "sip"], client_context(certificate) if secure else None)
        accepted = await browser.opened()
        assert isinstance(accepted, AcceptConnection) and accepted.subprotocol == "sip" and not accepted.extensions
        browser.say(OPTIONS.decode())
        browser.say(OPTIONS.replace(b"branch=", b"branch=z9hG4bKb"))
        browser.say("\r\n\r\n")
        browser.say(b"\r\n")
        answers = await browser.answers(3)
        assert all(answer.startswith(b"SIP/2.0 200 ") for answer in answers[:2])
        assert answers[2] == b"\r\n"
        assert sockets.counters.blanks == 2 and sockets.counters.messages == 2
        browser.close()

    play(scenario, tls=server_context(certificate) if secure else None, host=host)


def test_a_message_in_fragments_is_whole_however_its_bytes_come() -> None:
    async def scenario(sockets: WebSockets, station: Station) -> None:
        browser = await Browser.connect(sockets.address, ["sip"])
        await browser.opened()
        told = OPTIONS.decode()
        data = browser.protocol.send(TextMessage(told[:10], message_finished=False))
        data += browser.protocol.send(Ping(b"in between"))
        data += browser.protocol.send(TextMessage(told[10:50], message_finished=False)) + browser.protocol.send(TextMessage(told[50:]))
        for at in range(len(data)):
            browser.write(data[at : at + 1])
            await asyncio.sleep(0)
        assert len(await browser.answers(1)) == 1
        browser.close()

    play(scenario)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"426"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 7\r\n"
         b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\r\n", b"426"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
         b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
         b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: soap\r\n\r\n", b"400"),
        (b"OPTIONS sip:x SIP/2.0\r\n\r\n", None),
        (b"\x16\x03\x01\x02\x00" * 100, None),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\n" + b"X-Y: z\r\n" * 5000 + b"\r\n", None),
    ],
    ids=["no upgrade", "no key", "version 7", "no subprotocol", "other subprotocol", "sip itself", "tls", "long line", "many headers"],
)  # fmt: skip
def test_a_handshake_that_is_none_gets_an_answer_and_an_end(request_: bytes, status: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "HANDSHAKE_S", 1000.0)

    async def scenario(sockets: WebSockets, station: Station) -> None:
        reader, writer = await dial(*sockets.address)
        writer.write(request_)
        try:
            told = await reader.read()
        except ConnectionError:
            told = b""
        assert told == b"" or told.startswith(b"HTTP/1.1 4")
        if status is not None:
            assert told.split(b" ")[1] == status, told
        writer.close()
        await until(lambda: sockets.counters.connections == 0)
        assert not station.seen

    play(scenario)


def test_pages_of_others_may_not_connect() -> None:
    async def scenario(sockets: WebSockets, station: Station) -> None:
        for origin, taken in (("https://phone.example", True), ("https://evil.example", False)):
            browser = await Browser.connect(sockets.address, ["sip"], origin=origin)
            assert isinstance(await browser.opened(), AcceptConnection) is taken
            browser.close()

    play(scenario, origins=["https://phone.example"])


def frame(opcode: int, payload: bytes, *, masked: bool = True, length: int | None = None, last: bool = True) -> bytes:
    told = len(payload) if length is None else length
    head = bytes([(0x80 if last else 0) | opcode])
    bit = 0x80 if masked else 0
    head += bytes([bit | told]) if told < 126 else bytes([bit | 126]) + told.to_bytes(2, "big") if told < 65536 else bytes([bit | 127]) + told.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload


@pytest.mark.parametrize(
    "sent",
    [
        frame(1, OPTIONS, masked=False),
        frame(1, b"", length=MESSAGE_MAX_BYTES + 1),
        frame(2, b"", length=2**62),
        frame(9, b"x" * 126),
        frame(9, b"x", last=False),
        frame(3, b"x"),
        frame(0, b"x"),
        frame(1, b"x", last=False) + frame(1, b"y"),
        b"\xf1\x80\x00\x00\x00\x00",
        frame(1, b"x", last=False) + frame(0, b"x", last=False) * 5000,
        frame(8, b"\x00"),
    ],
    ids=["unmasked", "too large", "huge", "long ping", "ping in parts", "unknown kind", "no begin", "two begins", "reserved bits",
         "endless", "short close"],
)  # fmt: skip
def test_frames_that_cannot_be_end_their_connection_and_no_other(sent: bytes) -> None:
    async def scenario(sockets: WebSockets, station: Station) -> None:
        good = await Browser.connect(sockets.address, ["sip"])
        await good.opened()
        bad = await Browser.connect(sockets.address, ["sip"])
        await bad.opened()
        bad.write(sent)
        while not bad.ended:
            await bad.events()
        bad.close()
        await until(lambda: sockets.counters.connections == 1)
        good.say(OPTIONS.decode())
        assert len(await good.answers(1)) == 1
        good.close()

    play(scenario)


def test_noise_breaks_nothing(seed: int = 11) -> None:
    import random

    chance = random.Random(seed)

    async def scenario(sockets: WebSockets, station: Station) -> None:
        for _ in range(100):
            browser = await Browser.connect(sockets.address, ["sip"])
            await browser.opened()
            data = bytearray(frame(1, OPTIONS) * 2)
            for _ in range(chance.randint(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            browser.write(bytes(data))
            browser.writer.write_eof()
            while not browser.ended:
                await browser.events()
            browser.close()
        await until(lambda: sockets.counters.connections == 0)

    play(scenario)


def test_silence_ends_a_handshake_and_a_connection_whose_pongs_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "HANDSHAKE_S", 0.1)
    monkeypatch.setattr(websocket, "PONG_S", 0.1)

    async def scenario(sockets: WebSockets, station: Station) -> None:
        reader, writer = await dial(*sockets.address)
        writer.write(b"GET / HTT")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        browser = await Browser.connect(sockets.address, ["sip"])
        await browser.opened()
        for _ in range(3):
            assert any(isinstance(event, Ping) for event in await browser.events())  # each is answered
        await until(lambda: sockets.counters.connections == 0)  # and now none is
        browser.close()

    play(scenario, ping_s=0.05)


def test_one_connection_too_many_is_closed_and_refusals_are_told() -> None:
    told: list[bool] = []
    allowed = iter([True, False, True])

    async def scenario(sockets: WebSockets, station: Station) -> None:
        browsers = []
        for wanted in (True, False, True, False):  # the second may not stay, the fourth is one too many
            browser = await Browser.connect(sockets.address, ["sip"])
            assert isinstance(await browser.opened(), AcceptConnection) is wanted
            browsers.append(browser)
        assert sockets.counters.refused == 2
        for browser in browsers:
            browser.close()
        await until(lambda: sockets.counters.connections == 0)
        assert sorted(told) == [False, False, True, True]

    play(scenario, connections_max=2, may_stay=lambda flow: next(allowed), on_closed=lambda flow, stayed: told.append(stayed))


def test_a_peer_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "UNSENT_MAX_BYTES", 1 << 16)

    async def scenario(sockets: WebSockets, station: Station) -> None:
        flows: list[Flow] = []
        sockets.on_message = lambda data, flow: flows.append(flow)
        browser = await Browser.connect(sockets.address, ["sip"])
        await browser.opened()
        browser.say(OPTIONS.decode())
        await until(lambda: bool(flows))
        with pytest.raises(OSError, match=r"does not read|closed"):
            for _ in range(10_000):
                flows[0].send(os.urandom(4096))
        assert not flows[0].alive
        browser.close()

    play(scenario)


def test_a_connection_opened_from_here_is_a_flow_too(certificate: tuple[Path, Path]) -> None:
    async def scenario(sockets: WebSockets, station: Station) -> None:
        heard: list[bytes] = []
        ours = WebSockets(lambda data, flow: heard.append(data))
        flow = await ours.connect(*sockets.address, tls=client_context(certificate), server_name="sip.example")
        assert flow.transport == "WSS" and flow.alive and flow.reliable and flow.peer == sockets.address
        flow.send(OPTIONS)
        flow.send(OPTIONS.replace(b"branch=", b"branch=z9hG4bK\xff"))  # is no text
        await until(lambda: len(heard) == 2)
        flow.close()
        await until(lambda: ours.counters.connections == 0)
        assert not flow.alive
        with pytest.raises(OSError, match="closed"):
            flow.send(OPTIONS)

    play(scenario, tls=server_context(certificate))


def test_who_refuses_a_websocket_is_an_error() -> None:
    async def run() -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        ours = WebSockets(lambda data, flow: None)
        with pytest.raises(OSError, match="404"):
            await ours.connect(*server.sockets[0].getsockname()[:2])
        await until(lambda: ours.counters.connections == 0)
        server.close()

    uvloop.run(run())


# ---- whole calls ----


def line(method: str, number: int, branch: str, to: str = "<sip:b@x>", more: tuple[tuple[str, str], ...] = ()) -> bytes:
    """A request as a browser writes it, which has no address to be reached at (RFC 7118 5)."""
    headers = [("Via", f"SIP/2.0/WS df7jal23ls0d.invalid;branch={branch}"), ("Max-Forwards", "70"), ("From", "<sip:a@x>;tag=a1"), ("To", to)]
    contact = ("Contact", "<sip:a@df7jal23ls0d.invalid;transport=ws>")
    return compose.request(method, "sip:b@x", [*headers, ("Call-ID", "call"), ("CSeq", f"{number} {method}"), contact, *more])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("secure", [False, True])
def test_a_browser_calls_and_hangs_up(certificate: tuple[Path, Path], host: str, secure: bool) -> None:
    async def scenario(sockets: WebSockets, station: Station) -> None:
        await station.tcp.listen(host, 0)
        browser = await Browser.connect(sockets.address, ["sip"], client_context(certificate) if secure else None)
        await browser.opened()
        browser.say(line("INVITE", 1, new_branch()).decode())
        ringing, answered = (parse(data) for data in await browser.answers(2))
        assert (ringing.status, answered.status) == (180, 200)
        assert ".invalid;" in answered.value("Via")
        browser.say(line("ACK", 1, new_branch(), answered.value("To")))
        browser.say(line("BYE", 2, new_branch(), answered.value("To")).decode())
        ended = parse((await browser.answers(3))[2])
        assert (ended.status, ended.cseq) == (200, (2, "BYE"))
        assert (station.acked, station.ended, station.unacked) == (1, 1, 0)
        browser.close()

    play(scenario, tls=server_context(certificate) if secure else None, host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("secure", [False, True])
def test_a_call_from_here_is_made_and_ended(certificate: tuple[Path, Path], host: str, secure: bool) -> None:
    async def scenario(sockets: WebSockets, station: Station) -> None:
        await station.tcp.listen(host, 0)
        layer = TransactionLayer(station, asyncio.get_running_loop())
        ours = WebSockets(layer.received)
        flow = await ours.connect(*sockets.address, tls=client_context(certificate) if secure else None, server_name="sip.example")
        seen: list[Message] = []

        def ask(data: bytes) -> None:
            layer.request(data, flow, on_response=seen.append, on_timeout=lambda: None, on_failure=lambda fault: None)

        ask(line("INVITE", 1, new_branch()))
        await until(lambda: bool(seen) and seen[-1].status == 200)
        flow.send(line("ACK", 1, new_branch(), seen[-1].value("To")))
        ask(line("BYE", 2, new_branch(), seen[-1].value("To")))
        await until(lambda: seen[-1].method == "BYE")
        assert seen[-1].status == 200
        assert (station.acked, station.ended, station.unacked) == (1, 1, 0)
        layer.close()
        ours.close()
        await until(lambda: ours.counters.connections == 0)
        assert (ours.counters.broken, ours.counters.refused) == (0, 0)

    play(scenario, tls=server_context(certificate) if secure else None, host=host)


# ---- handshakes, byte by byte ----

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
)


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """Everything until the end."""
    async with asyncio.timeout(WAIT_S):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


def test_who_is_refused_is_told_what_would_not_be() -> None:
    async def scenario(sockets: WebSockets, station: Station) -> None:
        for wrong, status, told in (
            (HANDSHAKE.replace(b"Version: 13", b"Version: 8"), b"426", b"\r\nSec-WebSocket-Version: 13\r\n"),
            (HANDSHAKE.replace(b"Protocol: sip", b"Protocol: xmpp"), b"400", b"\r\nSec-WebSocket-Protocol: sip\r\n"),
            (HANDSHAKE.replace(b"GET", b"POST"), b"405", b"\r\nAllow: GET\r\n"),
            (HANDSHAKE.replace(b"Host: x\r\n", b""), b"400", b"one Host"),
            (HANDSHAKE.replace(b"Host: x", b"Host: x\r\nCookie: " + b"c" * 9000), b"431", b""),
            (HANDSHAKE.replace(b"Host: x", b"Host: x" + b"\r\nA: " + b"\r\nA: ".join([b"b" * 1000] * 20)), b"431", b"no more than"),
        ):
            before = sockets.counters.refused + sockets.counters.broken
            reader, writer = await dial(*sockets.address)
            writer.write(wrong)
            answer = await all_of(reader)
            assert answer.count(b"HTTP/1.1 ") == 1, answer
            assert answer.split(b" ")[1] == status, answer
            assert told in answer
            writer.close()
            await until(lambda: sockets.counters.connections == 0)
            assert sockets.counters.refused + sockets.counters.broken == before + 1

    play(scenario)


def test_a_handshake_byte_by_byte_with_a_message_at_its_heels_is_answered_in_order() -> None:
    async def scenario(sockets: WebSockets, station: Station) -> None:
        reader, writer = await dial(*sockets.address)
        for at in range(len(HANDSHAKE) - 1):
            writer.write(HANDSHAKE[at : at + 1])
            await asyncio.sleep(0)
        writer.write(HANDSHAKE[-1:] + frame(9, b"early") + frame(1, OPTIONS))
        async with asyncio.timeout(WAIT_S):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            assert await reader.readexactly(7) == b"\x8a\x05early"
            assert b"SIP/2.0 200 " in await reader.readuntil(b"\r\n")
        writer.close()

    play(scenario)


@pytest.mark.parametrize("behind", [frame(8, b"\x03\xe8"), frame(3, b"x"), b"\0" * 4000], ids=["close", "unknown kind", "zeros"])
@pytest.mark.parametrize("protocol", [b"sip", b"xmpp"])
def test_what_follows_a_handshake_at_once_harms_nothing(behind: bytes, protocol: bytes) -> None:
    async def scenario(sockets: WebSockets, station: Station) -> None:
        reader, writer = await dial(*sockets.address)
        writer.write(HANDSHAKE.replace(b"Protocol: sip", b"Protocol: " + protocol) + behind)
        told = await all_of(reader)
        assert told == b"" or told.startswith(b"HTTP/1.1 101 " if protocol == b"sip" else b"HTTP/1.1 400 ")
        writer.close()

    play(scenario)


@pytest.mark.parametrize("cut", [0, 1, 50, len(HANDSHAKE) - 1, len(HANDSHAKE)])
def test_a_half_closed_stream_is_closed_and_is_no_fault(cut: int) -> None:
    async def scenario(sockets: WebSockets, station: Station) -> None:
        reader, writer = await dial(*sockets.address)
        writer.write(HANDSHAKE[:cut])
        writer.write_eof()
        await all_of(reader)
        await until(lambda: sockets.counters.connections == 0)
        assert (sockets.counters.broken, sockets.counters.refused, sockets.counters.messages) == (0, 0, 0)
        writer.close()

    play(scenario)


def test_a_handshake_that_takes_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "HANDSHAKE_S", 0.05)

    async def scenario(sockets: WebSockets, station: Station) -> None:
        reader, writer = await dial(*sockets.address)
        writer.write(HANDSHAKE[:-2])
        assert (await all_of(reader)).startswith(b"HTTP/1.1 408 ")
        writer.close()

    play(scenario)


def test_a_thousand_connections_too_many_are_closed_and_those_inside_go_on() -> None:
    async def scenario(sockets: WebSockets, station: Station) -> None:
        inside = [await Browser.connect(sockets.address, ["sip"]) for _ in range(3)]
        for browser in inside:
            await browser.opened()
        for _ in range(20):
            outside = await asyncio.gather(*(dial(*sockets.address) for _ in range(50)))
            for reader, writer in outside:
                assert await all_of(reader) == b""
                writer.close()
        assert sockets.counters.refused == 1000
        await until(lambda: sockets.counters.connections == 3 and len(list(sockets)) == 3)
        for at, browser in enumerate(inside):
            browser.say(OPTIONS.replace(b"z9hG4bK1", b"z9hG4bKin%d" % at).decode())
            assert len(await browser.answers(1)) == 1
            browser.close()

    play(scenario, connections_max=3)


# ---- what an open connection may do ----


def test_every_byte_a_fragment() -> None:
    async def scenario(sockets: WebSockets, station: Station) -> None:
        browser = await Browser.connect(sockets.address, ["sip"])
        await browser.opened()
        told = OPTIONS.replace(b"sip:a@x", "sip:ä@x".encode())  # a cut inside of a letter too
        for at in range(len(told)):
            browser.write(frame(0 if at else 1, told[at : at + 1], last=at == len(told) - 1))
        assert (await browser.answers(1))[0].startswith(b"SIP/2.0 200 ")
        browser.close()

    play(scenario)


def test_a_ping_of_line_ends_is_answered_and_a_single_one_is_not() -> None:
    """RFC 7118 6, RFC 5626 4.4.1"""

    async def scenario(sockets: WebSockets, station: Station) -> None:
        browser = await Browser.connect(sockets.address, ["sip"])
        await browser.opened()
        for blank in ("\r\n", "", "\r\n\r\n"):
            browser.say(blank)
        browser.say(OPTIONS.decode())
        answers = await browser.answers(2)
        assert answers[0] == b"\r\n"
        assert answers[1].startswith(b"SIP/2.0 200 ")
        assert sockets.counters.blanks == 3
        browser.close()

    play(scenario)


def test_a_text_that_is_no_utf_8_is_told_so_and_the_same_bytes_are_taken_as_binary() -> None:
    """RFC 6455 8.1"""

    async def scenario(sockets: WebSockets, station: Station) -> None:
        browser = await Browser.connect(sockets.address, ["sip"])
        await browser.opened()
        told = OPTIONS.replace(b"To: ", b'To: "\xe9" ')
        browser.say(told)
        assert (await browser.answers(1))[0].startswith(b"SIP/2.0 200 ")
        browser.write(frame(1, told[:60], last=False) + frame(0, told[60:]))
        while not browser.ended:
            for event in await browser.events():
                if isinstance(event, CloseConnection):
                    assert event.code == 1007
        assert (sockets.counters.broken, sockets.counters.messages) == (1, 1)
        browser.close()

    play(scenario)


def test_a_close_is_answered_and_the_stream_ended_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 6455 7.1.1: by the server; whoever waits for the other side would wait for long here."""
    monkeypatch.setattr(websocket, "CLOSE_S", 1000.0)

    async def scenario(sockets: WebSockets, station: Station) -> None:
        browser = await Browser.connect(sockets.address, ["sip"])
        await browser.opened()
        browser.write(frame(8, (1000).to_bytes(2, "big")))
        assert await all_of(browser.reader) == b"\x88\x02\x03\xe8"
        await until(lambda: sockets.counters.connections == 0)
        ours = WebSockets(lambda data, flow: None)
        flow = await ours.connect(*sockets.address)
        flow.close()
        await until(lambda: ours.counters.connections == sockets.counters.connections == 0)
        flow = await ours.connect(*sockets.address)
        sockets.close()
        await until(lambda: ours.counters.connections == sockets.counters.connections == 0)
        assert (sockets.counters.broken, ours.counters.broken) == (0, 0)
        browser.close()

    play(scenario)


def test_a_close_that_is_not_answered_ends_whatever_else_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSE_S", 0.1)

    async def scenario(sockets: WebSockets, station: Station) -> None:
        reader, writer = await dial(*sockets.address)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        next(iter(sockets)).close()
        while sockets.counters.connections and not writer.is_closing():
            writer.write(frame(10, b"") + frame(1, b"\r\n"))
            await asyncio.sleep(0.01)
        await until(lambda: sockets.counters.connections == 0)
        writer.close()

    play(scenario)


def test_half_a_message_ends_though_the_connection_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "HALF_MESSAGE_S", 0.1)

    async def scenario(sockets: WebSockets, station: Station) -> None:
        browser = await Browser.connect(sockets.address, ["sip"])
        await browser.opened()
        for _ in range(2):  # the first is whole in time
            browser.write(frame(1, OPTIONS[:9], last=False))
            if not browser.heard:
                browser.write(frame(0, OPTIONS[9:]))
                await browser.answers(1)
                await asyncio.sleep(0.2)  # its time is over, and no longer counts
                assert sockets.counters.broken == 0
        while sockets.counters.connections and not browser.writer.is_closing():
            browser.write(frame(0, b"", last=False) + frame(10, b""))
            await asyncio.sleep(0.01)
        await until(lambda: sockets.counters.connections == 0)
        assert (sockets.counters.broken, sockets.counters.messages) == (1, 1)
        browser.close()

    play(scenario)


def test_without_pings_silence_ends_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "IDLE_S", 0.1)

    async def scenario(sockets: WebSockets, station: Station) -> None:
        browser = await Browser.connect(sockets.address, ["sip"])
        await browser.opened()
        seen = []
        while not browser.ended:
            seen += await browser.events()
        assert [type(event) for event in seen] == [CloseConnection]
        browser.close()

    play(scenario, ping_s=0)


def test_whoever_asks_for_pongs_and_does_not_read_them_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "UNSENT_MAX_BYTES", 1 << 16)
    monkeypatch.setattr(websocket, "MESSAGE_MAX_BYTES", 1 << 16)

    async def scenario(sockets: WebSockets, station: Station) -> None:
        reader, writer = await dial(*sockets.address, limit=4096)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        pings = frame(9, b"x" * 125) * 500
        while sockets.counters.connections and not writer.is_closing():
            writer.write(pings)
            await asyncio.sleep(0.001)
        await until(lambda: sockets.counters.connections == 0)
        assert sockets.counters.broken == 1
        writer.transport.abort()

    play(scenario)


@pytest.mark.parametrize("frames", [b"", frame(8, b"\x03\xe8"), frame(3, b"x")], ids=["nothing", "close", "unknown kind"])
def test_what_nobody_reads_keeps_no_connection(monkeypatch: pytest.MonkeyPatch, frames: bytes) -> None:
    monkeypatch.setattr(websocket, "CLOSE_S", 0.1)

    async def scenario(sockets: WebSockets, station: Station) -> None:
        reader, writer = await dial(*sockets.address, limit=4096)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        flow = next(iter(sockets))
        try:
            for _ in range(10_000):
                flow.send(os.urandom(4096))
                if frames and flow.unsent_bytes > 1 << 16:
                    break
        except OSError:
            assert not frames
        writer.write(frames)
        await until(lambda: sockets.counters.connections == 0)
        writer.transport.abort()

    play(scenario)


# ---- the other side of a connection from here ----


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, subprotocol: str | None) -> None:
    """Another library's server: everything it is told, it tells again."""
    protocol = WSConnection(ConnectionType.SERVER)
    try:
        while data := await reader.read(65536):
            protocol.receive_data(data)
            for event in protocol.events():
                if isinstance(event, Request):
                    assert event.subprotocols == ["sip"] and not event.extensions
                    writer.write(protocol.send(AcceptConnection(subprotocol=subprotocol)))
                elif isinstance(event, CloseConnection | Ping):
                    writer.write(protocol.send(event.response()))
                    if isinstance(event, CloseConnection):
                        return
                elif isinstance(event, TextMessage):
                    writer.write(protocol.send(TextMessage(str(event.data), event.frame_finished, event.message_finished)))
                elif isinstance(event, BytesMessage):
                    writer.write(protocol.send(BytesMessage(bytes(event.data), event.frame_finished, event.message_finished)))
    finally:
        writer.close()


@pytest.mark.parametrize("subprotocol", ["sip", None])
def test_another_librarys_server_is_spoken_to(subprotocol: str | None) -> None:
    heard: list[bytes] = []

    async def run() -> None:
        server = await asyncio.start_server(lambda reader, writer: serve(reader, writer, subprotocol), "127.0.0.1", 0)
        ours = WebSockets(lambda data, flow: heard.append(data), ping_s=0.05)
        address = server.sockets[0].getsockname()[:2]
        if subprotocol is None:
            with pytest.raises(OSError, match="subprotocol"):
                await ours.connect(*address)
        else:
            flow = await ours.connect(*address, path="/sip?v=1")
            told = [OPTIONS, OPTIONS + b"\xff", OPTIONS + b"x" * 300_000]
            for data in told:
                flow.send(data)
            await until(lambda: sum(map(len, heard)) >= sum(map(len, told)))
            assert heard == told
            await asyncio.sleep(0.2)  # a few pings
            assert flow.alive
            flow.close()
        await until(lambda: ours.counters.connections == 0)
        assert ours.counters.broken == 0
        server.close()

    uvloop.run(run())


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "503"), (b"SIP/2.0 400 Bad Request\r\n\r\n", "no WebSocket"), (b"", "no WebSocket"),
        (b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: sip\r\n\r\n", "Accept"),
        (b"x" * 100_000, "no WebSocket"), (b"HTTP/1.1 101 X\r\n" + b"A: b\r\n" * 10_000, "no WebSocket"),
    ],
    ids=["503", "sip", "nothing", "wrong key", "long line", "many headers"],
)  # fmt: skip
def test_a_server_that_is_none_is_an_error(answer: bytes, match: str) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.write_eof()
        await reader.read()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(other, "127.0.0.1", 0)
        ours = WebSockets(lambda data, flow: None)
        with pytest.raises(OSError, match=match):
            await ours.connect(*server.sockets[0].getsockname()[:2])
        await until(lambda: ours.counters.connections == 0)
        server.close()

    uvloop.run(run())


def test_whoever_stops_waiting_for_a_handshake_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "HANDSHAKE_S", 1000.0)

    async def run() -> None:
        ended = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await all_of(reader)
            writer.close()
            ended.set()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        ours = WebSockets(lambda data, flow: None)
        waiting = asyncio.ensure_future(ours.connect(*server.sockets[0].getsockname()[:2]))
        await until(lambda: ours.counters.connections == 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(WAIT_S):
            await ended.wait()
        await until(lambda: ours.counters.connections == 0)
        for host in ("bad host]", "[::1"):
            with pytest.raises(OSError, match=r".*"):
                await ours.connect(host, 5060)
        server.close()

    uvloop.run(run())

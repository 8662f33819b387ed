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
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import RemoteProtocolError

from engine.sip import websocket
from engine.sip.flow import Flow
from engine.sip.websocket import MESSAGE_MAX_BYTES, WebSockets
from tests.engine.sip.station import Station
from tests.engine.sip.test_transaction_layer import text
from tests.engine.sip.test_transport import certificate, server_context, until

__all__ = ["certificate"]
WAIT_S = 20.0
OPTIONS = text("OPTIONS").replace(b"SIP/2.0/UDP 192.0.2.1:5060", b"SIP/2.0/WS df7jal23ls0d.invalid")


class Browser:
    """Another library's WebSocket, over a plain stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self.heard: list[bytes] = []
        self.ended = False

    @classmethod
    async def connect(cls, address: tuple[str, int], subprotocols: list[str], tls: ssl.SSLContext | None = None, origin: str = "") -> Browser:
        made = cls(*await asyncio.open_connection(*address, ssl=tls))
        headers = [(b"Origin", origin.encode())] if origin else []
        made.write(made.protocol.send(Request(host="sip.example", target="/", subprotocols=subprotocols, extra_headers=headers)))
        return made

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def say(self, data: bytes | str) -> None:
        self.write(self.protocol.send(TextMessage(data) if isinstance(data, str) else BytesMessage(data)))  # type: ignore[arg-type]

    async def events(self) -> list[object]:
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
    async def run() -> None:
        station = Station()
        sockets = WebSockets(station.layer.received, tls=tls, **more)  # type: ignore[arg-type]
        await sockets.listen(host, 0)
        async with asyncio.timeout(60):
            await scenario(sockets, station)
            sockets.close()
            await until(lambda: sockets.counters.connections == 0)
        station.close()

    uvloop.run(run())


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
        answers = await browser.answers(2)
        assert all(answer.startswith(b"SIP/2.0 200 ") for answer in answers)
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
         b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\r\n", b"400"),
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
def test_a_handshake_that_is_none_gets_an_answer_and_an_end(request_: bytes, status: bytes | None) -> None:
    async def scenario(sockets: WebSockets, station: Station) -> None:
        reader, writer = await asyncio.open_connection(*sockets.address)
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
        reader, writer = await asyncio.open_connection(*sockets.address)
        writer.write(b"GET / HTT")
        assert await reader.read() == b""
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

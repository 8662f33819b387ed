"""A session recording client in plain text: it says what a test gives it, over a real socket, and sends real RTP."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine._native import audio
from engine.config.document import Config, Network, Sip
from engine.sip_worker import SipWorker, folder_of, guard_settings
from engine.siprec.document import SessionDocument
from engine.siprec.events import SessionEvent

WAIT_S = 10.0
BOUNDARY = "unique-boundary-1"
METADATA = """<?xml version="1.0" encoding="UTF-8"?>
<recording xmlns="urn:ietf:params:xml:ns:recording:1">
  <datamode>{mode}</datamode>
  <group group_id="Z3JvdXAtMQ=="/>
  <session session_id="c2Vzc2lvbi0x"><sipSessionID>ab30317f1a784dc48ff824d0d3715d86;remote=47755a9de7794ba387653f2099600ef2</sipSessionID>
    <group-ref>Z3JvdXAtMQ==</group-ref></session>
  <participant participant_id="YWxpY2U="><nameID aor="sip:alice@example.com"><name xml:lang="en">Alice</name></nameID></participant>
  <participant participant_id="Ym9i"><nameID aor="sip:bob@example.com"><name xml:lang="en">Bob</name></nameID></participant>
  <stream stream_id="c3RyZWFtLTE=" session_id="c2Vzc2lvbi0x"><label>{labels[0]}</label></stream>
  <stream stream_id="c3RyZWFtLTI=" session_id="c2Vzc2lvbi0x"><label>{labels[1]}</label></stream>
  <sessionrecordingassoc session_id="c2Vzc2lvbi0x"><associate-time>2026-01-01T00:00:00Z</associate-time></sessionrecordingassoc>
  <participantsessionassoc participant_id="YWxpY2U=" session_id="c2Vzc2lvbi0x"><associate-time>2026-01-01T00:00:00Z</associate-time></participantsessionassoc>
  <participantsessionassoc participant_id="Ym9i" session_id="c2Vzc2lvbi0x"><associate-time>2026-01-01T00:00:01Z</associate-time></participantsessionassoc>
  <participantstreamassoc participant_id="YWxpY2U="><send>c3RyZWFtLTE=</send><recv>c3RyZWFtLTI=</recv></participantstreamassoc>
  <participantstreamassoc participant_id="Ym9i"><send>c3RyZWFtLTI=</send><recv>c3RyZWFtLTE=</recv></participantstreamassoc>
</recording>
"""


def metadata(mode: str = "complete", labels: tuple[str, str] = ("1", "2")) -> bytes:
    """Alice and Bob, each on a stream."""
    return METADATA.format(mode=mode, labels=labels).encode()


def multipart(description: bytes, document: bytes, kind: str = "application/rs-metadata+xml") -> tuple[str, bytes]:
    """The body of a recording session's INVITE, and its Content-Type."""
    parts = [("application/sdp", b"", description)] * bool(description) + [(kind, b"Content-Disposition: recording-session\r\n", document)] * bool(document)
    body = b"".join(b"--%s\r\nContent-Type: %s\r\n%s\r\n%s\r\n" % (BOUNDARY.encode(), name.encode(), more, content) for name, more, content in parts)
    return f"multipart/mixed;boundary={BOUNDARY}", body + b"--%s--\r\n" % BOUNDARY.encode()


class Leg:
    """A socket that RTP leaves from, and what is said on it."""

    def __init__(self, label: str, *, codec: str = "PCMU", direction: str = "sendonly") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.label, self.codec, self.direction = label, codec, direction
        self.port: int = self.socket.getsockname()[1]
        self.to: tuple[str, int] | None = None
        self.ssrc = secrets.randbits(32)
        self.sequence, self.timestamp = secrets.randbits(15), secrets.randbits(31)
        self.disabled = False

    def lines(self) -> str:
        """Its m= section."""
        number, word = {"PCMU": (0, "PCMU/8000"), "PCMA": (8, "PCMA/8000"), "G722": (9, "G722/8000")}[self.codec]
        label = f"a=label:{self.label}\r\n" if self.label else ""
        direction = f"a={self.direction}\r\n" if self.direction else ""
        return f"m=audio {0 if self.disabled else self.port} RTP/AVP {number} 101\r\na=rtpmap:{number} {word}\r\na=rtpmap:101 telephone-event/8000\r\n{direction}{label}"

    def send(self, pcm: np.ndarray) -> None:
        """One packet: 160 samples of mu-law."""
        assert self.to is not None
        head = struct.pack(">BBHII", 0x80, 0, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc)
        self.socket.sendto(head + audio.encode(audio.ULAW, pcm.astype(np.int16)), self.to)
        self.skip(len(pcm))

    def skip(self, samples: int) -> None:
        """A packet that is lost on its way."""
        self.sequence += 1
        self.timestamp += samples

    def close(self) -> None:
        self.socket.close()


def voice(seed: int, packets: int) -> np.ndarray:
    """What a leg says: noise of its own, as mu-law brings it over, so that it can be found again to the sample."""
    made = np.random.default_rng(seed).normal(0, 6000, packets * 160).clip(-32000, 32000).astype(np.int16)
    return np.asarray(audio.decode(audio.ULAW, audio.encode(audio.ULAW, made)))


class Message:
    """A message that came."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        self.start, *rest = head.decode("utf-8", "replace").split("\r\n")
        self.headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in rest)]
        self.status = int(self.start.split()[1]) if self.start.startswith("SIP/2.0") else 0
        self.method = "" if self.status else self.start.split()[0]

    def value(self, name: str) -> str:
        return next((value for each, value in self.headers if each == name.lower()), "")

    @property
    def ports(self) -> list[int]:
        return [int(line.split()[1]) for line in self.body.decode().split("\r\n") if line.startswith("m=")]

    def sections(self) -> list[list[str]]:
        found: list[list[str]] = [[]]
        for line in self.body.decode().split("\r\n"):
            if line.startswith("m="):
                found.append([])
            if line:
                found[-1].append(line)
        return found


class Source(asyncio.DatagramProtocol):
    """The client."""

    def __init__(self, port: int) -> None:
        self.to = ("127.0.0.1", port)
        self.came: asyncio.Queue[Message] = asyncio.Queue()
        self.requests: asyncio.Queue[Message] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport
        self.on_request: Callable[[Message], None] = self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        message = Message(data)
        if message.status:
            self.came.put_nowait(message)
        elif message.method != "ACK":
            self.on_request(message)
            self.requests.put_nowait(message)

    def _answer(self, request: Message) -> None:
        self.answer(request)

    def answer(self, request: Message, status: str = "200 OK", headers: str = "", body: bytes = b"") -> None:
        """Answers a request of theirs."""
        lines = [f"SIP/2.0 {status}", *(f"{name}: {value}" for name, value in request.headers if name in ("via", "from", "to", "call-id", "cseq"))]
        self.transport.sendto(("\r\n".join(lines) + f"\r\n{headers}Content-Length: {len(body)}\r\n\r\n").encode() + body, self.to)

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])


class Session:
    """A recording session from the client's side."""

    def __init__(self, source: Source, legs: list[Leg], *, call_id: str = "", source_tag: str = ";+sip.src", require: str = "siprec") -> None:
        self.source, self.legs = source, legs
        self.call_id = call_id or secrets.token_hex(8)
        self.tag = secrets.token_hex(4)
        self.to_tag = ""
        self.version = 1
        self._numbers = itertools.count(1)
        self._source_tag, self._require = source_tag, require
        self.answered: Message | None = None
        self.cancel = b""

    def offer(self) -> bytes:
        """The description of its legs."""
        head = f"v=0\r\no=src 1 {self.version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        return (head + "".join(leg.lines() for leg in self.legs)).encode()

    def request(self, method: str, kind: str = "", body: bytes = b"", *, number: int | None = None, headers: str = "") -> None:
        """Sends one."""
        number = next(self._numbers) if number is None else number
        self._number = number
        port = self.source.port
        branch = f"z9hG4bK{secrets.token_hex(8)}"
        to_tag = f";tag={self.to_tag}" if self.to_tag else ""
        require = f"Require: {self._require}\r\n" if self._require and method == "INVITE" and not self.to_tag else ""
        content = f"Content-Type: {kind}\r\n" if kind else ""
        text = (
            f"{method} sip:srs@127.0.0.1:{self.source.to[1]} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch={branch}\r\nMax-Forwards: 70\r\n"
            f"From: <sip:src@127.0.0.1>;tag={self.tag}\r\nTo: <sip:srs@127.0.0.1>{to_tag}\r\nCall-ID: {self.call_id}\r\nCSeq: {number} {method}\r\n"
            f"Contact: <sip:src@127.0.0.1:{port}>{self._source_tag}\r\n{require}Allow: INVITE, ACK, BYE, CANCEL, UPDATE, OPTIONS\r\n"
            f"Accept: application/sdp, application/rs-metadata-request\r\n{headers}{content}Content-Length: {len(body)}\r\n\r\n"
        )
        self.source.transport.sendto(text.encode() + body, self.source.to)
        head = [line for line in text.split("\r\n") if line.startswith(("Via", "From", "To", "Call-ID", "Max-Forwards"))]
        self.cancel = "\r\n".join(
            [f"CANCEL sip:srs@127.0.0.1:{self.source.to[1]} SIP/2.0", *head, f"CSeq: {number} CANCEL", "Content-Length: 0", "", ""]
        ).encode()  # of this request, as long as it is an INVITE

    async def final(self) -> Message:
        """The final answer."""
        async with asyncio.timeout(WAIT_S):
            while (message := await self.source.came.get()).status < 200:
                pass
        return message

    async def invite(self, document: bytes = b"", *, description: bytes | None = None, kind: str = "application/rs-metadata+xml", headers: str = "") -> Message:
        """Begins it, or changes it; the final answer, acknowledged."""
        offer = self.offer() if description is None else description
        content, body = multipart(offer, document, kind) if document else ("application/sdp" if offer else "", offer)
        self.request("INVITE", content, body, headers=headers)
        answer = await self.final()
        self.taken(answer)
        self.acknowledge()
        return answer

    def taken(self, answer: Message) -> None:
        """Notes what an answer says."""
        if answer.status < 300:
            self.answered = answer
            self.to_tag = answer.value("to").partition("tag=")[2]
            for leg, port in zip(self.legs, answer.ports, strict=False):
                leg.to = ("127.0.0.1", port)

    def acknowledge(self, body: bytes = b"") -> None:
        """The ACK."""
        self.request("ACK", "application/sdp" if body else "", body, number=self._number)

    async def update(self, kind: str, body: bytes) -> Message:
        self.request("UPDATE", kind, body)
        return await self.final()

    async def bye(self) -> Message:
        self.request("BYE")
        return await self.final()

    async def say(self, voices: dict[int, np.ndarray], *, real_time: bool = True) -> None:
        """Sends what each leg says, 20 ms a packet."""
        packets = max(len(one) for one in voices.values()) // 160
        began = time.monotonic()
        for number in range(packets):
            for index, pcm in voices.items():
                piece = pcm[number * 160 : number * 160 + 160]
                if len(piece):
                    self.legs[index].send(piece)
            if real_time:
                await asyncio.sleep(max(began + (number + 1) * 0.02 - time.monotonic(), 0))


class Server:
    """A worker that records, and what it told."""

    def __init__(self, worker: SipWorker, port: int, folder: Path) -> None:
        self.worker, self.port, self.folder = worker, port, folder
        self.events: list[tuple[str, Any]] = []

    @property
    def recordings(self) -> Any:
        assert self.worker.recordings is not None
        return self.worker.recordings

    async def publish(self, topic: str, payload: Any) -> None:
        self.events.append((topic, msgspec.msgpack.decode(msgspec.msgpack.encode(payload), type=type(payload))))

    def told(self, kind: str) -> list[SessionEvent]:
        return [payload for _, payload in self.events if isinstance(payload, SessionEvent) and payload.kind == kind]

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Waits for something to be so."""
        async with asyncio.timeout(WAIT_S):
            while not (found := condition()):
                await asyncio.sleep(0.01)
        return found

    async def recorded(self, count: int = 1) -> list[SessionEvent]:
        """Waits for so many sessions to be sealed."""
        await self.until(lambda: len(self.told("recorded")) >= count)
        return self.told("recorded")

    def document(self, recording_id: str) -> SessionDocument:
        return msgspec.json.decode((self.folder / f"{recording_id}.siprec.json").read_bytes(), type=SessionDocument)


@asynccontextmanager
async def recording_server(tmp_path: Path, config: Config | None = None, **sections: Any) -> AsyncIterator[Server]:
    """A worker that takes recording sessions; `sections` are of its configuration."""
    folder = folder_of(tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sip = Sip(host="127.0.0.1", listen=[f"udp://127.0.0.1:{port}"])
    made = config or Config(sip=sip, network=Network(rtp_port_min=22_000, rtp_port_max=26_000), **sections)
    worker = SipWorker(made, 0, 1, folder, tmp_path / "recordings")
    await worker.open()
    # one source has all calls of a test, and the test runs in the same loop: neither is a reason to refuse one
    patient = {"invites_per_s": 1e5, "invites_burst": 100_000, "proven_per_s": 1e5, "proven_burst": 100_000, "lag_low_s": 60.0, "lag_high_s": 60.0}
    worker.guard.configure(msgspec.structs.replace(guard_settings(made.sip), **patient))
    server = Server(worker, port, tmp_path / "recordings")
    server.recordings.publish = server.publish
    try:
        yield server
    finally:
        await worker.close(2.0)


@asynccontextmanager
async def source(server: Server) -> AsyncIterator[Source]:
    """A client of a server."""
    _, made = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Source(server.port), local_addr=("127.0.0.1", 0))
    try:
        yield made
    finally:
        made.transport.close()


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Runs a test's coroutine."""
    import uvloop

    uvloop.run(work())  # type: ignore[arg-type]

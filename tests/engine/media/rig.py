"""A media plane without a thread and with a clock that tests move, or that of the machine: real sockets on loopback, no waiting."""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path
from types import TracebackType

import numpy as np

from engine._native import audio
from engine._native import writer as files
from engine._native.plane import Plane
from engine.media.settings import Format, StreamSettings

SO_TIMESTAMPNS = 35  # asm-generic/socket.h
START_NS = 5_000_000_000_000
PCMU = Format(payload_type=0, codec="PCMU")
PCMA = Format(payload_type=8, codec="PCMA")
EVENT = Format(payload_type=101, kind="event")
NOISE = Format(payload_type=13, kind="noise")


def speech(samples: int, seed: int = 1, rate_hz: int = 8000) -> np.ndarray:
    """A signal that no two places of are alike, loud enough to be heard in G.711."""
    random = np.random.default_rng(seed)
    time_s = np.arange(samples) / rate_hz
    tone = np.sin(2 * np.pi * (200 + 60 * np.sin(2 * np.pi * 1.3 * time_s)) * time_s) * 6000
    return (tone + random.normal(0, 900, samples)).astype(np.int16)


def ulaw(pcm: np.ndarray) -> bytes:
    return bytes(audio.encode(audio.ULAW, np.ascontiguousarray(pcm, np.int16)))


def of_ulaw(payload: bytes) -> np.ndarray:
    return np.asarray(audio.decode(audio.ULAW, payload))


def heard(pcm: np.ndarray) -> np.ndarray:
    """What is left of samples behind PCMU."""
    return of_ulaw(ulaw(pcm))


def packet(sequence: int, timestamp: int, payload: bytes, *, payload_type: int = 0, ssrc: int = 0x1234, marker: bool = False) -> bytes:
    return struct.pack("!BBHII", 0x80, payload_type | marker << 7, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


def fields(data: bytes) -> tuple[int, int, int, int, int, bytes]:
    """Payload type, marker, sequence number, timestamp, SSRC and payload of a packet."""
    _, second, sequence, timestamp, ssrc = struct.unpack("!BBHII", data[:12])
    return second & 127, second >> 7, sequence, timestamp, ssrc, data[12:]


def udp(host: str = "127.0.0.1") -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, 0))
    made.setblocking(False)
    return made


def wait_for_stamps() -> None:
    """Until the kernel stamps datagrams when they come, which begins a moment after a socket asked for it: before, those that waited have the moment at which they are read."""
    with udp() as there, udp() as here:
        here.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        waited_ns = 0
        while waited_ns < 4_000_000:
            there.sendto(b"", here.getsockname())
            time.sleep(0.005)
            _, told, _, _ = here.recvmsg(1, socket.CMSG_SPACE(16))
            seconds, nanoseconds = struct.unpack("@ll", told[0][2])
            waited_ns = time.time_ns() - seconds * 1_000_000_000 - nanoseconds


class Rig:
    """`ports` pairs of sockets at the plane's side; streams are opened by `open`. With `real_time` the plane looks at the clock of the machine."""

    def __init__(
        self, ports: int = 2, *, host: str = "127.0.0.1", shared: bool = False, streams: int = 8, packets: int = 512, real_time: bool = False, **sizes: int
    ) -> None:
        self.now_ns = time.monotonic_ns() if real_time else START_NS
        self.plane = Plane(ports=8, streams=streams, mixes=2, packets=packets, pcm_blocks=64, clock_ns=None if real_time else self.now_ns, **sizes)
        if real_time:
            wait_for_stamps()
        self.sockets = [(udp(host), udp(host)) for _ in range(ports)]
        self.peers: list[socket.socket] = []
        self.events: list[tuple] = []
        self.host = host
        for index, (rtp, control) in enumerate(self.sockets):
            self.plane.open_port(index, rtp.fileno(), control.fileno(), *rtp.getsockname()[:2], shared=shared)
        self.round()

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for one in [*self.peers, *(each for pair in self.sockets for each in pair)]:
            one.close()

    def peer(self, host: str = "") -> socket.socket:
        made = udp(host or self.host)
        self.peers.append(made)
        return made

    def open(self, index: int = 0, *, port: int | None = None, peer: socket.socket | None = None, sends: bool = False, formats: tuple[Format, ...] = (PCMU,), **more: object) -> socket.socket:
        """A stream at a port, whose other end is `peer`, a new one where none is given."""
        peer = peer or self.peer()
        there = peer.getsockname()[:2]
        more.setdefault("send", formats[0] if sends else None)
        more.setdefault("remote_host", there[0])
        more.setdefault("remote_port", there[1])
        more.setdefault("ssrc", 0x77 + index)
        more.setdefault("rtcp", False)
        self.plane.set_up(index, index if port is None else port, StreamSettings(formats=formats, sends=sends, **more))  # type: ignore[arg-type]
        self.round()
        return peer

    def round(self) -> None:
        """As many rounds as there are datagrams for."""
        before = -1
        while before != self.plane.numbers()["datagrams"]:
            before = self.plane.numbers()["datagrams"]
            self.plane.round()
            self.events += self.plane.drain()

    def pass_ms(self, ms: float) -> None:
        """Time passes; the plane has as many rounds as it needs."""
        self.now_ns += int(ms * 1_000_000)
        self.plane.set_clock(self.now_ns)
        self.round()
        self.round()

    def send(self, peer: socket.socket, data: bytes, port: int = 0, *, control: bool = False) -> None:
        peer.sendto(data, self.sockets[port][1 if control else 0].getsockname())

    def speak(self, peer: socket.socket, pcm: np.ndarray, *, sequence: int = 0, timestamp: int = 0, lost: frozenset[int] = frozenset(), port: int = 0, ssrc: int = 0x1234) -> None:
        """Sends samples as PCMU packets of 20 ms, in real order and at their times; `lost` are left out."""
        for number in range(len(pcm) // 160):
            if number not in lost:
                self.send(peer, packet(sequence + number, timestamp + number * 160, ulaw(pcm[number * 160 :][:160]), ssrc=ssrc), port)
                self.round()
            self.pass_ms(20)

    def received(self, peer: socket.socket) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(peer.recv(4096))
            except BlockingIOError:
                return found

    def told(self, kind: str) -> list[tuple]:
        return [event for event in self.events if event[0] == kind]

    def pcm(self, index: int = 0) -> np.ndarray:
        """All that was handed over of a stream, joined; its blocks must lie one behind the other."""
        blocks = [event for event in self.told("pcm") if event[1] == index]
        at = blocks[0][6] if blocks else 0
        for event in blocks:
            assert event[6] == at
            at += len(event[7])
        return np.concatenate([event[7] for event in blocks]) if blocks else np.empty(0, np.int16)

    def counts(self, index: int = 0) -> dict:
        return self.plane.counts(index)


class Files:
    """A writer without a thread, for recordings of a rig."""

    def __init__(self, rig: Rig, blocks: int = 256) -> None:
        self.writer = files.Writer(blocks, 8)
        self.rig = rig
        rig.plane.use_writer(self.writer)

    def open(self, path: Path, form: int, tracks: tuple[int, ...] = (0,), rate_hz: int = 8000) -> int:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        return int(self.writer.open(rate_hz, [files.Output(self.descriptor, form, tracks)]))

    def finish(self, recording: int) -> list:
        """Ends a recording; how its files ended."""
        self.rig.plane.end_recording(recording)
        self.rig.round()
        for step in range(50):
            self.writer.round(self.rig.now_ns + step * 1_000_000_000)
            if any(event.kind == files.FINISHED for event in self.writer.events()):
                found = list(self.writer.results(recording))
                self.writer.release(recording)
                os.close(self.descriptor)
                return found
        raise AssertionError("the recording was not finished")

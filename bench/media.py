"""The media plane as a row of the benchmarks needs it: a process of its own, `python -m bench.media`, which is told on its standard input what to be.

It prints its ports, a line of JSON (`Told`) on SIGUSR1, another on SIGTERM when its files are written, and ends.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import uvloop

from bench.rtp_load import SIGNAL, Subject, expected_payload, ssrc_of
from engine._native import writer
from engine._native.writer import Output, Writer
from engine.media.plane import MediaPlane, MediaPort, MediaStream
from engine.media.settings import Format, PlaneSettings, StreamSettings
from engine.media.wav import ULAW

HOST = "127.0.0.1"
PCMU = Format(payload_type=0, codec="PCMU")
RATE_HZ = 8_000
COLLECT_AT = (2_000, 20_000, 100)  # as engine workers do
FINISH_S = 60.0


class Wanted(msgspec.Struct, frozen=True):
    """What a row wants: the name of a function of `ROWS`, so many streams, the ports of the other side, a place for files, and for how long the event loop is
    stalled again and again."""

    row: str
    streams: int
    peers: tuple[int, ...] = ()
    folder: str = ""
    stall_ms: int = 0


class Told(msgspec.Struct, frozen=True):
    """What the plane says: packets that were decoded and delivered, or relayed; that it sent; that the sequence numbers miss, that came too late, and twice; samples
    that could not be recorded; and the blocks that Python has allocated."""

    packets: int
    sent: int
    lost: int
    late: int
    duplicate: int
    missed_samples: int
    allocated_blocks: int


def start(wanted: Wanted) -> tuple[Subject, list[int]]:
    """The process, and the ports that each stream is to be sent to."""
    subject = Subject([sys.executable, "-m", "bench.media"], msgspec.json.encode(wanted))
    subject.wait_ready()
    return subject, [int(port) for port in subject.ready.split()]


def recorded(folder: Path, streams: int, packets: int) -> int:
    """How many of the streams have a file that holds each of their packets, byte for byte."""
    good = 0
    for call in range(streams // 2):
        path = folder / f"{call}.wav"
        data = path.read_bytes()
        head = data.index(b"data") + 8
        at = data.index(b"fmt ") + 8
        wide = data[at : at + 2] == b"\x01\x00"  # PCM of 16 bits, and not mu-law
        both = np.frombuffer(data[head:], np.int16 if wide else np.uint8)
        for leg in range(2):
            octets = np.frombuffer(expected_payload(2 * call + leg, 0, packets), np.uint8)
            wanted = ULAW[octets].tobytes() if wide else octets.tobytes()
            good += wanted in both[leg::2].tobytes()
    return good


class Row:
    """A plane with what a row needs on it."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.writer = Writer(max(16_384, wanted.streams * 4), max(1, wanted.streams // 2)) if wanted.folder else None
        self.plane = MediaPlane(PlaneSettings(host=HOST, streams=wanted.streams, packets=32_768), writer=self.writer)
        self.streams: list[MediaStream] = []
        self.recordings: list[int] = []
        self.files: list[int] = []

    def open(self) -> list[int]:
        """Starts; where each stream is to be sent to."""
        if self.writer is not None:
            self.writer.start()
        self.plane.open()
        ROWS[self.wanted.row](self)
        return [stream.port.port for stream in self.streams]

    def stream(self, port: MediaPort, *, sends: bool = False) -> MediaStream:
        """The next stream, whose other end is the next of the peers."""
        number = len(self.streams)
        settings = StreamSettings(
            formats=(PCMU,), remote_host=HOST, remote_port=self.wanted.peers[number], remote_ssrc=ssrc_of(number) if port.shared else 0,
            sends=sends, send=PCMU if sends else None, idle_sends=False, rtcp=False, ssrc=ssrc_of(number), first_sequence=number,
        )  # fmt: skip
        made = self.plane.open_stream(port, settings)
        self.streams.append(made)
        return made

    def record(self, kind: str) -> None:
        """Every two streams are a recording: one file of two channels."""
        assert self.writer is not None
        origin_ns = time.monotonic_ns()
        for at in range(0, len(self.streams), 2):
            fd = os.open(Path(self.wanted.folder) / f"{at // 2}.wav", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            self.files.append(fd)
            recording = self.writer.open(RATE_HZ, [Output(fd, writer.WAV_PCM16 if kind == "pcm" else writer.WAV_ULAW, (0, 1))])
            self.recordings.append(recording)
            for track in range(2):
                self.streams[at + track].record(recording, track, kind=kind, origin_ns=origin_ns)

    def told(self) -> Told:
        """As it is now."""
        blocks = sys.getallocatedblocks()
        every = [stream.counts() for stream in self.streams]
        of = {name: sum(one[name] for one in every) for name in ("delivered", "relayed", "sent", "lost", "late", "duplicate", "missed_samples")}
        return Told(of.pop("delivered") + of.pop("relayed"), **of, allocated_blocks=blocks)

    async def close(self) -> Told:
        """Ends the streams, and waits for the files."""
        for stream in self.streams:
            stream.close()
        await asyncio.gather(*(stream.closed for stream in self.streams))
        told = self.told()
        for recording in self.recordings:
            self.plane.end_recording(recording)
        await self._finished()
        await self.plane.close()
        if self.writer is not None:
            self.writer.stop()
        for fd in self.files:
            os.close(fd)
        return told

    async def _finished(self) -> None:
        missing, until = set(self.recordings), time.monotonic() + FINISH_S
        while missing and time.monotonic() < until:
            assert self.writer is not None
            missing -= {event.recording for event in self.writer.events() if event.kind in (writer.FINISHED, writer.FAILED)}
            await asyncio.sleep(0.02)
        if missing:
            raise TimeoutError(f"{len(missing)} recordings were not finished")


def receive_shared(row: Row) -> None:
    """All streams on one port: taken in, ordered, decoded, written down."""
    port = row.plane.open_port(shared=True)
    for _ in range(row.wanted.streams):
        row.stream(port)
    row.record("pcm")


def receive(row: Row) -> None:
    """The same with a port of its own for each stream."""
    for _ in range(row.wanted.streams):
        row.stream(row.plane.open_port())
    row.record("pcm")


def record(row: Row) -> None:
    """SIPREC: every two streams one recording of what came, untouched."""
    for _ in range(row.wanted.streams):
        row.stream(row.plane.open_port())
    row.record("payload")


def relay(row: Row) -> None:
    """Streams 2n and 2n + 1 are a call."""
    for _ in range(row.wanted.streams):
        row.stream(row.plane.open_port(), sends=True)
    for at, stream in enumerate(row.streams):
        stream.relay_to(row.streams[at ^ 1])


def play(row: Row) -> None:
    """Every stream plays two seconds of audio again and again."""
    samples = ULAW[SIGNAL]
    for _ in range(row.wanted.streams):
        row.stream(row.plane.open_port(), sends=True).play(samples, loops=True)


ROWS = {"receive-shared": receive_shared, "receive": receive, "record": record, "relay": relay, "play": play}


def _stall(loop: asyncio.AbstractEventLoop, stall_ms: int) -> None:
    """Computes in the event loop's own thread, with the interpreter's lock, for so long out of one and a half times that."""
    until = time.perf_counter() + stall_ms / 1e3
    while time.perf_counter() < until:
        pass
    loop.call_later(stall_ms / 2e3, _stall, loop, stall_ms)


async def main(wanted: Wanted) -> None:
    """Serves until SIGTERM."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    row = Row(wanted)
    ports = row.open()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AT)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: print(msgspec.json.encode(row.told()).decode(), flush=True))
    print(*ports, flush=True)
    if wanted.stall_ms:
        loop.call_later(wanted.stall_ms / 1e3, _stall, loop, wanted.stall_ms)
    await stop.wait()
    print(msgspec.json.encode(await row.close()).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.stdin.buffer.read(), type=Wanted)))

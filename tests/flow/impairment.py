"""A network between two ends that loses, repeats, reorders and delays packets as it is told: what becomes of each packet is data, and the same in every run."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from random import Random
from typing import Final, cast

import msgspec

REORDER_MAX: Final = 3


class Fate(msgspec.Struct, frozen=True):
    """Of one packet: it is passed on `copies` times (0: lost), behind so many later packets, and so much later."""

    copies: int = 1
    behind: int = 0
    delay_ms: float = 0.0


PASS: Final = Fate()
LOSE: Final = Fate(copies=0)
TWICE: Final = Fate(copies=2)


def fates(count: int, seed: int, *, loss: float = 0.0, repeat: float = 0.0, reorder: float = 0.0, jitter_ms: float = 0.0, whole: int = 5) -> list[Fate]:
    """Fates of a stream of `count` packets by shares of it. Exactly `loss * count` are lost; the first and last `whole` packets are passed on as they are, so that
    begin and end of the stream are known."""
    random = Random(seed)
    inner = range(whole, count - whole)
    lost = set(random.sample(inner, round(loss * count)))
    made = [PASS] * count
    for at in inner:
        delay_ms = random.uniform(0, jitter_ms)
        behind = random.randint(1, REORDER_MAX) if random.random() < reorder else 0
        copies = 2 if random.random() < repeat else 1
        made[at] = LOSE if at in lost else Fate(copies, behind, delay_ms)
    return made


class Planted(msgspec.Struct, frozen=True):
    """What becomes of a stream with such fates: places of the packets that are lost, and how many come twice."""

    lost: tuple[int, ...]
    repeated: int


def planted(made: Sequence[Fate]) -> Planted:
    return Planted(tuple(at for at, fate in enumerate(made) if fate.copies == 0), sum(max(fate.copies - 1, 0) for fate in made))


def runs_of(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Numbers in a row, as first and count of each run."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and sum(found[-1]) == number:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((number, 1))
    return found


def scheduled(timed: Sequence[tuple[float, bytes]], made: Sequence[Fate]) -> list[tuple[float, bytes]]:
    """Packets with their milliseconds as they leave the network. One that is to be behind others leaves a little later than the last of them."""
    at_ms = [due + fate.delay_ms for (due, _), fate in zip(timed, made, strict=True)]
    left = []
    for number, ((_, data), fate) in enumerate(zip(timed, made, strict=True)):
        before = at_ms[number : number + fate.behind + 1]
        left += [(max(before) + 0.1 * fate.behind, data)] * fate.copies
    return sorted(left, key=lambda one: one[0])


class Sender:
    """Packets of ours from an address of its own, each at its time."""

    def __init__(self, host: str, port: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self.socket.bind((host, port))
        except OSError:
            self.socket.close()
            raise
        self.address: tuple[str, int] = self.socket.getsockname()[:2]

    def send(self, timed: Iterable[tuple[float, bytes]], to: tuple[str, int]) -> None:
        """Sends packets at their milliseconds from now. Blocks until the last has left."""
        begin = time.monotonic()
        for at_ms, data in timed:
            wait_s = begin + at_ms / 1000 - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            self.socket.sendto(data, to)

    def received(self) -> list[bytes]:
        """What came here so far."""
        found: list[bytes] = []
        self.socket.setblocking(False)
        while True:
            try:
                found.append(self.socket.recv(4096))
            except BlockingIOError:
                self.socket.setblocking(True)
                return found


@contextmanager
def senders(host: str = "127.0.0.1") -> Iterator[tuple[Sender, Sender]]:
    """One for RTP, and one for RTCP on the port behind it."""
    with ExitStack() as stack:
        while True:
            rtp = Sender(host)
            stack.callback(rtp.socket.close)
            try:
                control = Sender(host, rtp.address[1] + 1)
            except (OSError, OverflowError):
                continue
            stack.callback(control.socket.close)
            yield rtp, control
            return


@contextmanager
def sender(host: str = "127.0.0.1") -> Iterator[Sender]:
    """One for RTP. The port behind it is taken, so that reports to there come to no other stream."""
    with senders(host) as (rtp, _):
        yield rtp


class Forwarder(asyncio.DatagramProtocol):
    """Stands in front of a port: what comes to `address` goes on `to` it by fate, in the order of arrival; packets behind the last fate pass."""

    def __init__(self, made: Sequence[Fate]) -> None:
        self.to = ("", 0)
        self._fates = made
        self._number = 0
        self._held: dict[int, list[tuple[bytes, Fate]]] = {}
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.DatagramTransport
        self.address = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is no subclass
        self.address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, address: tuple[str | object, int]) -> None:
        fate = self._fates[self._number] if self._number < len(self._fates) else PASS
        if fate.behind:
            self._held.setdefault(self._number + fate.behind, []).append((data, fate))
        else:
            self._leave(data, fate)
        for held in self._held.pop(self._number, ()):
            self._leave(*held)
        self._number += 1

    @property
    def taken(self) -> int:
        """Packets that came."""
        return self._number

    def _leave(self, data: bytes, fate: Fate) -> None:
        for _ in range(fate.copies):
            if fate.delay_ms:
                self._loop.call_later(fate.delay_ms / 1000, self._send, data)
            else:
                self._send(data)

    def _send(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.sendto(data, self.to)


@asynccontextmanager
async def forwarder(host: str, made: Sequence[Fate]) -> AsyncIterator[Forwarder]:
    """One on a free port; where `to` is told to it later."""
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Forwarder(made), local_addr=(host, 0))
    try:
        yield protocol
    finally:
        transport.close()


__all__ = ["LOSE", "PASS", "TWICE", "Fate", "Forwarder", "Planted", "Sender", "fates", "forwarder", "planted", "runs_of", "scheduled", "sender", "senders"]

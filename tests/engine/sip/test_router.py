"""Messages find the worker that owns their call: links between workers in one loop, and real workers that share their ports and are killed.

Run as a program this is one such worker: it answers INVITE, BYE and OPTIONS, and says in each answer which one it is.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from random import Random

import pytest
import uvloop

from engine._native.sip_route import call_id_owner, hash_of
from engine.sip import compose, router
from engine.sip.flow import Flow
from engine.sip.message import Message, parse
from engine.sip.router import RemoteFlow, Router, own_call_id
from engine.sip.transaction import InviteServer, NonInviteServer
from engine.sip.transaction_layer import TransactionLayer, new_branch, via_of_request
from engine.sip.transport import Connection, Streams, Udp
from tests.engine.sip.test_transaction_layer import FakeFlow, text
from tests.running import ROOT

KEY = b"sixteen bytes of"
HOST = "127.0.0.1"
WAIT_S = 30.0
Scenario = Callable[["Workers"], Awaitable[None]]


def call_id(owner: int, count: int) -> str:
    return own_call_id(KEY, owner, count)


def message(owner: int, count: int = 2, method: str = "OPTIONS", body: bytes = b"") -> bytes:
    return text(method, branch=new_branch(), call=call_id(owner, count)) + body


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.002)


class Peer(FakeFlow):
    """A connection's or a datagram socket's flow whose other side is this test."""

    local = ("198.51.100.7", 5060)
    alive = True

    def close(self) -> None:
        self.alive = False


# ---- which worker ----


def test_a_call_id_of_our_own_belongs_to_us() -> None:
    for count in (1, 2, 3, 7, 64):
        for index in range(count):
            made = [own_call_id(KEY, index, count) for _ in range(20)]
            assert len(set(made)) == 20
            assert {hash_of(one.encode(), KEY) % count for one in made} == {index}
            assert call_id_owner(text(call=made[0]), KEY, count) == index
    assert own_call_id(KEY, 0, 1, lambda: "as it is") == "as it is"
    assert own_call_id(KEY, 3, 5, lambda: "stem").startswith("stem")


@pytest.mark.parametrize(("index", "count"), [(-1, 2), (2, 2), (0, 0)])
def test_there_is_no_such_worker(index: int, count: int) -> None:
    with pytest.raises(ValueError, match="no worker"):
        Router(index, count, KEY, Path(), print, udp_flow=lambda listener, peer: Peer(peer), on_orphan=print)


def test_a_key_has_its_length() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Router(0, 1, b"short", Path(), print, udp_flow=lambda listener, peer: Peer(peer), on_orphan=print)


# ---- several workers in one loop ----


class Worker:
    """One router and what it told."""

    def __init__(self, index: int, count: int, folder: Path, queue_bytes: int) -> None:
        self.heard: list[tuple[bytes, Flow]] = []
        self.orphans: list[tuple[bytes, Flow]] = []
        self.refused: list[tuple[bytes, Flow]] = []
        self.asked: list[tuple[int, tuple[str, int]]] = []
        self.raises: Exception | None = None
        self.router = Router(
            index, count, KEY, folder, self._deliver, udp_flow=self._udp_flow, queue_bytes=queue_bytes,
            on_orphan=lambda data, flow: self.orphans.append((data, flow)), on_overload=lambda data, flow: self.refused.append((data, flow)),
        )  # fmt: skip

    def _deliver(self, data: bytes, flow: Flow) -> None:
        self.heard.append((data, flow))
        if self.raises is not None:
            raise self.raises

    def _udp_flow(self, listener: int, peer: tuple[str, int]) -> Flow:
        self.asked.append((listener, peer))
        return Peer(peer)

    @property
    def messages(self) -> list[bytes]:
        return [data for data, _ in self.heard]


class Workers:
    """Some of them, of which each is there from the start."""

    def __init__(self, folder: Path, count: int, queue_bytes: int) -> None:
        self.folder, self._queue_bytes = folder, queue_bytes
        self.all = [self.make(index, count) for index in range(count)]

    def make(self, index: int, count: int) -> Worker:
        made = Worker(index, count, self.folder, self._queue_bytes)
        made.router.open()
        return made


def play(scenario: Scenario, count: int = 2, queue_bytes: int = router.QUEUE_BYTES) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            workers = Workers(Path(folder) / "sip", count, queue_bytes)
            try:
                async with asyncio.timeout(60):
                    await scenario(workers)
            finally:
                for worker in workers.all:
                    worker.router.close()
            assert list((Path(folder) / "sip").iterdir()) == []

    uvloop.run(run())


def test_what_is_ours_is_delivered_at_once_and_the_rest_handed_over() -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        flow = Peer(("192.0.2.9", 5071))
        ours, theirs, nobodys = message(0), message(1), text().replace(b"Call-ID: c1\r\n", b"")
        for data in (ours, theirs, nobodys):
            first.router.receiver(3)(data, flow)
        assert first.heard == [(ours, flow), (nobodys, flow)]
        await until(lambda: bool(second.heard))
        assert second.messages == [theirs]
        assert second.asked == [(3, ("192.0.2.9", 5071))]
        assert second.heard[0][1].peer == flow.peer
        assert (first.router.counters.kept, first.router.counters.handed, second.router.counters.taken) == (2, 1, 1)
        answer = theirs.replace(b"OPTIONS sip:b@example.com SIP/2.0", b"SIP/2.0 200 OK")
        first.router.received(answer, flow)  # of a request that the other one sent
        await until(lambda: len(second.heard) == 2)
        assert second.messages[1] == answer

    play(scenario)


def test_one_worker_alone_does_nothing(tmp_path: Path) -> None:
    def deliver(data: bytes, flow: Flow) -> None: ...

    alone = Router(0, 1, KEY, tmp_path / "none", deliver, udp_flow=lambda listener, peer: Peer(peer), on_orphan=deliver)
    assert alone.received is alone.receiver(4) is deliver
    alone.open()
    assert alone.new_call_id() != alone.new_call_id()
    alone.closed(Peer())
    alone.close()
    assert not (tmp_path / "none").exists()


def test_many_messages_stay_in_order() -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        flow, random = Peer(transport="TCP"), Random(2)
        sent = [message(1, body=random.randbytes(random.choice((0, 1, 900, 30_000)))) for _ in range(1500)]
        for at, data in enumerate(sent):
            first.router.received(data, flow)
            if at % 40 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(second.heard) + first.router.counters.dropped == len(sent))
        assert second.messages == sent

    play(scenario, queue_bytes=1 << 30)


@pytest.mark.parametrize("size", [0, 65_000, router.READ_BYTES, 65_536 + (1 << 20)])
def test_a_message_of_any_size_is_handed_over(size: int) -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        sent, flow = [message(1, body=Random(size).randbytes(size)), message(1)], Peer(transport="TCP")
        for data in sent:
            first.router.received(data, flow)
        await until(lambda: len(second.heard) == 2)
        assert second.messages == sent
        assert isinstance(second.heard[0][1], RemoteFlow)
        answers = [Random(1).randbytes(size), b"short"]
        for answer in answers:
            second.heard[0][1].send(answer)
        await until(lambda: len(flow.sent) == 2)
        assert flow.sent == answers

    play(scenario)


def test_a_message_larger_than_any_transport_takes_is_not_handed_over() -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        flow = Peer(transport="TCP")
        first.router.received(message(1, body=bytes(router.FRAME_MAX_BYTES)), flow)
        first.router.received(message(1), flow)
        await until(lambda: bool(second.heard))
        assert (len(first.refused), first.router.counters.dropped) == (1, 1)
        with pytest.raises(OSError, match="does not read"):
            second.heard[0][1].send(bytes(router.FRAME_MAX_BYTES))

    play(scenario)


def test_what_waits_is_handed_over_before_the_end() -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        first.router.received(message(1), Peer())
        first.router.close()
        await until(lambda: bool(second.heard))
        assert first.orphans == []

    play(scenario)


# ---- connections ----


@pytest.mark.parametrize(("transport", "peer"), [
    ("TCP", ("192.0.2.9", 40_000)), ("WSS", ("2001:db8::7", 65_535)), ("TLS", ("fe80::1%eth0", 1)),
])  # fmt: skip
def test_a_connection_of_a_sibling_is_answered_over(transport: str, peer: tuple[str, int]) -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        flow, other = Peer(peer, transport), Peer(peer, transport)
        for used in (flow, flow, other):
            first.router.received(message(1), used)
        await until(lambda: len(second.heard) == 3)
        remote, again, third = (heard for _, heard in second.heard)
        assert remote is again
        assert third is not remote
        assert (remote.transport, remote.peer, remote.local, remote.reliable, remote.alive) == (transport, peer, flow.local, True, True)
        for data in (b"one", b"two" * 10_000):
            remote.send(data)
        third.send(b"three")
        await until(lambda: bool(other.sent))
        assert (flow.sent, other.sent) == ([b"one", b"two" * 10_000], [b"three"])

        first.router.closed(flow)
        first.router.closed(flow)
        await until(lambda: not remote.alive)
        with pytest.raises(OSError, match="closed"):
            remote.send(b"late")
        assert third.alive

    play(scenario)


def test_a_connection_of_a_sibling_is_closed_behind_what_was_sent() -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        flow = Peer(transport="TCP")
        first.router.received(message(1), flow)
        await until(lambda: bool(second.heard))
        remote = second.heard[0][1]
        remote.send(b"last words")
        remote.close()
        remote.close()
        assert not remote.alive
        await until(lambda: not flow.alive)
        assert flow.sent == [b"last words"]
        first.router.closed(flow)
        first.router.received(message(1), flow)  # its number is another one now
        await until(lambda: len(second.heard) == 2)
        assert second.heard[1][1].alive

    play(scenario)


def test_only_those_who_used_a_connection_are_told_of_its_end() -> None:
    async def scenario(workers: Workers) -> None:
        flow = Peer(transport="TCP")
        workers.all[0].router.received(message(1, 3), flow)
        workers.all[0].router.received(message(2, 3), Peer(transport="TCP"))
        await until(lambda: bool(workers.all[1].heard and workers.all[2].heard))
        workers.all[0].router.closed(flow)
        await until(lambda: not workers.all[1].heard[0][1].alive)
        assert workers.all[2].heard[0][1].alive

    play(scenario, 3)


def test_a_connection_that_takes_no_more_is_told_to_be_closed() -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        flow = Peer(transport="TCP")
        first.router.received(message(1), flow)
        await until(lambda: bool(second.heard))
        flow.broken = True
        remote = second.heard[0][1]
        remote.send(b"x")
        remote.send(b"y")
        await until(lambda: not remote.alive)
        flow.broken = False
        first.router.received(message(1), flow)
        await until(lambda: len(second.heard) == 2)
        assert second.heard[1][1] is not remote
        assert second.heard[1][1].alive

    play(scenario)


def test_connections_end_with_their_holder() -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        first.router.received(message(1), Peer(transport="TCP"))
        await until(lambda: bool(second.heard))
        first.router.close()
        remote = second.heard[0][1]
        await until(lambda: not remote.alive)
        with pytest.raises(OSError, match="closed"):
            remote.send(b"x")

    play(scenario)


# ---- siblings that are dead, or do not read ----


def test_a_dead_owner_makes_orphans_until_its_successor_is_there() -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        flow = Peer()
        first.router.received(message(1), flow)
        await until(lambda: bool(second.heard))
        second.router.close()
        left = socket.socket(socket.AF_UNIX)  # the name of one that was killed: there, and nobody listens
        left.bind(str(second.router.path(1)))
        left.close()
        await asyncio.sleep(0.01)
        for absent in (True, False):
            if absent:
                first.router.received(message(1), flow)
            else:
                second.router.path(1).unlink()
                first.router.received(b"\r\n" + message(1), flow)
        assert [used for _, used in first.orphans] == [flow, flow]
        answer = message(1).replace(b"OPTIONS sip:b@example.com SIP/2.0", b"\r\nSIP/2.0 200 OK")
        for unanswerable in (answer, message(1, method="ACK"), message(1, method="ack")):
            first.router.received(unanswerable, flow)
        assert len(first.orphans) == 2
        assert first.router.counters.orphans == 5

        workers.all[1] = successor = workers.make(1, 2)
        first.router.received(message(1), flow)
        await until(lambda: bool(successor.heard))
        assert len(first.orphans) == 2

    play(scenario)


@contextmanager
def deaf(path: Path) -> Iterator[socket.socket]:
    """A worker that has stopped: it has its socket and reads nothing."""
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        yield listening
    path.unlink()


def test_what_waits_for_a_deaf_sibling_is_bounded_and_orphaned_at_its_end() -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        with deaf(second.router.path(1)) as listening:
            datagrams, stream = Peer(), Peer(("192.0.2.2", 7), "TCP")
            data = message(1, body=b"x" * 30_000)
            for _ in range(400):
                first.router.received(data, datagrams)
                await asyncio.sleep(0)
            counters = first.router.counters
            assert counters.dropped > 50
            assert counters.handed + counters.dropped == 400
            assert first.orphans == first.refused == []
            first.router.received(data, stream)  # one that nobody will send again
            assert first.refused == [(data, stream)]
            behind, _ = listening.accept()
            behind.close()  # and with it what was written to it
        await until(lambda: counters.orphans > 0)
        handed, seen = counters.handed, -1
        while seen != counters.orphans:
            seen = counters.orphans
            await asyncio.sleep(0.01)
        waiting = 1_000_000 // len(data)
        assert waiting - 2 <= counters.orphans <= min(handed, waiting + 2)
        assert {found for found, _ in first.orphans} == {data}
        assert {flow.peer for _, flow in first.orphans} == {datagrams.peer}

    play(scenario, queue_bytes=1_000_000)


def test_a_sibling_that_is_slow_gets_everything() -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        with deaf(second.router.path(1)) as listening:
            sent = [message(1, body=b"%d" % at * 3000) for at in range(300)]
            for data in sent:
                first.router.received(data, Peer(("192.0.2.1", 7)))
            await asyncio.sleep(0)
            reading, _ = listening.accept()
            read = bytearray()
            reading.settimeout(WAIT_S)
            while read.count(b"OPTIONS sip:") < 300 or not read.endswith(sent[-1]):
                read += await asyncio.to_thread(reading.recv, 30_000)
            at, found = 0, []
            while at < len(read):
                head = router.FRAME.unpack_from(read, at)
                assert read[at + router.FRAME.size :][: head[6]] == b"192.0.2.1"
                end = at + router.LENGTH_BYTES + head[0]
                found.append(bytes(read[at + router.FRAME.size + head[6] : end]))
                at = end
            assert found == sent
            reading.close()

    play(scenario, queue_bytes=1 << 30)


def test_a_remote_flow_says_when_its_holder_does_not_read() -> None:
    async def scenario(workers: Workers) -> None:
        second = workers.all[1]
        with socket.socket(socket.AF_UNIX) as holder:
            holder.connect(str(second.router.path(1)))
            data = message(1)
            where = b"TCP 192.0.2.1 192.0.2.2"
            length = router.FRAME.size - 4 + len(where) + len(data)
            holder.sendall(router.FRAME.pack(length, router.VERSION, router.MESSAGE, 0, 1, 2, len(where), 9) + where + data)
            await until(lambda: bool(second.heard))
            remote = second.heard[0][1]
            with pytest.raises(OSError, match="does not read"):
                for _ in range(1000):
                    remote.send(b"x" * 10_000)
                    await asyncio.sleep(0)
            assert remote.alive

    play(scenario, queue_bytes=100_000)


def test_more_orphans_than_one_turn_takes_are_all_told_of() -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        with deaf(second.router.path(1)) as listening:
            sent = [message(1) for _ in range(5 * router.ORPHANS_A_TURN + 7)]
            for data in sent:
                first.router.received(data, Peer())
            listening.accept()[0].close()  # before any of it was written
            await until(lambda: len(first.orphans) == len(sent))
        assert [data for data, _ in first.orphans] == sent

    play(scenario)


def test_bytes_for_a_connection_that_is_closed_are_answered_with_that() -> None:
    """They crossed the news of it."""

    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        with deaf(second.router.path(1)) as listening:
            flow = Peer(transport="TCP")
            first.router.received(message(1), flow)
            await asyncio.sleep(0.01)
            owner, _ = listening.accept()
            owner.settimeout(WAIT_S)
            number = router.FRAME.unpack_from(owner.recv(65_536))[7]
            for at, kind in ((number + 1, router.BYTES), (number + 1, router.END), (number, router.BYTES)):
                owner.sendall(router.FRAME.pack(router.FRAME.size - 3, router.VERSION, kind, 0, 0, 0, 0, at) + b"x")
            await until(lambda: flow.sent == [b"x"])
            await asyncio.sleep(0.01)
            told = router.FRAME.unpack(owner.recv(65_536))
            assert (told[2], told[7]) == (router.GONE, number + 1)
            owner.close()

    play(scenario)


# ---- what goes wrong at the owner ----


def test_a_message_that_is_not_taken_does_not_take_others_with_it() -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        second.raises = OSError("the peer is gone")
        sent = [message(1) for _ in range(5)]
        for data in sent:
            first.router.received(data, Peer())
        await until(lambda: len(second.heard) == 5)
        assert second.messages == sent
        assert second.router.counters.failed == 5

    play(scenario)


def test_a_refusal_that_cannot_be_sent_is_counted() -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        second.router.close()
        first.router._on_orphan = lambda data, flow: (_ for _ in ()).throw(OSError("gone"))
        first.router.received(message(1), Peer())
        assert (first.router.counters.orphans, first.router.counters.failed) == (1, 1)

    play(scenario)


def test_a_link_may_be_cut_between_any_two_bytes() -> None:
    async def scenario(workers: Workers) -> None:
        second = workers.all[1]
        datas = [message(1), message(1, body=b"body")]
        wire = b""
        for number, data in enumerate(datas, 1):
            where = b"TLS 192.0.2.1 ::1"
            length = router.FRAME.size - 4 + len(where) + len(data)
            wire += router.FRAME.pack(length, router.VERSION, router.MESSAGE, 0, 1, 2, len(where), number) + where + data
        for cut in range(0, len(wire) + 1, 7):
            with socket.socket(socket.AF_UNIX) as sibling:
                sibling.connect(str(second.router.path(1)))
                second.heard.clear()
                for piece in (wire[:cut], wire[cut:]):
                    sibling.sendall(piece)
                    await asyncio.sleep(0.001)
                await until(lambda: len(second.heard) == 2)
                assert second.messages == datas
                sibling.sendall(wire[: min(cut, 60)])  # and its end in the middle of one
        await asyncio.sleep(0.01)
        first = workers.all[0]
        second.heard.clear()
        first.router.received(datas[0], Peer())
        await until(lambda: second.messages == [datas[0]])

    play(scenario)


@pytest.mark.parametrize("start", [
    struct.pack("<IB", 100, router.VERSION + 1), struct.pack("<IB", 2**32 - 1, router.VERSION), struct.pack("<IB", 0, router.VERSION),
    b"INVITE", struct.pack("<IBBHHHHQ", 30, router.VERSION, 1, 0, 0, 0, 65_535, 0),
])  # fmt: skip
def test_who_speaks_otherwise_is_hung_up_on(start: bytes) -> None:
    async def scenario(workers: Workers) -> None:
        second = workers.all[1]
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(WAIT_S)
            stranger.connect(str(second.router.path(1)))
            stranger.sendall(start.ljust(router.FRAME.size, b"\0"))
            assert await asyncio.to_thread(stranger.recv, 1) == b""
        assert second.heard == []

    play(scenario)


def test_no_bytes_bring_a_router_down() -> None:
    """Seeded frames with any content, and a good message behind them."""

    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        random = Random(6)
        for _ in range(300):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(str(second.router.path(1)))
                for _ in range(5):
                    rest = random.randbytes(random.randrange(60))
                    head = router.FRAME.pack(
                        router.FRAME.size - 4 + len(rest), router.VERSION, random.randrange(6), random.randrange(3), 1, 2,
                        random.randrange(len(rest) + 2), random.randrange(3),
                    )  # fmt: skip
                    with suppress(OSError):
                        stranger.sendall(head + rest)
                await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        data = message(1)
        first.router.received(data, Peer())
        await until(lambda: data in second.messages)

    play(scenario)


# ---- sockets ----


def test_a_router_without_descriptors_asks_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "ACCEPT_AGAIN_S", 0.01)

    class Exhausted:
        """A listening socket that has no descriptors for what it accepts, at first."""

        def __init__(self, real: socket.socket) -> None:
            self._real, self.refusals = real, 0

        def accept(self) -> tuple[socket.socket, object]:
            if self.refusals < 2:
                self.refusals += 1
                raise OSError(errno.EMFILE, "too many open files")
            return self._real.accept()

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        assert second.router._listening is not None
        exhausted = Exhausted(second.router._listening)
        second.router._listening = exhausted  # type: ignore[assignment]
        first.router.received(message(1), Peer())
        await until(lambda: bool(second.heard))
        assert exhausted.refusals == 2
        with monkeypatch.context() as patched:
            patched.setattr(socket, "socket", lambda *told: (_ for _ in ()).throw(OSError(errno.EMFILE, "too many open files")))
            for transport in ("UDP", "TCP"):
                second.router.received(message(0), Peer(transport=transport))
        assert (len(second.orphans), len(second.refused), second.router.counters.dropped) == (0, 1, 2)

    play(scenario)


def test_a_predecessor_leaves_its_successors_name_alone() -> None:
    async def scenario(workers: Workers) -> None:
        first, second = workers.all
        successor = workers.make(1, 2)
        second.router.close()
        workers.all[1] = successor
        first.router.received(message(1), Peer())
        await until(lambda: bool(successor.heard))

    play(scenario)


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701])
def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    async def run() -> None:
        folder = tmp_path / "open"
        folder.mkdir()
        folder.chmod(mode)
        worker = Worker(0, 2, folder, 1000)
        with pytest.raises(PermissionError):
            worker.router.open()

    uvloop.run(run())


def test_a_folder_is_made_for_its_user_alone() -> None:
    async def scenario(workers: Workers) -> None:
        assert workers.folder.stat().st_mode & 0o777 == 0o700

    play(scenario)


# ---- real workers ----


class Answerer:
    """The user of a worker's transactions. It knows the calls that began here and no others, and repeats a 200 until its ACK (13.3.1.4)."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.layer = TransactionLayer(self, self._loop)
        self._name = name
        self._calls: dict[str, asyncio.TimerHandle | None] = {}  # by Call-ID: the next repeat
        self._acked = 0

    def on_request(self, transaction: InviteServer | NonInviteServer, flow: Flow) -> None:
        request, status = transaction.request, 200
        host, port = flow.local
        headers = [("Server", self._name), ("Subject", str(self._acked)), ("Contact", f"<sip:us@{host}:{port};transport={flow.transport}>")]
        if request.method == "BYE":
            status = 200 if request.call_id in self._calls else 481
        answer = self.layer.respond(transaction, status, to_tag="us", headers=headers)
        if request.method == "INVITE":
            self._repeat(request.call_id, answer, flow, 0.5)

    def _repeat(self, call: str, answer: bytes, flow: Flow, interval_s: float) -> None:
        def again() -> None:
            if flow.alive and interval_s < 16:
                flow.send(answer)
                self._repeat(call, answer, flow, 2 * interval_s)

        self._calls[call] = self._loop.call_later(interval_s, again)

    def on_ack(self, ack: Message, flow: Flow) -> None:
        repeat = self._calls.get(ack.call_id)
        if repeat is not None:
            repeat.cancel()
            self._calls[ack.call_id] = None
            self._acked += 1

    def on_cancel(self, invite: InviteServer) -> None: ...

    def on_stray_response(self, response: Message, flow: Flow) -> None: ...

    def on_no_ack(self, invite: InviteServer) -> None: ...

    def orphaned(self, data: bytes, flow: Flow) -> None:
        request = parse(data)
        headers = [("Server", self._name), ("Retry-After", "1")]
        flow.send(compose.response(request, 503, to_tag="us", headers=headers, via=via_of_request(request, flow.peer)))


async def work(index: int, count: int, port: int, folder: Path) -> None:
    """One worker, until it is killed."""
    user = Answerer(f"worker-{index}")
    sockets: list[Udp] = []
    routes = Router(
        index, count, KEY, folder, user.layer.received, udp_flow=lambda listener, peer: sockets[listener].flow(peer), on_orphan=user.orphaned
    )
    routes.open()
    streams = Streams(routes.received, on_closed=lambda flow, stayed: routes.closed(flow))
    await streams.listen(HOST, port, reuse_port=True)
    sockets.append(await Udp.listen(HOST, port, routes.receiver(0), reuse_port=True))
    print("ready", flush=True)
    await asyncio.Event().wait()


class Pool:
    """Some workers as processes, and clients that call them."""

    def __init__(self, folder: Path, count: int) -> None:
        self.count, self._folder = count, folder
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind((HOST, 0))
            self.port: int = stream.getsockname()[1]
            datagrams.bind((HOST, self.port))
        self.processes = [self._start(index) for index in range(count)]
        self.ready(*range(count))

    def _start(self, index: int) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-m", "tests.engine.sip.test_router", *map(str, (index, self.count, self.port, self._folder))]
        return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def ready(self, *indices: int) -> None:
        for index in indices:
            told = self.processes[index].stdout
            assert told is not None
            assert told.readline() == "ready\n"

    def kill(self, index: int) -> None:
        self.processes[index].send_signal(signal.SIGKILL)
        self.processes[index].wait()

    def restart(self, index: int) -> None:
        self._reap(index)
        self.processes[index] = self._start(index)
        self.ready(index)

    def _reap(self, index: int) -> None:
        process = self.processes[index]
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def end(self) -> None:
        for index in range(len(self.processes)):
            self._reap(index)

    # -- clients --

    @asynccontextmanager
    async def clients(self, datagram_sockets: int = 0, connections: int = 0) -> AsyncIterator[list[Client]]:
        made = [await Client.over_udp(self.port) for _ in range(datagram_sockets)]
        made += [await Client.over_tcp(self.port) for _ in range(connections)]
        try:
            yield made
        finally:
            for client in made:
                client.close()


class Client:
    """One socket that asks and waits for final answers; over UDP it asks again (RFC 3261 17.1)."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], asyncio.Future[Message]] = {}
        self._flow: Flow | None = None
        self._udp: Udp | None = None
        self.port = 0

    def _heard(self, data: bytes, flow: Flow) -> None:
        answer = parse(data)
        assert flow.peer == (HOST, self.port)  # from where it was asked, whoever answers
        waiting = self._waiting.get((answer.call_id, answer.value("CSeq")))
        if answer.status >= 200 and waiting is not None and not waiting.done():
            waiting.set_result(answer)

    @classmethod
    async def over_udp(cls, port: int) -> Client:
        made = cls()
        made.port = port
        made._udp = await Udp.listen(HOST, 0, made._heard)
        made._flow = made._udp.flow((HOST, port))
        return made

    @classmethod
    async def over_tcp(cls, port: int) -> Client:
        made = cls()
        made.port = port
        made._flow = await Streams(made._heard).connect(HOST, port)
        return made

    @property
    def alive(self) -> bool:
        return self._flow is not None and self._flow.alive

    def send(self, data: bytes) -> None:
        assert self._flow is not None
        self._flow.send(data)

    async def ask(self, method: str, call: str, cseq: int = 1) -> Message:
        assert self._flow is not None
        data = text(method, branch=new_branch(), call=call, cseq=cseq, via=f"{HOST}:9;rport")
        data = data.replace(b"SIP/2.0/UDP", b"SIP/2.0/" + self._flow.transport.encode())
        waiting: asyncio.Future[Message]
        waiting = self._waiting[call, f"{cseq} {method}"] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(WAIT_S):
            while not waiting.done():
                self.send(data)
                await asyncio.wait([waiting], timeout=None if self._flow.reliable else 0.5)
        return waiting.result()

    def close(self) -> None:
        if self._udp is not None:
            self._udp.close()
        elif isinstance(self._flow, Connection):
            self._flow.close()


@contextmanager
def pool(count: int) -> Iterator[Pool]:
    with tempfile.TemporaryDirectory() as folder:
        made = Pool(Path(folder) / "sip", count)
        try:
            yield made
        finally:
            made.end()


async def acked(client: Client, workers: Pool) -> int:
    told = [await client.ask("OPTIONS", call_id(index, workers.count)) for index in range(workers.count)]
    return sum(int(answer.value("Subject")) for answer in told)


async def whole_call(call: str, clients: list[Client], count: int) -> None:
    """INVITE, ACK and BYE, each over another socket."""
    owner = f"worker-{call_id_owner(text(call=call), KEY, count)}"
    invite = await clients[0].ask("INVITE", call)
    assert (invite.status, invite.value("Server")) == (200, owner)
    clients[1].send(text("ACK", branch=new_branch(), call=call))
    bye = await clients[2].ask("BYE", call, 2)
    assert (bye.status, bye.value("Server")) == (200, owner)


def test_every_message_of_a_call_is_handled_by_one_worker() -> None:
    """500 calls over datagrams, one trunk's socket among them, and over connections, each message of a call over another one."""

    async def run(workers: Pool) -> None:
        random, count = Random(5), workers.count
        async with workers.clients(4, 4) as clients:
            gate = asyncio.Semaphore(20)

            async def call(at: int) -> None:
                async with gate:
                    chosen = [clients[0]] * 3 if at % 3 == 0 else random.choices(clients, k=3)
                    await whole_call(f"call-{at}@client", chosen, count)

            await asyncio.gather(*(call(at) for at in range(500)))
            assert {call_id_owner(text(call=f"call-{at}@client"), KEY, count) for at in range(500)} == set(range(count))
            async with asyncio.timeout(WAIT_S):
                while await acked(clients[0], workers) < 500:
                    await asyncio.sleep(0.05)

    with pool(3) as workers:
        uvloop.run(run(workers))


@pytest.mark.skipif(shutil.which("sipp") is None, reason="needs SIPp")
@pytest.mark.parametrize("mode", ["u1", "t1"])
def test_sipp_makes_calls_over_one_socket(mode: str, tmp_path: Path) -> None:
    """What one trunk is: the kernel gives all of it to one worker, and its calls are everybody's."""
    with pool(2) as workers:
        command = ["sipp", "-sn", "uac", "-m", "500", "-r", "250", "-d", "0", "-t", mode, "-nostdin", "-i", HOST, f"{HOST}:{workers.port}"]
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        done = subprocess.run(command, cwd=tmp_path, env=environment | {"TERM": "dumb"}, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_a_killed_worker_takes_no_other_calls_with_it_and_is_replaced() -> None:
    async def run(workers: Pool) -> None:
        count, killed = workers.count, 1
        calls = {index: [call_id(index, count) for _ in range(10)] for index in range(count)}
        async with workers.clients(6, 12) as clients:
            at = 0

            def client() -> Client:
                nonlocal at
                at += 1
                usable = [one for one in clients if one.alive]
                return usable[at % len(usable)]

            for index, owned in calls.items():
                for call in owned:
                    answer = await client().ask("INVITE", call)
                    assert answer.value("Server") == f"worker-{index}"
                    client().send(text("ACK", branch=new_branch(), call=call))

            workers.kill(killed)
            await asyncio.sleep(0.05)  # its connections are closed
            for cseq, index in ((2, 0), (2, 2), (2, killed)):
                for call in calls[index]:
                    answer = await client().ask("BYE", call, cseq)
                    if index == killed:
                        assert answer.status == 503
                        assert answer.value("Server") != f"worker-{killed}"
                    else:
                        assert (answer.status, answer.value("Server")) == (200, f"worker-{index}")
            answer = await client().ask("INVITE", call_id(killed, count))
            assert (answer.status, answer.value("Retry-After")) == (503, "1")

            workers.restart(killed)
            for _ in range(10):
                call = call_id(killed, count)
                await whole_call(call, [client(), client(), client()], count)
            answer = await client().ask("BYE", calls[killed][0], 3)
            assert (answer.status, answer.value("Server")) == (481, f"worker-{killed}")
            for index in (0, 2):
                await whole_call(call_id(index, count), [client(), client(), client()], count)

    with pool(3) as workers:
        uvloop.run(run(workers))


if __name__ == "__main__":
    uvloop.run(work(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))

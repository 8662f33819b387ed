"""Datagrams in batches, over real sockets."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from engine._native.udp import Datagrams


def bound(host: str = "127.0.0.1") -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    made.bind((host, 0))
    return made


def of(sock: socket.socket) -> Datagrams:
    return Datagrams(sock.fileno(), sock.family == socket.AF_INET6)


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    with closing(bound(request.param)) as one, closing(bound(request.param)) as other:
        yield one, other


def address(sock: socket.socket) -> tuple[str, int]:
    name: tuple[str, int] = sock.getsockname()[:2]
    return name


def test_what_is_sent_arrives_in_order_and_says_where_it_came_from(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    chance = random.Random(3)
    sent = [chance.randbytes(chance.choice([0, 1, 100, 1500, 4000])) for _ in range(50)]
    assert of(one).send([(data, address(other)) for data in sent]) == (50, 0)
    reader, found = of(other), []
    while batch := reader.receive():
        assert len(batch) <= 32
        found += batch
    assert found == [(data, address(one)) for data in sent]
    assert reader.receive() == []


def test_the_longest_datagram_arrives_whole(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    limit = 65507 if one.family == socket.AF_INET else 65487
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    assert of(one).send([(b"x" * limit, address(other))]) == (1, 0)
    assert of(other).receive() == [(b"x" * limit, address(one))]


def test_one_that_cannot_be_sent_does_not_hold_up_the_others(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    there = address(other)
    waiting = [(b"1", there), (b"x" * 70_000, there), (b"2", there), (b"3", ("no address", 5060)), (b"4", there), (b"5", (there[0], 70_000)), (b"6", there)]
    writer, done, failed = of(one), 0, 0
    while waiting:
        handed, bad = writer.send(waiting)
        assert handed
        del waiting[:handed]
        done, failed = done + handed, failed + bad
    assert (done, failed) == (7, 3)
    assert [data for data, _ in of(other).receive()] == [b"1", b"2", b"4", b"6"]


def test_what_the_kernel_has_no_room_for_is_left_with_the_sender() -> None:
    # a Unix pair is the one datagram socket whose full receiver blocks its sender
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with closing(one), closing(other):
        one.setblocking(False)
        filled = 0
        try:
            while True:
                one.send(b"x")
                filled += 1
        except BlockingIOError:
            pass
        assert filled
        assert Datagrams(other.fileno(), False).receive()[0] == (b"x", ("", 0))


def test_a_socket_that_is_gone_is_an_error() -> None:
    sock = bound()
    datagrams = of(sock)
    sock.close()
    with pytest.raises(OSError, match=r"[Bb]ad file descriptor"):
        datagrams.receive()
    assert datagrams.send([(b"x", ("127.0.0.1", 9))]) == (1, 1)


def test_more_peers_than_are_remembered() -> None:
    with closing(bound()) as one, closing(bound()) as other:
        writer = of(one)
        for at in range(20_000):
            assert writer.send([(b"x", (f"127.{at >> 16 & 255}.{at >> 8 & 255}.{at & 255 or 1}", 9))])[0] == 1
        assert writer.send([(b"still", address(other))]) == (1, 0)
        assert of(other).receive() == [(b"still", address(one))]


def test_a_host_with_a_zone_leads_through_that_interface() -> None:
    with closing(bound("::1")) as one, closing(bound("::1")) as other:
        there = (f"::1%{socket.if_nametoindex('lo')}", address(other)[1])
        assert of(one).send([(b"zone", there)]) == (1, 0)
        assert of(other).receive()[0][0] == b"zone"

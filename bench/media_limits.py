"""The bare loops (media_limits.c) as processes under load: what no program on one core of this machine can pass."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.measure import BUILD, HERE, compiled
from bench.rtp_load import SUBJECT_CORE, Spread, Subject, pinned

REST_US = 500  # as our plane does: without, a loop wakes for every few datagrams, and needs twice the time for each
REAL_TIME = 3  # of what a playing loop asks of the scheduler, the most


class Counted(msgspec.Struct, frozen=True):
    """What a loop that receives did."""

    packets: int
    bytes: int
    reads: int
    sent: int
    drops: int


def program() -> Path:
    """The loops, compiled."""
    return compiled(HERE / "media_limits.c", BUILD / "media_limits", "-pthread")


def _ports(subject: Subject) -> list[int]:
    subject.wait_ready()
    return [int(port) for port in subject.ready.split()]


def counting(sockets: int, batch: int = 64, rest_us: int = REST_US) -> tuple[Subject, list[int]]:
    """A loop that receives and counts, and its ports. It rests before it reads, so that more is there to be read."""
    subject = Subject([program(), "count", str(sockets), str(batch), str(rest_us)])
    return subject, _ports(subject)


def relaying(peers: Sequence[int], rest_us: int = REST_US) -> tuple[Subject, list[int]]:
    """A loop that relays: two sockets a call, `peers` the port that each of them sends to."""
    subject = Subject([program(), "relay", str(len(peers) // 2), str(rest_us)], "\n".join(map(str, peers)).encode() + b"\n")
    return subject, _ports(subject)


def playing(peers: Sequence[int], stall_ms: int, first: int = 0) -> tuple[Subject, list[int]]:
    """A loop that sends a packet of each stream every 20 ms, while another thread computes for `stall_ms` out of 1.5 times that."""
    subject = Subject([program(), "play", str(len(peers)), str(stall_ms), str(first)], "\n".join(map(str, peers)).encode() + b"\n")
    return subject, _ports(subject)


@functools.cache
def timer_lateness(seconds: int) -> Spread:
    """L_timer: how late a timerfd at 1 ms wakes, with nothing else on the core."""
    done = subprocess.run([*pinned(SUBJECT_CORE), program(), "timer", str(seconds)], capture_output=True, check=True)
    told = msgspec.json.decode(done.stdout)
    return Spread(told["wakes"], told["p50_us"], told["p99_us"], told["p999_us"], told["max_us"])

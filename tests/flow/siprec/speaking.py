"""What recording clients say: RTP of known bytes, each packet at its time, for many calls at once in one thread.

SIPp spoils its own streams where several calls run in one process, so it only signals; here its log is followed, and what was answered says where media goes.
"""

from __future__ import annotations

import heapq
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Literal

import msgspec

from tests.data.rtp_builder import rtp
from tests.flow import media_sources as sources
from tests.flow.audio_quality import Pcm
from tests.flow.siprec.wire import Log, Noted

Law = Literal["ulaw", "alaw"]
Numbers = Literal["on", "still", "anew"]
PACKET_S: Final = 0.02
SAMPLES: Final = 160
LONGEST: Final = 3000  # packets of what lasts until the end
LOOK_S: Final = 0.008
BREATH_S: Final = 0.06  # between an answer and the first word: what comes at once is anchored when its stream was opened
PAYLOAD_TYPES: Final = {"ulaw": 0, "alaw": 8}
OF_LAW: Final = {"ulaw": sources.of_ulaw, "alaw": sources.of_alaw}


class Say(msgspec.Struct, frozen=True, kw_only=True):
    """Some packets of a stream, `delay_ms` behind the `after`th 200 to an INVITE or UPDATE. `packets` 0 lasts until the BYE.

    `line` is the m= line it belongs to, `port` the one of ours it comes from (that of the line where it is not said). `numbers`: timestamps go on by the clock,
    stood still since the last packet, or begin anew with another SSRC.
    """

    line: int = 0
    packets: int = 50
    after: int = 1
    delay_ms: int = 0
    law: Law = "ulaw"
    numbers: Numbers = "on"
    port: int = -1
    labelled: bool = False  # sends nothing where the answer has no label for the line


class Spoken(msgspec.Struct):
    """What was said in fact. Times are of the monotonic clock: the other one is set now and then."""

    say: Say
    data: bytes
    sent: int = 0
    first_at: float = 0.0
    last_at: float = 0.0

    @property
    def pcm(self) -> Pcm:
        """Its samples."""
        return OF_LAW[self.say.law](self.data[: self.sent * SAMPLES])


class _Numbers(msgspec.Struct):
    """Of the stream of one m= line."""

    ssrc: int
    sequence: int
    timestamp: int
    at: float = 0.0  # of the packet that has these


class Mouth:
    """One call: its log, its ports, and what it is to say."""

    def __init__(self, log: Log, ports: Sequence[socket.socket], says: Sequence[Say], seed: int) -> None:
        self.log = log
        self.spoken = [Spoken(say, sources.codes(SAMPLES * (say.packets or LONGEST), seed=seed * 100 + number)) for number, say in enumerate(says)]
        self.answers: list[Noted] = []
        self.bye: Noted | None = None
        self.ahead_s = 0.0  # of the clock of the world before the monotonic one, when the first answer came
        self.bye_at = 0.0
        self._ports = ports
        self._waiting = list(self.spoken)
        self._numbers = {say.line: _Numbers(0x51000000 + seed * 256 + say.line, 4000 + 300 * seed, 4_294_900_000 + 1000 * seed) for say in says}
        self._to: list[int] = []

    def look(self) -> list[tuple[float, Spoken]]:
        """Reads on in the log: what is due to be said, and when."""
        due = []
        for noted in self.log.more():
            if noted.sent and noted.first.startswith("BYE "):
                self.bye, self.bye_at = noted, noted.at - (time.time() - time.monotonic())
            if noted.sent or noted.status != 200 or noted.method not in ("INVITE", "UPDATE"):
                continue
            if self.answers and (noted.method, noted.header("cseq")) == (self.answers[-1].method, self.answers[-1].header("cseq")):
                continue  # the same again
            self.ahead_s = self.ahead_s or time.time() - time.monotonic()
            self.answers.append(noted)
            self._to = noted.ports or self._to
            for one in [one for one in self._waiting if one.say.after == len(self.answers)]:
                self._waiting.remove(one)
                if not one.say.labelled or any(text.startswith("a=label:") for text in noted.lines[one.say.line]):
                    due.append((time.monotonic() + BREATH_S + one.say.delay_ms / 1000, one))
        return due

    def send(self, one: Spoken, now: float) -> float | None:
        """The next packet; when the one behind it is due, None where there is none."""
        say = one.say
        if (not one.say.packets and self.bye is not None) or not self._to[say.line]:
            return None  # the line is gone
        numbers = self._numbers[say.line]
        if not one.sent:
            one.first_at = now
            if say.numbers == "anew":
                numbers.ssrc, numbers.sequence, numbers.timestamp = numbers.ssrc + 0x10000, numbers.sequence + 5000, numbers.timestamp + 123_456_789
            elif say.numbers == "on" and numbers.at:
                numbers.timestamp += max(0, round((now - numbers.at) / PACKET_S) - 1) * SAMPLES
        payload = one.data[one.sent * SAMPLES : (one.sent + 1) * SAMPLES]
        packet = rtp(numbers.sequence % 65536, numbers.timestamp % 2**32, payload, payload_type=PAYLOAD_TYPES[say.law], ssrc=numbers.ssrc, marker=not one.sent)
        self._ports[say.line if say.port < 0 else say.port].sendto(packet, ("127.0.0.1", self._to[say.line]))
        numbers.sequence, numbers.timestamp, numbers.at = numbers.sequence + 1, numbers.timestamp + SAMPLES, now
        one.sent, one.last_at = one.sent + 1, now
        return one.first_at + one.sent * PACKET_S if one.sent < len(one.data) // SAMPLES else None


@contextmanager
def first_in_line() -> Iterator[None]:
    """This thread runs before all others, where that is allowed: what else the machine does is not to make anything late."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def speak(mouths: Sequence[Mouth], is_over: Callable[[], bool], within_s: float) -> None:
    """Says everything at its time, until it `is_over`. Raises AssertionError when that takes too long."""
    with first_in_line():
        _speak(mouths, is_over, within_s)


def _speak(mouths: Sequence[Mouth], is_over: Callable[[], bool], within_s: float) -> None:
    heap: list[tuple[float, int, Mouth, Spoken]] = []
    turn, look_at, deadline = 0, 0.0, time.monotonic() + within_s
    while True:
        now = time.monotonic()
        if now >= look_at:
            for mouth in mouths:
                for at, one in mouth.look():
                    turn += 1
                    heapq.heappush(heap, (at, turn, mouth, one))
            if not heap and is_over():
                return
            assert now < deadline, "calls do not come to their ends"
            look_at = now + LOOK_S
        while heap and heap[0][0] <= now:
            _, number, mouth, one = heapq.heappop(heap)
            following = mouth.send(one, time.monotonic())
            if following is not None:
                heapq.heappush(heap, (following, number, mouth, one))
        wait_s = min(look_at, heap[0][0] if heap else look_at) - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)


__all__ = ["PACKET_S", "SAMPLES", "Mouth", "Say", "Spoken", "first_in_line", "speak"]

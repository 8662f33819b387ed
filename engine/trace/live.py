"""The messages of a worker's calls while these are up, as the tables that captures give.

`note` takes every message that comes or goes. It goes to a spool on disk (`spool.py`) and is found by its Call-ID: in memory a call costs
a place of 8 bytes a message and about 300 bytes beside, however long it lasts. Who asks for a call gets a `LiveTrace`, which is its
messages and the moment up to which they are all there were; `tables_of` makes of it what rules and ladders read. It is plain data, so that
it can be explained in another process than the one that has the calls.

What is told to be a call (`began`) stays until it has `ended`, and `retention_s` longer. Anything else, such as registrations, OPTIONS
and refused attempts, stays for `retention_s` from its first message. Bounds hold at any time: of a call with too many messages, those
behind its beginning go, the oldest first; of a full spool, first the calls that ended, the oldest first, and then messages of the busiest.
"""

from __future__ import annotations

import heapq
import logging
import re
import time
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from engine._native import trace as native
from engine.errors import EngineError
from engine.sip.flow import Flow
from engine.trace.analysis import report
from engine.trace.export import KeptMessage
from engine.trace.finding import Report
from engine.trace.spool import Record, Spool
from engine.trace.tables import Tables

State: TypeAlias = Literal["other", "up", "ended", "lost"]
STATES: Final[tuple[State, ...]] = ("other", "up", "ended", "lost")
OTHER, UP, ENDED, LOST = range(4)
SECOND_NS: Final = 1_000_000_000
CALL_ID_MAX_BYTES: Final = 512
MESSAGE_MAX_BYTES: Final = 1 << 21  # more than any transport takes
ENDS_KEPT: Final = 16_384
BEGINNING_MESSAGES: Final = 32  # of a call with too many: how it was set up is what the rest is judged by
WITH_DIGITS: Final = (b"INFO ", b"NOTIFY ", b"MESSAGE ")  # of requests whose bodies may be key presses
MESSAGES_LEAST: Final = 64  # a bound below would leave no call that can be judged
CUT_TO: Final = 0.5  # of a bound, so that not every further message cuts again
BUSY_BYTES: Final = 65_536  # of calls with less, nothing is taken: that would be long work for little room
BUSY_A_STEP: Final = 16
# Live share of a segment that is worth writing anew: at once, and before anything is taken from a call that is up.
SPARSE: Final = 0.25
SPARSE_ENOUGH: Final = 0.75
FORGOTTEN_A_STEP: Final = 256
AGAIN_NS: Final = SECOND_NS  # between attempts to find room where there was none
# Four hours without a message make a dialog whose BYE was lost, to the rules. The worker knows better while it holds the call.
QUIET_MAX_NS: Final = (4 * 3600 - 1) * SECOND_NS
PARTS: Final = (b"ACK ", b"CANCEL ", b"PRACK ", b"SIP/2.0 ")  # of transactions that began before
HEAD_MAX_BYTES: Final = 64  # of a record
# An empty datagram: a packet that says up to when was listened, and nothing else.
LISTENED: Final = bytes.fromhex("4500001c0000000040110000c0000201c00002020009000900080000")
LINK_RAW: Final = 101

log = logging.getLogger("trunkline.trace")


_CALL_ID: Final = re.compile(rb"\n(?:call-id|i)[ \t]*:[ \t]*([^\r\n]+)", re.IGNORECASE)


class UnknownCall(EngineError):
    """No message of this Call-ID is kept here."""

    code = "live.unknown_call"


class LiveSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one worker. `address` is what is shown where a socket is bound to all addresses ("" shows those zeros)."""

    retention_s: float = 300.0
    spool_max_bytes: int = 256 << 20  # of all segments together
    segment_bytes: int = 1 << 20
    calls_max: int = 200_000
    call_max_messages: int = 1000
    call_max_bytes: int = 2 << 20
    address: str = ""


class LiveCall(msgspec.Struct, frozen=True):
    """What is known of a Call-ID without reading its messages. `began_ns` since 1970 UTC, of its first message.

    `state` is up, ended, lost (it was up when the worker before this one died) or other (nobody called it a call). `omitted` messages were
    there and are not kept.
    """

    call_id: str
    state: State
    began_ns: int
    messages: int
    size_bytes: int
    omitted: int


class LiveTrace(msgspec.Struct, frozen=True):
    """The messages of a call in order of time, and up to when they are all there were (ns since 1970 UTC)."""

    call: LiveCall
    messages: list[KeptMessage]
    until_ns: int


def tables_of(trace: LiveTrace) -> Tables:
    """The tables of a call, as those of a capture that was taken until `until_ns`. Takes about 0.1 ms and 10 us a message."""
    filled = native.Trace()
    filled.open_input(b"")
    size_bytes = 0
    for number, kept in enumerate(trace.messages, 1):
        size_bytes += len(kept.text)
        filled.add_message(
            kept.text, kept.time_ns, kept.source, kept.target, kept.transport, kept.direction, 0, number, None, False, False
        )
    if trace.messages:
        filled.add_packet(LISTENED, trace.until_ns, LINK_RAW, 0)
    filled.add_bytes(size_bytes)
    filled.finish()
    tables = Tables(filled)
    tables.formats = ["live"]
    return tables


def without_digits(data: bytes) -> bytes:
    """The message with its body blotted out, where it is of a kind that brings digits (INFO: RFC 6086; NOTIFY: RFC 4730; MESSAGE)."""
    head, blank, body = data.partition(b"\r\n\r\n")
    return head + blank + b"*" * len(body) if head.startswith(WITH_DIGITS) else data


class Counters:
    """What was not kept: `refused` messages for which there was no room, `unnamed` without a usable Call-ID, `omitted` of busy calls,
    `unreadable` on the disk; `forgotten` calls that had to go before their time."""

    __slots__ = ("forgotten", "omitted", "refused", "unnamed", "unreadable")

    def __init__(self) -> None:
        self.refused = self.unnamed = self.omitted = self.unreadable = self.forgotten = 0


class _Call(msgspec.Struct, gc=False):
    """Where a call's messages lie. `over_ns` is when its retention begins; it means nothing while the call is up."""

    began_ns: int
    over_ns: int
    state: int
    places: array[int]
    size_bytes: int = 0
    omitted: int = 0


class LiveTraces:
    """The calls of one worker. Belongs to one event loop; what it gives out may go to any thread."""

    def __init__(self, folder: Path, *, settings: LiveSettings | None = None, clock: Callable[[], int] = time.time_ns) -> None:
        """Takes the folder, with what a predecessor left there; calls that it had are now lost. `clock` tells ns since 1970.

        Takes about 2 us a message that was left. Raises SpoolInUse, OSError, and ValueError for settings that make no sense.
        """
        told = settings or LiveSettings()
        if told.spool_max_bytes < 2 * told.segment_bytes or told.call_max_messages < MESSAGES_LEAST or told.calls_max < 1:
            raise ValueError(f"the spool must hold two segments, and a call {MESSAGES_LEAST} messages")
        self.settings = told
        self.counters = Counters()
        self._clock = clock
        self._retention_ns = round(told.retention_s * SECOND_NS)
        self._messages_max, self._bytes_max = told.call_max_messages, told.call_max_bytes
        self._calls: dict[str, _Call] = {}
        self._over: OrderedDict[str, None] = OrderedDict()  # all that is not up, in the order in which it goes
        self._ends: dict[tuple[str, tuple[str, int], tuple[str, int]], bytes] = {}
        self._refused_until_ns = 0
        self._closed = False
        self._masked: set[str] = set()
        self._counts = [0] * len(STATES)
        self._spool = Spool(folder, segment_bytes=told.segment_bytes)
        try:
            self._recover()
        except BaseException:
            self._spool.close()
            raise

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, call_id: str) -> bool:
        return call_id in self._calls

    def close(self) -> None:
        """Gives the folder back, and takes nothing more. What is in it stays for a successor."""
        self._closed = True
        self._calls.clear()
        self._over.clear()
        self._counts = [0] * len(STATES)
        self._spool.close()

    @property
    def size_bytes(self) -> int:
        """On disk."""
        return self._spool.size_bytes

    # ---- what happens ----

    def note(
        self, call_id: str, data: bytes, sent: bool, transport: str, local: tuple[str, int], peer: tuple[str, int], time_ns: int
    ) -> None:
        """A message that came, or was `sent`. Takes about 2 us. Never raises for what is in it, nor for a full disk."""
        call = self._calls.get(call_id)
        try:
            name = call_id.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            name = b""
        known = call is not None
        if call is None:
            call = self._new_call(call_id, name, time_ns)
            if call is None:
                return
        ends = self._ends.get((transport, local, peer)) or self._written(transport, local, peer)
        place = self._spool.append(call.state, time_ns, sent, name, ends, data)
        if place < 0:
            place = self._append_elsewhere(call_id, call, time_ns, sent, name, ends, data)
            if place < 0:
                return
        places = call.places
        places.append(place)
        call.size_bytes += len(data)
        if not known:  # only now may it have to go for others
            self._over[call_id] = None
        if len(places) > self._messages_max or call.size_bytes > self._bytes_max:
            self._cut(call, int(self._messages_max * CUT_TO), int(self._bytes_max * CUT_TO))

    def on_wire(self, data: bytes, flow: Flow, sent: bool) -> None:
        """The same for what passes a transaction layer, which calls this; it is noted as of now."""
        call_id = call_id_of(data)
        if self._masked and call_id in self._masked:
            data = without_digits(data)
        self.note(call_id, data, sent, flow.transport, flow.local, flow.peer, self._clock())

    def mask(self, call_id: str, masked: bool) -> None:
        """What may be digits in messages of a call is not kept from now on, or is again. A call that ends is masked no more."""
        if masked:
            self._masked.add(call_id)
        else:
            self._masked.discard(call_id)

    def began(self, call_id: str) -> None:
        """What has this Call-ID is a call, which is up. To be told once its first message was noted; else nothing happens."""
        call = self._calls.get(call_id)
        if call is not None and call.state != UP:
            self._set_state(call, UP)
            self._over.pop(call_id, None)

    def ended(self, call_id: str) -> None:
        """The call is over: it is forgotten `retention_s` from now. Nothing happens for one that is not up."""
        self._masked.discard(call_id)
        call = self._calls.get(call_id)
        if call is not None and call.state == UP:
            self._set_state(call, ENDED)
            call.over_ns = self._clock()
            self._over[call_id] = None
        self.sweep()

    def forget(self, call_id: str) -> None:
        """Forgets a call at once."""
        call = self._calls.pop(call_id, None)
        if call is not None:
            self._counts[call.state] -= 1
            self._over.pop(call_id, None)
            self._spool.release(call.places)

    def erase(self, call_id: str) -> int:
        """Forgets a call, and overwrites what is on the disk of it; how many messages. Raises OSError."""
        self.forget(call_id)
        try:
            return self._spool.scrub(call_id.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            return 0

    def sweep(self) -> None:
        """Forgets what is due, a bounded number at a time. To be called now and then where no call ends."""
        due_ns = self._clock() - self._retention_ns
        for _ in range(FORGOTTEN_A_STEP):
            call_id = next(iter(self._over), None)
            if call_id is None or self._calls[call_id].over_ns > due_ns:
                return
            self.forget(call_id)

    # ---- what is known ----

    def states(self) -> dict[State, int]:
        """How many there are in each state."""
        return dict(zip(STATES, self._counts, strict=True))

    def calls(self, states: Sequence[State] = ("up",), limit: int | None = None) -> list[LiveCall]:
        """Calls in these states, the newest first. Takes about 0.1 us for each one that is passed over."""
        wanted = frozenset(state for state, name in enumerate(STATES) if name in states and self._counts[state])
        if not wanted:
            return []
        found = ((call_id, call) for call_id, call in reversed(self._calls.items()) if call.state in wanted)
        return [_told(call_id, call) for call_id, call in islice(found, limit)]

    def lost(self) -> list[str]:
        """Call-IDs of the calls that were up when the worker before this one died, the oldest first."""
        return [call_id for call_id in self._over if self._calls[call_id].state == LOST]

    def trace(self, call_id: str, *legs: str) -> LiveTrace:
        """The messages of a call, and of other Call-IDs that are legs of it where they are kept. Takes about 7 us a message. Raises
        UnknownCall."""
        call = self._calls.get(call_id)
        if call is None:
            raise UnknownCall("no message of this Call-ID is kept here")
        calls = [call, *(self._calls[leg] for leg in legs if leg in self._calls)]
        records: list[Record] = []
        for one in calls:
            found = [record for record in self._spool.read(one.places) if record is not None]
            self.counters.unreadable += len(one.places) - len(found)
            records += found
        records.sort(key=lambda record: record.time_ns)
        last_ns = records[-1].time_ns if records else call.began_ns
        until_ns = max(last_ns, self._clock())
        if any(one.state == UP for one in calls):
            until_ns = min(until_ns, last_ns + QUIET_MAX_NS)
        return LiveTrace(_told(call_id, call), [_kept(record) for record in records], until_ns)

    def messages(self, call_id: str) -> list[KeptMessage]:
        """The messages of a call in order of time. Raises UnknownCall."""
        return self.trace(call_id).messages

    def tables(self, call_id: str) -> Tables:
        """The tables of a call up to now. Raises UnknownCall."""
        return tables_of(self.trace(call_id))

    def report(self, call_id: str) -> Report:
        """What the rules say of a call up to now. Takes some milliseconds. Raises UnknownCall."""
        return report(self.tables(call_id))

    # ---- inside ----

    def _new_call(self, call_id: str, name: bytes, time_ns: int) -> _Call | None:
        if not 0 < len(name) <= CALL_ID_MAX_BYTES:
            self.counters.unnamed += 1
            return None
        if len(self._calls) >= self.settings.calls_max and not self._forget_oldest(1):
            self.counters.refused += 1
            return None
        # like the spool's marks, only what is told to be a call is one
        call = self._calls[call_id] = _Call(time_ns, self._clock(), OTHER, array("Q"))
        self._counts[OTHER] += 1
        return call

    def _written(self, transport: str, local: tuple[str, int], peer: tuple[str, int]) -> bytes:
        """Transport and both ends as a record has them."""
        host = local[0]
        if self.settings.address and host in ("0.0.0.0", "::", ""):
            host = self.settings.address
        told = f"{transport} {_address(host, local[1])} {_address(peer[0], peer[1])}".encode("utf-8", "replace")[:CALL_ID_MAX_BYTES]
        if len(self._ends) >= ENDS_KEPT:
            self._ends.clear()
        self._ends[transport, local, peer] = told
        return told

    def _append_elsewhere(
        self, call_id: str, call: _Call, time_ns: int, sent: bool, name: bytes, ends: bytes, data: bytes
    ) -> int:
        """Appends into a new segment; -1, and counted, where there is no room for one."""
        place = -1
        least_bytes = len(data) + len(name) + len(ends) + HEAD_MAX_BYTES
        fits = least_bytes <= min(MESSAGE_MAX_BYTES, self._bytes_max, self.settings.spool_max_bytes // 2)
        waits = 0 < self._refused_until_ns - time_ns <= AGAIN_NS  # a clock that was set back is no reason to wait for long
        if fits and not waits and not self._closed:
            self._refused_until_ns = time_ns + AGAIN_NS
            self.sweep()
            try:
                if self._make_room(max(least_bytes, self.settings.segment_bytes)):
                    self._spool.begin(least_bytes)
                    place = self._spool.append(call.state, time_ns, sent, name, ends, data)
                    self._refused_until_ns = 0
            except OSError as error:
                log.warning("messages of live calls cannot be kept: %s", error)
        if self._calls.get(call_id) is not call:  # making room has forgotten the call itself
            if place >= 0:
                self._spool.release((place,))
            place = -1
        if place < 0:
            self.counters.refused += 1
            if not call.places:
                self.forget(call_id)
        return place

    def _set_state(self, call: _Call, state: int) -> None:
        """The last record tells it to a successor; those that come bear it from the start."""
        self._counts[call.state] -= 1
        self._counts[state] += 1
        call.state = state
        if call.places:
            try:
                self._spool.set_mark(call.places[-1], state)
            except OSError as error:
                log.warning("the state of a live call cannot be kept: %s", error)

    # ---- bounds ----

    def _make_room(self, size_bytes: int) -> bool:
        """Whether a segment of this size may be begun."""
        while self._spool.size_bytes + size_bytes > self.settings.spool_max_bytes:
            if not self._free_some():
                return False
        return True

    def _free_some(self) -> bool:
        """One step: what costs the least is lost first. False when nothing more can go. Raises OSError."""
        if self._shrunk(SPARSE) or self._forget_oldest(min(FORGOTTEN_A_STEP, 1 + len(self._over) // 16)) or self._shrunk(SPARSE_ENOUGH):
            return True
        busiest = heapq.nlargest(BUSY_A_STEP, self._calls.values(), key=lambda call: call.size_bytes)
        busy = [call for call in busiest if call.size_bytes >= BUSY_BYTES]
        return sum(self._cut(call, len(call.places) // 2, call.size_bytes // 2) for call in busy) > 0

    def _forget_oldest(self, most: int) -> int:
        oldest = list(islice(self._over, most))
        for call_id in oldest:
            self.forget(call_id)
        self.counters.forgotten += len(oldest)
        return len(oldest)

    def _shrunk(self, share: float) -> bool:
        sparse = self._spool.sparsest(share)
        if sparse is not None:
            self._spool.shrink(sparse, self._wants, self._moved)
        return sparse is not None

    def _wants(self, place: int, name: bytes) -> bool:
        call = self._calls.get(_decoded(name))
        return call is not None and _index(call.places, place) >= 0

    def _moved(self, name: bytes, old: int, new: int) -> None:
        places = self._calls[_decoded(name)].places
        places[_index(places, old)] = new

    def _cut(self, call: _Call, messages_max: int, bytes_max: int) -> int:
        """Drops messages behind the beginning, the oldest first, until no more are left than that, but always the last one; how many.

        Cuts between transactions where it can, so that what is left is not taken for unanswered.
        """
        places = call.places
        records = list(self._spool.read(places))
        sizes = [0 if record is None else len(record.text) for record in records]
        opens = [record is not None and not record.text.startswith(PARTS) for record in records]
        begin = min(BEGINNING_MESSAGES, messages_max // 2, len(places) - 1)
        while begin and sum(sizes[:begin]) > bytes_max // 2:
            begin //= 2
        begin = _next_open(opens, begin)
        end, left_bytes = begin, sum(sizes)
        while end < len(places) - 1 and (len(places) - end + begin > messages_max or left_bytes > bytes_max):
            left_bytes -= sizes[end]
            end += 1
        end = _next_open(opens, end)
        self._spool.release(places[begin:end])
        del places[begin:end]
        call.size_bytes = sum(sizes[:begin]) + sum(sizes[end:])
        call.omitted += end - begin
        self.counters.omitted += end - begin
        return end - begin

    # ---- a predecessor ----

    def _recover(self) -> None:
        torn = self._spool.recover(self._take)
        now_ns = self._clock()
        for call in self._calls.values():
            if call.state == UP:
                call.state, call.over_ns = LOST, now_ns
            self._counts[call.state] += 1
        # in the order in which they go: nobody looks further than at the first
        for call_id in sorted(self._calls, key=lambda call_id: self._calls[call_id].over_ns):
            self._over[call_id] = None
        if self._calls:
            told = len(self._calls), self._counts[LOST], torn
            log.info("%d calls were left, %d of them lost; %d segments end in the middle of a message", *told)

    def _take(self, place: int, record: Record) -> bool:
        call_id = _decoded(record.call_id)
        call = self._calls.get(call_id)
        if call is None:
            if not record.call_id or len(self._calls) >= self.settings.calls_max:
                return False
            call = self._calls[call_id] = _Call(record.time_ns, record.time_ns, OTHER, array("Q"))
        if len(call.places) >= self._messages_max or call.size_bytes + len(record.text) > self._bytes_max:
            call.omitted += 1
            return False
        call.places.append(place)
        call.size_bytes += len(record.text)
        if record.mark != OTHER:  # a call is over with its last message, unless nobody said so
            call.state = record.mark if record.mark in (UP, ENDED, LOST) else OTHER
            call.over_ns = record.time_ns
        return True


def call_id_of(data: bytes) -> str:
    """The Call-ID of a message, "" where it has none. Takes half a microsecond: nothing else of it is read."""
    blank = data.find(b"\r\n\r\n")
    found = _CALL_ID.search(data, 0, blank if blank >= 0 else len(data))
    return "" if found is None else _decoded(found[1].rstrip())


def _told(call_id: str, call: _Call) -> LiveCall:
    shown = call_id.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return LiveCall(shown, STATES[call.state], call.began_ns, len(call.places), call.size_bytes, call.omitted)


def _kept(record: Record) -> KeptMessage:
    transport, _, ends = record.ends.decode("utf-8", "replace").partition(" ")
    local, _, peer = ends.partition(" ")
    source, target = (local, peer) if record.sent else (peer, local)
    return KeptMessage(record.time_ns, source or None, target or None, transport or None, record.text, 2 if record.sent else 1)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _decoded(call_id: bytes) -> str:
    return call_id.decode("utf-8", "surrogateescape")


def _index(places: array[int], place: int) -> int:
    """Where a place stands among a call's, which are in order; -1 where it does not."""
    at = bisect_left(places, place)
    return at if at < len(places) and places[at] == place else -1


def _next_open(opens: Sequence[bool], at: int) -> int:
    """The first message from `at` on that begins a transaction; `at` itself where there is none soon, or only the last one."""
    soon = range(at, min(at + BEGINNING_MESSAGES, len(opens) - 1))
    return next((found for found in soon if opens[found]), at)


__all__ = [
    "STATES", "Counters", "LiveCall", "LiveSettings", "LiveTrace", "LiveTraces", "State", "UnknownCall", "call_id_of", "tables_of",
]  # fmt: skip

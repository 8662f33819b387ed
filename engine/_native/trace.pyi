"""The trace kernel: inputs in, tables out. `engine.trace` is the friendly face."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

TABLE_NAMES: tuple[str, ...]
COLUMN_PLACES: dict[str, dict[str, int]]

def condition_names() -> list[str]:
    """Ids of all conditions, in the order of their numbers."""

def method_names() -> tuple[str, ...]:
    """SIP methods by number; "" for one that is not registered."""

def codec_names() -> tuple[str, ...]:
    """Codecs by number; "" for one that is not known."""

def fail_lends_behind(count: int) -> None:
    """For tests: memory ends behind `count` more lends; a negative count ends that."""

class PartConflict(Exception):
    """Parts cannot give what one thread would: the input is to be read again from its start, without parts."""

class Trace:
    """One trace being read. Not safe for use from several threads at once.

    Raises MemoryError when the tables do not fit; ValueError for calls out of order.
    """

    def __init__(self, expected_bytes: int = 0, seed: int | None = None) -> None: ...
    def open_input(self, source: Any) -> int:
        """Makes a buffer the input that is read next and holds it for as long as the trace lives. Its number, from 1."""

    def read_capture(self, progress: Callable[[int], None] | None = None, step: int = 400_000) -> bool:
        """Reads the open input as pcap, pcapng or HEP stream; False when it is none. `progress` gets bytes done."""

    def open_split(self) -> bool:
        """Begins to read the open input in parts; False where its format cannot be split (pcap and pcapng can)."""

    def read_until(self, until: int) -> int:
        """Reads on in this thread up to the first record at or behind `until`; the position reached."""

    def absorb(self, part: Part) -> bool:
        """Appends a part. False when it does not begin where this trace stands: then nothing happened, and the stretch is
        to be read by `read_until`. When True, every share of `play` is due before the next call. Raises PartConflict."""

    def play(self, part: Part, share: int, shares: int) -> None:
        """Gives the RTP packets of an absorbed part to their streams. Several threads may each play a share."""

    def close_split(self) -> None:
        """Ends reading in parts, before `finish`."""

    def add_message(
        self,
        text: bytes | bytearray | memoryview,
        time_ns: int | None,
        source: str | None,
        target: str | None,
        transport: str | None,
        direction: int,
        offset: int,
        number: int,
        correlation: str | None,
        retransmission: bool,
        in_input: bool,
    ) -> int:
        """Adds one framed message; its row, or a negative status when it is no SIP."""

    def add_packet(self, packet: bytes | bytearray | memoryview, time_ns: int, link_type: int, offset: int) -> int:
        """Adds one link-layer packet; 0 or a negative status."""

    def add_bytes(self, count: int) -> None:
        """Counts bytes of a text input as read."""

    def finish(self) -> None:
        """Groups, pairs, links and runs the rules' native halves. Once; later calls do nothing."""

    def rows(self, name: str) -> int:
        """Rows of a table."""

    def column(self, name: str, column_name: str) -> npt.NDArray[Any]:
        """A column as a read-only view over native memory; KeyError when there is none of that name."""

    def table(self, name: str) -> tuple[int, dict[str, npt.NDArray[Any]]]:
        """(rows, {column: view}) of a table."""

    def call_messages(self) -> npt.NDArray[np.uint32]:
        """Message rows by call, each call's in time order; calls.first_message and message_count cut it."""

    def call_streams(self) -> npt.NDArray[np.uint32]:
        """Stream rows by call; calls.first_stream and stream_count cut it."""

    def call_conditions(self) -> npt.NDArray[np.uint64]:
        """Words by call: bit n of word n // 64 says that the call has condition n."""

    def condition_count(self, number: int) -> int:
        """Sightings of a condition, also those that were not kept as rows."""

    def condition_counts(self) -> dict[int, int]:
        """Conditions that were sighted, with their counts."""

    def text(self, row: int) -> bytes:
        """Text of a messages row; IndexError beyond the table."""

    def string(self, row: int) -> bytes:
        """Text of a strings row."""

    def call_id(self, call: int) -> bytes:
        """Call-ID of a calls row."""

    def endpoint_host(self, row: int) -> str:
        """Address (or name) of an endpoints row, without port."""

    def sightings_of(self, number: int) -> tuple[npt.NDArray[Any], ...]:
        """(call, row, other, code, value) columns of a condition's sightings, in order of call and arrival."""

    def endpoint_address(self, row: int) -> str:
        """"ip:port", "[v6]:port", or the host alone where an endpoint has no port."""

    def host_row(self, row: int) -> int:
        """The endpoints row of the same host without a port."""

    def said(self, row: int) -> tuple[int, int, int, int]:
        """(status, method number, source, target) of a message: what every summary of it starts from."""

    def arena_bytes(self, offset: int, length: int) -> bytes:
        """Bytes that the trace kept, by events.bytes_offset and bytes_length."""

    def problems(self) -> list[tuple[str, str, int, int]]:
        """(name such as "record-truncated", text, count, first offset) of what could not be read."""

    def note_problem(self, kind: int, offset: int) -> None:
        """Counts a problem that a text reader met."""

    def tunnel_packets(self) -> list[int]:
        """Packets by encapsulation, in the order of enum packet_tunnel."""

    @property
    def no_time(self) -> bool: ...
    @property
    def first_time_ns(self) -> int: ...
    @property
    def last_time_ns(self) -> int: ...
    @property
    def packets(self) -> int: ...
    @property
    def bytes_read(self) -> int: ...
    @property
    def rtp_packets(self) -> int: ...
    @property
    def rtcp_packets(self) -> int: ...
    @property
    def mirrored_packets(self) -> int: ...
    @property
    def other_packets(self) -> int: ...

class Part:
    """A stretch of the open input of a trace, read in a thread of its own; may be read again when it was absorbed.

    `expected_bytes` sizes its tables. Raises MemoryError when they do not fit.
    """

    def __new__(cls, whole: Trace, expected_bytes: int = 0) -> Part: ...
    def read(self, first: int, until: int) -> None:
        """Reads the records that begin in [first, until); what the part held before is forgotten."""

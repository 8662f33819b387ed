"""Files of recordings and captures: opened here, written by a native thread of their own; the Python face of c/writer.h."""

from collections.abc import Sequence
from typing import NamedTuple, final

from typing_extensions import Buffer

PCM: int
PAYLOAD: int
OPUS: int
PACKETS: int
WAV_PCM16: int
WAV_ULAW: int
WAV_ALAW: int
OGG_OPUS: int
PCAP: int
FINISHED: int
FAILED: int
RESUMED: int
BEHIND: int
BLOCK_BYTES: int
TRACKS_MAX: int
OUTPUTS_MAX: int

class Output(NamedTuple):
    """A file to be written: an empty one open for reading and writing, which must stay open until the recording is finished."""

    fd: int
    format: int
    tracks: tuple[int, ...] = ()
    opus_channels: int = 1
    serial: int = 0

class Event(NamedTuple):
    """What the writer told: `recording` is 0 for BEHIND; `error` is an errno."""

    kind: int
    recording: int
    output: int
    error: int
    value: int

class Result(NamedTuple):
    """How a file ended: its bytes and frames (Ogg: samples at 48 kHz; pcap: records), what the disk refused and what came too late."""

    bytes: int
    frames: int
    lost: int
    late: int
    error: int
    failures: int

class Counts(NamedTuple):
    """Since the writer began: takes without a block, blocks of recordings that are over, blocks that could not be read, and what was written."""

    refused: int
    stale: int
    malformed: int
    blocks: int
    bytes: int
    writes: int
    rounds: int

@final
class Disk:
    """A disk with faults, for tests: an errno once `room_bytes` more were written (-1: never), and a pipe that a byte is read from before each write."""

    def be(self, *, room_bytes: int = -1, error: int = 28, gate: int = -1) -> None: ...

def wav_header(format: int, channels: int, rate_hz: int, frames: int) -> bytes: ...

class Writer:
    """`blocks` of 4 KiB between the media thread and the disk, `recordings` at once. Memory is taken when it is used."""

    def __new__(cls, blocks: int, recordings: int, disk: Disk | None = None) -> Writer: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    @property
    def event_fd(self) -> int: ...
    def open(self, rate_hz: int, outputs: Sequence[Output]) -> int: ...
    def add(self, recording: int, output: Output) -> int: ...
    def close(self, recording: int) -> None: ...
    def events(self) -> list[Event]: ...
    def results(self, recording: int) -> list[Result]: ...
    def release(self, recording: int) -> None: ...
    def counts(self) -> Counts: ...
    @property
    def waiting(self) -> int: ...
    def round(self, now_ns: int) -> int: ...
    def append(self, recording: int, track: int, position: int, samples: Buffer, *, kind: int = ...) -> int: ...
    def append_packets(self, recording: int, track: int, position: int, packets: Sequence[tuple[int, bytes]], *, kind: int = ...) -> bool: ...
    def end(self, recording: int) -> bool: ...

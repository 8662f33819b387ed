"""The corpora that benchmarks share, written when missing, and the SIP datagrams in them."""

from __future__ import annotations

import functools
import hashlib
import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench import corpus, scenario, wire

DATA = Path(__file__).parent / "data"
SEED = 1
CALLS, QUICK_CALLS = 23_160, 1_000
MEDIA_CALLS, QUICK_MEDIA_CALLS = 200, 20
MEDIA_S = 30


class Corpus(NamedTuple):
    """A capture and what was planted in it (see bench.corpus)."""

    path: Path
    facts: dict[str, Any]


@functools.cache
def generator_digest() -> str:
    """Changes when the generator does, so that an old corpus is not taken for a new one."""
    sources = (corpus.__file__, scenario.__file__, wire.__file__)
    return hashlib.sha256(b"".join(Path(str(source)).read_bytes() for source in sources)).hexdigest()[:12]


def ensure(kind: str, calls: int, seconds: int = 0) -> Corpus:
    """The corpus of these arguments, made when it is missing."""
    name = f"{kind}-{calls}-{SEED}-{generator_digest()}"
    path = DATA / (f"{name}.txt" if kind == "flow" else f"{name}.pcap")
    described = path.with_name(path.name + ".json")
    if path.exists() and described.exists():
        return Corpus(path, json.loads(described.read_text()))
    for stale in DATA.glob(f"{kind}-{calls}-{SEED}-*"):
        stale.unlink()
    return Corpus(path, corpus.write(path, kind, calls, SEED, seconds))


def signalling(quick: bool) -> Corpus:
    """SIP alone: 160 thousand messages, 125 MB."""
    return ensure("signalling", QUICK_CALLS if quick else CALLS)


def media(quick: bool) -> Corpus:
    """Calls with two streams each: 590 thousand packets, 136 MB."""
    return ensure("rtp", QUICK_MEDIA_CALLS if quick else MEDIA_CALLS, MEDIA_S)


def paste() -> Corpus:
    """One call of ten messages as text."""
    return ensure("flow", 1)


class Datagrams(NamedTuple):
    """UDP payloads inside one buffer: `offsets` and `lengths` in bytes, one of each a datagram."""

    buffer: bytes
    offsets: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.offsets)

    def payload(self, row: int) -> bytes:
        """Bytes of one datagram."""
        start = int(self.offsets[row])
        return self.buffer[start : start + int(self.lengths[row])]


@functools.cache
def sip_datagrams(path: Path) -> Datagrams:
    """The SIP datagrams of a corpus that are no fragments and not TCP."""
    buffer = path.read_bytes()
    at, offsets, lengths = 24, [], []
    unpack = struct.Struct("<I").unpack_from
    while at < len(buffer):
        length = unpack(buffer, at + 8)[0]
        frame = at + 16
        fragment = buffer[frame + 20] & 0x3F | buffer[frame + 21]
        if buffer[frame + 23] == wire.PROTOCOL_UDP and not fragment:
            offsets.append(frame + 42)
            lengths.append(length - 42)
        at = frame + length
    return Datagrams(buffer, np.array(offsets, np.uint64), np.array(lengths, np.uint64))

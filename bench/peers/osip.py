"""GNU oSIP's parsers for SIP and SDP, through a small C program linked with Debian's library."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from bench.measure import BUILD, compiled
from bench.peers.program import SETUP

NAME = "libosip2"
SOURCE = Path(__file__).with_name("osip_parse.c")
HEADER = Path("/usr/include/osipparser2/osip_message.h")


class Parsed(NamedTuple):
    """What one pass found, and the fastest pass's seconds. `hash` is FNV-1a over every Call-ID and a line feed,
    in order; for descriptions it is the number of media lines."""

    parsed: int
    refused: int
    hash: int
    seconds: float


def install() -> None:
    """Debian's development package, and our program."""
    if not HEADER.exists():
        subprocess.run(["bash", SETUP], check=True)
    compiled(SOURCE, BUILD / "osip_parse", "-losipparser2", "-losip2")


def run(texts: Iterable[bytes], repeats: int, what: str = "sip") -> Parsed:
    """Parses every text `repeats` times; `what` is "sip" or "sdp"."""
    install()
    path = BUILD / f"osip-{what}.records"
    end = b"\0" if what == "sdp" else b""
    with path.open("wb", buffering=1 << 20) as target:
        for text in texts:
            target.write(struct.pack("<I", len(text) + len(end)) + text + end)
    told = subprocess.run(
        [BUILD / "osip_parse", path, str(repeats), what], check=True, capture_output=True
    ).stdout
    path.unlink()
    parsed, refused, digest, nanoseconds = map(int, told.split())
    return Parsed(parsed, refused, digest, nanoseconds / 1e9)


def call_id_hash(call_ids: Iterable[bytes]) -> int:
    """The hash that `run` gives for the same Call-IDs in the same order."""
    value = 0xCBF29CE484222325
    for byte in b"".join(call_id + b"\n" for call_id in call_ids):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value

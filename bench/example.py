"""The README's example: a capture of one call in which the callee never sends audio and the caller announces a private address.

`python -m bench.example [FILE]` writes it (bench/data/example.pcap by default) and prints what `trunkline analyze` says.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np

from bench.scenario import make_call, private_media_address
from bench.wire import PCAP_HEADER, Stream, endpoint, rtp_records, udp_records

START_US = 1_700_000_000_000_000
TALK_S = 20


def capture() -> bytes:
    """The bytes of the capture: ten seconds of set-up and talk, RTP from the caller alone."""
    call = make_call(Random(4), 1, (endpoint("198.51.100.10"), endpoint("203.0.113.20")))
    records: list[tuple[int, bytes]] = []
    answered_us = START_US
    for number, said in enumerate(private_media_address(call)):
        offset_us, side, text = said
        at = START_US + offset_us
        source, target = (call.caller, call.called) if side == 0 else (call.called, call.caller)
        if text.startswith(b"ACK"):
            answered_us = at
        if text.startswith(b"BYE"):
            answered_us, at = answered_us, answered_us + TALK_S * 1_000_000
        if text.startswith(b"SIP/2.0 200") and b" BYE\r\n" in text:
            at = answered_us + TALK_S * 1_000_000 + 20_000
        records += [(at, record) for record in udp_records(at, source, target, number + 1, text)]
    numbers = np.arange(TALK_S * 50 - 10)
    stream = Stream(call.caller._replace(port=call.caller_port), call.called._replace(port=call.called_port), 0x1234ABCD, 0, 100, 16_000)
    arrival_us = answered_us + 10_000 + numbers * 20_000
    rows = rtp_records(stream, numbers, arrival_us)
    records += [(int(at), row.tobytes()) for at, row in zip(arrival_us, rows, strict=True)]
    return PCAP_HEADER + b"".join(record for _, record in sorted(records, key=lambda item: item[0]))


def main() -> int:
    """Writes the capture and explains it."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data" / "example.pcap"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(capture())
    command = [sys.executable, "-m", "api", "analyze", str(path), "--min-severity", "high", "--no-color"]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

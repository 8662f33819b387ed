"""One pasted call of ten messages, analysed in a warm process: what a person waits for."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator

from bench import captures
from bench.measure import Row, agree, run_often
from bench.peers import sip_doctor
from bench.wire import PCAP_HEADER, endpoint, udp_records
from engine.trace import analyze

PASTES, QUICK_PASTES = 500, 50


def as_capture(text: bytes) -> bytes:
    """The same messages as a pcap, for programs that read no text."""
    records = [PCAP_HEADER]
    for number, part in enumerate(re.split(rb"\n(?=2025/)", text.removesuffix(b"\n"))):
        head, _, message = part.partition(b"\n")
        source, _, target = head.split(b" ", 2)[2].partition(b" -> ")
        ends = [endpoint(end.decode().partition(":")[0]) for end in (source, target)]
        records += udp_records(1_760_000_000_000_000 + number * 100_000, ends[0], ends[1], number, message)
    return b"".join(records)


def rows(quick: bool) -> Iterator[Row]:
    """Median and 99th percentile in microseconds; the peer's figure is a whole process, start-up included."""
    corpus = captures.paste()
    text = corpus.path.read_bytes()
    report = analyze(text)
    found = {finding.rule for finding in report.findings}
    capture = corpus.path.with_suffix(".pcap")
    capture.write_bytes(as_capture(text))
    sip_doctor.install()
    outcome = sip_doctor.run(capture, 1 if quick else 3)
    check, passed = agree(
        {
            "messages": (report.summary.messages, corpus.facts["messages"]),
            "sip-doctor's": (outcome.messages, corpus.facts["messages"]),
            "calls": (report.summary.calls, corpus.facts["calls"]),
            "response-retransmitted": ("response-retransmitted" in found, True),
        }
    )
    times = []
    for _ in range(QUICK_PASTES if quick else PASTES):
        begin = time.perf_counter()
        analyze(text)
        times.append((time.perf_counter() - begin) * 1e6)
    cuts = statistics.quantiles(times, n=100)
    theirs = run_often([sip_doctor.PROGRAM, "read", "--json", capture], 3).wall_s * 1e6
    for name, value in (("paste-10-messages-p50", cuts[49]), ("paste-10-messages-p99", cuts[98])):
        note = f"{check}; sip-doctor as a process"
        yield Row(
            name, "us", value, sip_doctor.NAME, theirs, check=note, passed=passed, higher_is_better=False
        )

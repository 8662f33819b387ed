"""A capture from file to calls, streams and findings, beside programs that answer part of the same question.

Every program reads the same file, warm in the page cache, in a fresh process on one core's worth of threads.
Times of others are whole processes; ours is told both ways: inside the process (`summary.elapsed_ms`) and as
the command. What each reports it read is compared with what was planted.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from bench import captures, limits
from bench.captures import Corpus
from bench.measure import Row, agree, run_often, run_process
from bench.peers import sip_doctor, sngrep, tshark
from bench.peers.program import Outcome

PEERS: tuple[ModuleType, ...] = (tshark, sngrep, sip_doctor)
COMMAND = (sys.executable, "-m", "api", "analyze", "--format", "json", "--quiet", "--workers", "1")
IN_PROCESS = """
import sys
from engine.trace import analyze
report = analyze(sys.argv[1], workers=int(sys.argv[2]))
summary = report.summary
print(summary.elapsed_ms, summary.messages, summary.calls, summary.rtp_packets, summary.streams)
"""
# What was planted -> the condition that must be seen in as many calls.
CONDITIONS = {
    "missing-ack": "missing-ack",
    "private-media-address": "nat-sdp-private",
    "no-common-codec-488": "no-common-codec",
    "invite-retransmitted": "invite-retransmitted",
    "authentication-loop": "auth-loop",
    "fragmented-udp": "udp-fragmented",
    "one-way-audio": "one-way-audio",
    "loss-8-percent": "loss",
    "jitter": "jitter",
}


def read_in_process(corpus: Corpus, repeats: int, workers: int = 1) -> dict[str, float]:
    """What `analyze` says of itself in a fresh interpreter, the run with the median time."""
    runs = []
    for _ in range(repeats):
        process = run_process([sys.executable, "-c", IN_PROCESS, corpus.path, str(workers)])
        if process.status:
            raise RuntimeError(f"analyze ended with {process.status} on {corpus.path.name}")
        names = ("elapsed_ms", "messages", "calls", "rtp_packets", "streams", "peak_mib")
        told = (*map(float, process.output.split()), process.peak_mib)
        runs.append(dict(zip(names, told, strict=True)))
    return sorted(runs, key=lambda run: run["elapsed_ms"])[len(runs) // 2]


def dialogs(corpus: Corpus) -> int:
    """Call-IDs in a corpus."""
    return int(corpus.facts.get("calls", 0)) + int(corpus.facts.get("registrations", 0))


def peer_check(corpus: Corpus, outcome: Outcome) -> tuple[str, bool]:
    """What the peer says it read, beside what is there."""
    told = {
        "messages": (outcome.messages, corpus.facts["messages"]),
        "calls": (outcome.calls, dialogs(corpus)),
        "streams": (outcome.streams, corpus.facts.get("streams", 0)),
    }
    return agree({what: pair for what, pair in told.items() if pair[0] is not None})


def archive(name: str, corpus: Corpus, unit: str, count: int, repeats: int) -> Iterator[Row]:
    """Rows of one corpus: rate in the process, rate of the command, and peak memory, beside every peer."""
    told = read_in_process(corpus, repeats)
    ours, passed = agree(
        {
            "messages": (int(told["messages"]), corpus.facts["messages"]),
            "calls": (int(told["calls"]), corpus.facts["calls"]),
            "RTP packets": (int(told["rtp_packets"]), corpus.facts.get("rtp_packets", 0)),
            "streams": (int(told["streams"]), corpus.facts.get("streams", 0)),
        }
    )
    bound = limits.file_read(corpus.path) * count / corpus.facts["bytes"]
    command = run_often([*COMMAND, corpus.path], repeats)
    answered = json.loads(command.output)["summary"]["messages"] == corpus.facts["messages"]
    inside, whole = count / told["elapsed_ms"] * 1000, count / command.wall_s
    both = read_in_process(corpus, repeats, workers=2)
    same, equal = agree({what: (both[what], told[what]) for what in ("messages", "calls", "rtp_packets", "streams")})
    yield Row(
        f"{name}-2-threads", unit, count / both["elapsed_ms"] * 1000, "one thread", inside, "two cores, linear",
        2 * inside, f"the same tables: {same}", equal,
    )  # fmt: skip
    for peer in PEERS:
        peer.install()
        outcome: Outcome = peer.run(corpus.path, 1 if peer is sip_doctor else repeats)
        theirs, equal = peer_check(corpus, outcome)
        check, good = f"{ours}; {peer.NAME}: {theirs or 'tells nothing'}", passed and equal and answered
        rate = count / outcome.process.wall_s
        yield Row(f"{name}", unit, inside, peer.NAME, rate, "warm file read", bound, check, good)
        yield Row(f"{name}-command", unit, whole, peer.NAME, rate, "warm file read", bound, check, good)
        yield Row(
            f"{name}-cpu", "s", command.cpu_s, peer.NAME, outcome.process.cpu_s,
            check="processor time of the whole process", higher_is_better=False,
        )  # fmt: skip
        yield Row(
            f"{name}-memory", "MiB", told["peak_mib"], peer.NAME, outcome.process.peak_mib,
            check=f"peak of the process; file {corpus.facts['bytes'] / 2**20:.0f} MiB", higher_is_better=False,
        )  # fmt: skip


def planted(corpus: Corpus) -> Row:
    """Calls in which each planted defect is seen, over the calls it was planted in; 1 is all and no more."""
    from engine.trace import read

    tables = read(corpus.path)
    pairs: dict[str, tuple[Any, Any]] = {}
    for defect, count in corpus.facts["defects"].items():
        if defect in CONDITIONS:
            hits = tables.sightings_of(CONDITIONS[defect])
            pairs[defect] = (len(np.unique(hits.call)), count)
    shares = [seen / count for seen, count in pairs.values()]
    check, passed = agree(pairs)
    name = f"planted-{corpus.facts['kind']}"
    return Row(name, "share", statistics.mean(shares) if shares else 0.0, check=check, passed=passed)


def rows(quick: bool) -> Iterator[Row]:
    """Both corpora."""
    repeats = 1 if quick else 3
    signalling, media = captures.signalling(quick), captures.media(quick)
    yield planted(signalling)
    yield planted(media)
    yield from archive("archive-signalling", signalling, "msg/s", signalling.facts["messages"], repeats)
    yield from archive("archive-rtp", media, "pkt/s", media.facts["packets"], repeats)

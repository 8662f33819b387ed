"""The SIP tokenizer over every datagram of the signalling corpus, in memory, on one core."""

from __future__ import annotations

from collections.abc import Iterator

from bench import captures, limits
from bench.measure import Row, agree
from bench.peers import osip
from engine._native import sip


def rows(quick: bool) -> Iterator[Row]:
    """Messages a second beside oSIP's parser, which builds its structures for the same messages.

    oSIP decodes From, To, Via and so on into structures; the tokenizer writes spans, and values are decoded when
    they are asked for. Both see every octet and every header.
    """
    corpus = captures.signalling(quick)
    texts = captures.sip_datagrams(corpus.path)
    repeats = 2 if quick else 3
    peer = osip.run((texts.payload(row) for row in range(len(texts))), repeats)
    messages = [sip.scan(texts.payload(row)) for row in range(len(texts))]
    call_ids = [message.header("Call-ID")[0] for message in messages if message is not None]
    check, passed = agree(
        {"messages": (len(call_ids), peer.parsed), "Call-ID hash": (osip.call_id_hash(call_ids), peer.hash)}
    )
    seconds = min(sip.bench_scan(texts.buffer, texts.offsets, texts.lengths, 1) for _ in range(repeats + 1))
    octets = int(texts.lengths.sum())
    newlines = limits.newline_mask(corpus.path) * len(texts) / octets
    yield Row(
        "sip-tokenise", "msg/s", len(texts) / seconds, osip.NAME, len(texts) / peer.seconds,
        "newline mask", newlines, f"{check}; {sip.implementation()}, {octets / seconds / 1e9:.2f} GB/s", passed,
    )  # fmt: skip

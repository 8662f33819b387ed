"""Hostile RTP and RTCP: whatever comes, every count stays consistent and no read leaves the packet."""

from __future__ import annotations

from math import isfinite
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine._native import rtp as native
from tests.data import rtp_builder as build
from tests.data.rtp_builder import CALLEE, CALLER, START_NS, Datagram, StreamShape

TIMES = st.integers(-(2**63), 2**63 - 1)


def check(table: native.StreamTable) -> None:
    """What holds for every stream, however broken."""
    table.finish()
    row: dict[str, Any] = table.columns()
    for name, values in row.items():
        if values.dtype.kind == "f":
            assert all(isfinite(value) for value in values), name
    received = row["expected"] - row["lost"]
    assert np.all(row["lost"] <= row["expected"])
    assert np.all(received == row["packets"].astype(np.int64) - row["duplicates"] - row["strays"])
    assert np.all(row["loss_run_max"] <= row["lost"])
    assert np.all(row["loss_runs"] <= row["lost"])
    assert np.all(row["digit_count"] <= 32)
    assert np.all(row["mos_lq"] <= 4.5)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=80), TIMES, st.booleans(), st.booleans()), max_size=30))
def test_any_bytes_at_any_time_are_taken_or_refused(items: list[tuple[bytes, int, bool, bool]]) -> None:
    table = native.StreamTable()
    for payload, time_ns, expected, is_rtcp in items:
        build.feed(table, [Datagram(payload, time_ns, rtcp=is_rtcp)], expected=expected)
        assert native.classify(payload) in native.CLASSES
    check(table)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 65535),
            st.integers(0, 2**32 - 1),
            st.integers(0, 127),
            TIMES,
            st.binary(max_size=12),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_any_order_of_sequence_numbers_and_times_keeps_counts_true(
    items: list[tuple[int, int, int, int, bytes]],
) -> None:
    table = native.StreamTable()
    for sequence, timestamp, payload_type, time_ns, body in items:
        payload = build.rtp(sequence, timestamp, body, payload_type=payload_type)
        build.feed(table, [Datagram(payload, time_ns)])
    check(table)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-120, 3100), min_size=1, max_size=200))
def test_any_walk_of_sequence_numbers_keeps_counts_true(steps: list[int]) -> None:
    table, sequence = native.StreamTable(), 500
    for k, step in enumerate(steps):
        sequence += step
        payload = build.rtp(sequence, sequence * 160 & 0xFFFFFFFF, b"\x11\x22\x33")
        build.feed(table, [Datagram(payload, START_NS + k * 1_000_000)])
    check(table)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_rtcp_with_flipped_bytes_is_taken_or_refused(seed: int, flips: int) -> None:
    random = Random(seed)
    table = native.StreamTable()
    build.feed(table, build.stream(StreamShape(packets=3, ssrc=1), Random(1)))
    build.feed(table, build.stream(StreamShape(packets=3, ssrc=2, source=CALLEE, target=CALLER), Random(1)))
    compound = bytearray(
        build.sender_report(1, START_NS, 5, 6, 7, [build.report_block(2, fraction=9)])
        + build.source_description(1)
        + build.extended_report(
            1, build.voip_metrics(2), build.reference_time(START_NS), build.last_reference((2, 3, 4))
        )
        + build.bye(1)
    )
    for _ in range(flips):
        compound[random.randrange(len(compound))] = random.randrange(256)
    cut = bytes(compound[: random.randrange(len(compound)) + 1]) if random.random() < 0.3 else bytes(compound)
    wire = len(compound) if random.random() < 0.5 else 0
    build.feed(
        table, [Datagram(cut, START_NS + 5, "10.0.0.1:20001", "192.0.2.9:30001", rtcp=True, wire_length=wire)]
    )
    check(table)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=6), st.integers(0, 2000), st.booleans()), min_size=2, max_size=60),
    st.data(),
)
def test_merging_at_any_cut_keeps_counts_true(
    items: list[tuple[bytes, int, bool]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(items) - 1))
    packets = [
        Datagram(build.rtp(k, timestamp, body, payload_type=101, marker=marker), START_NS + k * 20_000_000)
        for k, (body, timestamp, marker) in enumerate(items)
    ]
    first, second = native.StreamTable(), native.StreamTable()
    build.feed(first, packets[:cut])
    build.feed(second, packets[cut:])
    first.merge(0, second, 0)
    check(first)


@pytest.mark.parametrize("seed", range(3))
def test_a_flood_of_ssrcs_on_one_flow_is_held_apart(seed: int) -> None:
    table = native.StreamTable(seed)
    packets = [
        Datagram(build.rtp(1, 2, b"x", ssrc=k * 0x10001 & 0xFFFFFFFF), START_NS + k) for k in range(3000)
    ]
    assert build.feed(table, packets) == list(range(3000))
    check(table)

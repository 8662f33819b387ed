"""Kept messages come back as a capture and as tables."""

from __future__ import annotations

import pytest

from engine.trace import read
from engine.trace.export import KeptMessage, pcap_of, tables_of
from engine.trace.ladder import as_json, ladder
from tests.data.scene import Scene


def kept_call() -> list[KeptMessage]:
    scene = Scene()
    scene.call(call_id="kept@x").basic(talk_s=1.0)
    tables = read(scene.pcap())
    m = tables.messages
    return [
        KeptMessage(
            int(m.time_ns[row]), tables.address(int(m.source[row])), tables.address(int(m.target[row])), "UDP", tables.text(row)
        )
        for row in range(len(m))
    ]


def test_a_kept_call_becomes_the_same_tables() -> None:
    messages = kept_call()
    tables = tables_of(messages)
    assert len(tables.messages) == len(messages)
    assert tables.call_id(0) == "kept@x"
    assert int(tables.calls.answer_row[0]) < len(messages)
    drawn = as_json(ladder(tables, 0))
    assert [message["text"] for message in drawn["messages"]] == [
        as_json(ladder(tables_of(messages), 0))["messages"][at]["text"] for at in range(len(messages))
    ]


def test_an_exported_capture_reads_back_with_times_and_ends() -> None:
    messages = kept_call()
    tables = read(b"".join(pcap_of(messages)))
    assert not tables.problems
    m = tables.messages
    for row, kept in enumerate(messages):
        assert tables.text(row) == kept.text
        assert int(m.time_ns[row]) == kept.time_ns
        assert (tables.address(int(m.source[row])), tables.address(int(m.target[row]))) == (kept.source, kept.target)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("[2001:db8::1]:5060", "[2001:db8::2]:5080", ("[2001:db8::1]:5060", "[2001:db8::2]:5080")),
        ("192.0.2.9:5061", "[2001:db8::2]:5060", ("[::ffff:192.0.2.9]:5061", "[2001:db8::2]:5060")),
        ("pbx.example.com", None, ("192.0.2.1:5060", "192.0.2.2:5060")),
        ("198.51.100.1", "198.51.100.2:99999", ("198.51.100.1:5060", "198.51.100.2:5060")),
    ],
)
def test_ends_of_every_kind_are_written(source: str | None, target: str | None, expected: tuple[str, str]) -> None:
    text = kept_call()[0].text
    tables = read(b"".join(pcap_of([KeptMessage(None, source, target, "TCP", text)])))
    m = tables.messages
    assert (tables.address(int(m.source[0])), tables.address(int(m.target[0]))) == expected


def ones_sum(data: bytes) -> int:
    total = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2))
    while total > 0xFFFF:
        total = total % 0x10000 + total // 0x10000
    return total


def test_the_checksums_of_an_exported_capture_are_right() -> None:
    pieces = list(pcap_of(kept_call()))
    for packet in pieces[2::2]:
        assert ones_sum(packet[:20]) == 0xFFFF  # RFC 1071: a right header sums to all ones
        length = len(packet) - 20
        pseudo = packet[12:20] + bytes((0, 17)) + length.to_bytes(2, "big")
        assert ones_sum(pseudo + packet[20:]) == 0xFFFF

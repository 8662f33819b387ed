"""JSON rows."""

from __future__ import annotations

import json


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("json_rows.json", "json_rows")
    assert [frame.time_ns for frame in frames] == [
        1_714_979_289_123_456_000,
        1_714_979_291_000_250_000,
        1_714_979_291_100_500_000,
        1_714_979_370_999_999_000,
    ]
    assert [(frame.source, frame.target) for frame in frames] == [
        ("192.0.2.10:5060", "198.51.100.20:5080"),
        ("198.51.100.20:5080", "192.0.2.10:5060"),
        ("192.0.2.10:5060", "198.51.100.20:5080"),
        ("192.0.2.10:5060", "198.51.100.20:5080"),
    ]
    assert [frame.direction for frame in frames] == [1, 2, 1, 1]
    assert {frame.transport for frame in frames} == {"UDP"}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is True for frame in frames)


def test_a_log_of_nested_objects_is_read(read, call):
    row = {
        "@timestamp": "2024-05-06T07:08:09.5Z",
        "source": {"ip": "192.0.2.1", "port": 5060},
        "log": {"sip": call[2].decode()},
    }
    row["destination"] = {"ip": "2001:db8::1", "port": 5061}
    (frame,) = read(json.dumps({"items": [row]}, indent=2).encode())
    assert (frame.source, frame.target, frame.text) == ("192.0.2.1:5060", "[2001:db8::1]:5061", call[2])
    assert frame.time_ns == 1_714_979_289_500_000_000


def test_a_broken_line_costs_itself(read, sample, call):
    lines = sample("json_rows.json").splitlines(keepends=True)
    lines[1] = lines[1][: len(lines[1]) // 2] + b"\n"
    assert [frame.text for frame in read(b"".join(lines))] == [call[0], *call[2:]]
    assert read.notes[0][0] == "unreadable-row"


def test_characters_beyond_ascii_survive(read, call):
    message = call[2].replace(b"Alice", "Zoë 日本".encode())
    for text in (
        json.dumps({"msg": message.decode()}),
        json.dumps({"msg": message.decode()}, ensure_ascii=False),
    ):
        (frame,) = read(text.encode())
        if "\\u" not in text:
            assert frame.text == message
        else:
            assert "日本".encode() in frame.text

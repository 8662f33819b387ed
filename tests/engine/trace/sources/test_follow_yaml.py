"""tshark follow, YAML."""

from __future__ import annotations

TIMES = [
    1_714_979_289_123_456_000,
    1_714_979_291_000_250_000,
    1_714_979_291_100_500_000,
    1_714_979_370_999_999_000,
]


def test_the_call_comes_out_as_it_was_on_the_wire(whole):
    frames = whole("follow_yaml.yaml", "follow_yaml")
    assert [frame.time_ns // 1000 for frame in frames] == [time // 1000 for time in TIMES]
    assert [(frame.source, frame.target) for frame in frames] == [
        ("192.0.2.10:5060", "198.51.100.20:5080"),
        ("198.51.100.20:5080", "192.0.2.10:5060"),
        ("192.0.2.10:5060", "198.51.100.20:5080"),
        ("192.0.2.10:5060", "198.51.100.20:5080"),
    ]
    assert [frame.direction for frame in frames] == [0] * 4
    assert {frame.transport for frame in frames} == {None}
    assert {frame.correlation for frame in frames} == {None}
    assert all(frame.date_known is True for frame in frames)


def test_a_file_that_ends_within_a_packet_keeps_those_before(read, sample, call):
    content = sample("follow_yaml.yaml")
    frames = read(content[: content.index(b"packet: 3") + 200])
    assert [frame.text for frame in frames][:2] == call[:2]

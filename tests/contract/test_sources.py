"""What holds for every trace format, old and new: adding one adds it here."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.trace.framing import starts
from engine.trace.sources import base

SAMPLES = Path(__file__).parents[1] / "data" / "traces"
WRITTEN_AT = 1_714_990_000.0
FILES = sorted(path.name for path in SAMPLES.iterdir() if path.is_file())
# Samples that are read as another format's: the same tool prints both.
SHARED = {
    "call": "plain",
    "tshark_jsonraw": "tshark_json",
    "tcpdump_verbose": "tcpdump",
    "hexdump": "tcpdump",
}
TEXT = [name for name, member in base.members().items() if member.native is None]

MESSAGE = (
    b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n"
)


def format_of(file: str) -> str:
    stem = file.partition(".")[0]
    return SHARED.get(stem, stem)


def content(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def read(data: bytes, **options: object) -> list[base.AnyFrame]:
    return list(base.frames(data, base.Options(mtime=WRITTEN_AT, **options)))  # type: ignore[arg-type]


def payload(frame: base.AnyFrame) -> bytes:
    return frame.text if isinstance(frame, base.Frame) else frame.packet


def test_every_text_format_has_a_sample():
    assert set(TEXT) <= {name.partition(".")[0] for name in FILES}


@pytest.mark.parametrize("name", TEXT)
def test_a_member_is_complete(name):
    member = base.members()[name]
    assert member.name == name
    assert member.title
    assert member.frames is not None
    assert all(suffix.startswith(".") for suffix in member.suffixes)
    for mark in member.marks:
        # Anything unbounded before a literal makes a search quadratic on a long line.
        assert b".*" not in mark.pattern.pattern
        assert b"[^\\n]*" not in mark.pattern.pattern


@pytest.mark.parametrize("file", FILES)
def test_a_sample_is_detected_as_its_own_format(file):
    assert base.detect(content(file)[:65536]).name == format_of(file)


@pytest.mark.parametrize("name", TEXT)
def test_no_other_sample_is_as_sure_of_a_format_as_its_own(name):
    member = base.members()[name]
    own = {file for file in FILES if name in (format_of(file), file.partition(".")[0])}
    sure = max(member.sniff(content(file)[:65536]) for file in own)
    assert 0 < sure <= 1
    for file in set(FILES) - own:
        mine = base.members()[format_of(file)]
        head = content(file)[:65536]
        assert member.sniff(head) <= mine.sniff(head)


@pytest.mark.parametrize(
    "name", [name for name in TEXT if base.members()[name].marks or base.members()[name].structured]
)
def test_a_format_reads_its_sample_by_itself(name):
    (file,) = [file for file in FILES if file.partition(".")[0] == name]
    member = base.members()[name]
    alone = list(member.frames(content(file), base.Options(mtime=WRITTEN_AT)))
    assert [payload(frame) for frame in alone] == [payload(frame) for frame in read(content(file))]


@pytest.mark.parametrize("file", FILES)
def test_an_input_cut_at_any_line_keeps_every_message_before_the_cut(file):
    data = content(file)
    frames = read(data)
    ends = [index + 1 for index, byte in enumerate(data) if byte == 10]
    for cut in ends[:: max(1, len(ends) // 40)]:
        kept = read(data[:cut])
        before = [payload(frame) for frame, following in pairwise(frames) if following.offset <= cut]
        assert [payload(frame) for frame in kept[: len(before)]] == before
        assert len(kept) <= len(frames)


@pytest.mark.parametrize("file", FILES)
def test_an_input_twice_over_holds_twice_the_messages(file):
    once = [payload(frame) for frame in read(content(file))]
    assert [payload(frame) for frame in read(content(file) + content(file))] == once * 2


@pytest.mark.parametrize("file", FILES)
def test_offsets_lie_in_the_input_and_ascend(file):
    offsets = [frame.offset for frame in read(content(file))]
    assert all(0 <= offset < len(content(file)) for offset in offsets)
    assert offsets == sorted(set(offsets))


MARKED = [file for file in FILES if base.members()[format_of(file)].marks]


@pytest.mark.parametrize("first", MARKED)
def test_one_input_may_hold_several_formats(first):
    others = [file for file in MARKED if file != first][:3]
    joined = [
        payload(frame) for frame in read(b"\n\n".join(content(file) for file in (first, *others, first)))
    ]
    assert joined == [payload(frame) for file in (first, *others, first) for frame in read(content(file))]


@pytest.mark.parametrize("file", [file for file in FILES if not base.members()[format_of(file)].structured])
def test_lines_of_junk_around_an_input_change_nothing(file):
    wanted = [payload(frame) for frame in read(content(file))]
    junk = b"2024-05-06 07:00:00 nothing to see\nplain words, and more: of them\n\n"
    assert [payload(frame) for frame in read(junk + content(file) + b"\n" + junk)] == wanted


JUNK = {
    "newlines": b"\n" * 500_000,
    "carriage returns": b"\r" * 500_000,
    "one byte over the limit": b"a" * 500_001,
    "methods": b"INVITE " * 71_000,
    "versions": b"SIP/2.0 200" * 45_000,
    "nothing but NULs": b"\0" * 500_000,
    "colours": b"\x1b[31m" * 100_000,
    "escapes that do not end": b"\x1b[" * 250_000,
    "quoting": b"> " * 250_000,
    "octal escapes": b"#012" * 125_000,
    "literal escapes": b"SIP/2.0\\r\\n" * 45_000,
    "braces": b"{" * 500_000,
    "brackets": b"[" * 500_000,
    "nested objects": b'{"a":' * 100_000,
    "objects that do not end": b'{"SIP/2.0":"\n' * 38_000,
    "empty objects": b'{"SIP/2.0":[' + b"{}," * 160_000,
    "quotes in a table": b"a,b,msg,SIP/2.0\n" + b'"' * 480_000,
    "rows in a dump": b"SIP/2.0 INSERT INTO t VALUES " + b"('" * 240_000,
    "elements": b'<pdml><packet><proto name="sip">' + b'<field name="sip.msg_hdr" ' * 19_000,
    "dumps": b"0000 45 00\n" * 45_000,
    "frames": b"Frame 1: 1 bytes on wire (1)\n" * 17_000,
    "arrows": b"<--- " * 100_000,
    "records": b"SIPMSGT L" * 20_000,
    "digits": b"1" * 500_000,
}


@pytest.mark.parametrize("kind", JUNK)
def test_junk_is_no_message_and_no_error(kind):
    base.detect(JUNK[kind][:65536])
    assert read(JUNK[kind]) == []


@pytest.mark.parametrize(
    ("line", "end"),
    [(b"INVITE sip:a SIP/2.0", b"\n"), (b"INVITE sip:a SIP/2.0", b"\r\n\r\n"), (b"SIP/2.0 200 OK", b"\r\n")],
)
def test_a_hundred_thousand_starts_are_a_hundred_thousand_messages(line, end):
    frames = read((line + end) * 100_000)
    assert len(frames) == 100_000
    assert {payload(frame) for frame in frames} == {line + b"\r\n\r\n"}


def test_utf_16_and_mixed_line_ends_of_any_number_are_read():
    assert len(read((MESSAGE * 5_000).decode().encode("utf-16"))) == 5_000
    mixed = MESSAGE + MESSAGE.replace(b"\r\n", b"\n")
    assert {payload(frame) for frame in read(mixed * 2_000)} == {MESSAGE}


class Counted(bytes):
    """Bytes that add up how much of themselves is looked through for line starts."""

    looked = 0

    def rfind(self, *parts: object) -> int:  # type: ignore[override]
        begin, end = parts[1], parts[2]
        assert isinstance(begin, int)
        assert isinstance(end, int)
        Counted.looked += end - begin
        return super().rfind(*parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "unit", [b"SIP/2.0 200 ", b"SIP/2.0 200 OK\n", b"INVITE sip:a SIP/2.0\n", b"x SIP/2.0\n"]
)
def test_no_byte_is_searched_twice_for_the_start_of_its_line(unit):
    for times in (1_000, 2_000):
        Counted.looked = 0
        data = Counted(unit * times)
        assert len(list(starts(data, 0, len(data)))) <= times
        assert Counted.looked <= len(data)


def test_nested_prefixes_come_off_together():
    prefix = b"<134>May  6 07:08:09 collector 2024-05-06T07:08:09Z pbx kamailio[12]: INFO: <script>: "
    rows = MESSAGE.replace(b"\r\n", b"\n").split(b"\n")[:-1]
    data = b"".join(prefix + row + b"\n" for row in rows)
    assert [payload(frame) for frame in read(data)] == [MESSAGE]


def test_what_a_note_says_holds_nothing_of_the_input():
    notes: list[tuple[str, int]] = []
    secret = b"-----BEGIN PRIVATE KEY-----4111111111111111"
    read(
        MESSAGE.replace(b"Call-ID", b"2024-05-06 07:08:09 " + secret + b"\r\n...\r\nCall-ID")
        + b'{"a":"'
        + secret,
        note=lambda kind, offset: notes.append((kind, offset)),
    )
    assert notes
    assert all("PRIVATE" not in kind and "4111" not in kind for kind, _ in notes)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(FILES), min_size=1, max_size=2), st.data())
def test_a_damaged_input_raises_nothing(files, data):
    damaged = bytearray(b"".join(content(file)[:6000] for file in files))
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
        if not damaged:
            break
    for frame in read(bytes(damaged)):
        assert len(payload(frame)) <= 1 << 18
        assert 0 <= frame.offset <= len(damaged)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_raise_nothing(data):
    base.detect(data)
    read(data)
    base.unreadable(data)


@pytest.mark.parametrize("magic", [b"GMBU", b"snoop\0\0\0", b"\x89PNG\r\n", b"%PDF-1.7"])
def test_files_that_only_look_like_traces_are_named(magic):
    assert base.unreadable(magic + bytes(60))
    assert base.unreadable(MESSAGE) is None

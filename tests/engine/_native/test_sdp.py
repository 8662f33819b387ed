"""SDP kernel: what it reads, what it flags, and the hostile descriptions of the field's own history."""

from __future__ import annotations

from random import Random

import pytest

from engine._native import sdp
from engine._native.sdp import (
    Candidate,
    CryptoSuite,
    Direction,
    Flag,
    FormatFlag,
    MediaType,
    Proto,
    Setup,
    Trait,
)
from engine._native.sip import AddressClass
from engine.sdp import parse
from tests.oracle import sdp_twin

HEAD = ("v=0", "o=alice 2890844526 7 IN IP4 192.0.2.10", "s=-", "c=IN IP4 192.0.2.10", "t=0 0")
AUDIO = "m=audio 49170 RTP/AVP 0 8"
KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"


def body(*lines: str, head: tuple[str, ...] = HEAD) -> bytes:
    return "".join(f"{line}\r\n" for line in (*head, *lines)).encode("latin-1")


def read(text: bytes) -> sdp.Description:
    """Scans, and holds every field against the plain-Python reading."""
    found = sdp.scan(text)
    assert found is not None
    assert found == sdp_twin.scan(text)
    return found


def line(*lines: str, head: tuple[str, ...] = HEAD) -> sdp.Media:
    """The first media row of a description with these lines behind its head."""
    return read(body(*lines, head=head)).media[0]


# ---- the session ----


def test_a_plain_offer_has_no_defect_and_every_field() -> None:
    d = read(body(f"{AUDIO} 101", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16", "a=ptime:20", "a=sendrecv"))
    media = d.media[0]
    assert d.flags == 0 and (d.media_count, d.media_total, d.line_count) == (1, 1, 10)
    assert (d.session_id, d.version, d.session_name) == (b"2890844526", 7, b"-")
    assert (media.connection.text, media.connection.port) == ("192.0.2.10", 49170)
    assert (media.media, media.proto, media.direction) == (MediaType.AUDIO, Proto.RTP_AVP, Direction.SENDRECV)
    assert media.codec_names() == ["PCMU", "PCMA", "telephone-event"]
    assert media.formats[2].fmtp == b"0-16" and media.ptime_ms == 20
    assert media.section.startswith(b"m=audio") and media.section.endswith(b"a=sendrecv\r\n")


def test_a_session_version_saturates() -> None:
    d = read(body(head=("v=0", f"o=- 1 {'9' * 40} IN IP4 192.0.2.1", "s=-", "t=0 0")))
    assert d.version == 2**63 - 1 and not d.flags


@pytest.mark.parametrize(
    "origin",
    ["", "- 1 2", "- x 2 IN IP4 192.0.2.1", "- 1 x IN IP4 192.0.2.1", "- 1 2 XX IP4 192.0.2.1", "- 1 2 IN IP6 192.0.2.1",
     "- 1 2 IN IP4 300.1.1.1", "two words 1 2 IN IP4 192.0.2.1"],
)  # fmt: skip
def test_a_broken_origin_is_flagged(origin: str) -> None:
    assert read(body(head=("v=0", f"o={origin}", "s=-", "t=0 0"))).flags == Flag.BAD_ORIGIN


def test_a_username_with_blanks_costs_only_itself() -> None:
    d = read(body(head=("v=0", "o=two words 1 2 IN IP4 192.0.2.1", "s=-", "t=0 0")))
    assert (d.session_id, d.version, d.origin_address.text) == (b"1", 2, "192.0.2.1")


def test_hashes_tell_a_new_version_from_a_new_description() -> None:
    first, later = read(body(AUDIO)), read(body(AUDIO, head=(HEAD[0], HEAD[1].replace(" 7 ", " 8 "), *HEAD[2:])))
    other = read(body(AUDIO, "a=sendonly"))
    stranger = read(body(AUDIO, head=(HEAD[0], HEAD[1].replace("526", "527"), *HEAD[2:])))
    assert first.origin_hash == later.origin_hash == other.origin_hash != stranger.origin_hash
    assert first.body_hash == later.body_hash == stranger.body_hash != other.body_hash


def test_lines_out_of_order_are_flagged_once_and_read() -> None:
    d = read(body("c=IN IP4 192.0.2.9", AUDIO, head=("v=0", "s=-", HEAD[1], "t=0 0")))
    assert d.flags == Flag.WRONG_ORDER
    assert d.version == 7 and d.media[0].connection.text == "192.0.2.9"


def test_rfc_8866_order_with_everything_optional_is_right() -> None:
    lines = ("v=0", HEAD[1], "s=x", "i=x", "u=http://e", "e=a@b", "p=+1", "c=IN IP4 192.0.2.1", "b=AS:1", "t=0 0", "r=1 1 0",
             "z=0 -1h", "t=1 2", "k=prompt", "a=x")  # fmt: skip
    section = ("m=audio 1 RTP/AVP 0", "i=y", "c=IN IP4 192.0.2.2", "c=IN IP4 192.0.2.3", "b=AS:64", "k=prompt", "a=y")
    d = read(body(*section, head=lines))
    assert d.flags == 0 and d.media[0].bandwidth_kbps == 64 and d.media[0].connection.text == "192.0.2.2"


def test_a_section_alone_is_read_as_the_trace_does_it() -> None:
    d = read(b"m=audio 4000 RTP/AVP 96 0\r\na=rtpmap:96 opus/48000/2\r\n")
    assert d.media[0].codec_names() == ["opus", "PCMU"] and Flag.NO_VERSION in d.flags


def test_line_ends_of_lf_alone_are_flagged_and_read() -> None:
    d = read(body(AUDIO).replace(b"\r\n", b"\n"))
    assert d.flags == Flag.BARE_LF and d.media[0].format_count == 2


def test_empty_lines_are_a_defect_only_in_the_middle() -> None:
    assert read(body(AUDIO) + b"\r\n\r\n").flags == 0
    assert read(body(AUDIO, "", "a=sendrecv")).flags == Flag.BAD_LINE


@pytest.mark.parametrize("text", [b"", b"\r\n", b"hello", b"x", b"x=1\r\n", b"v", b"=", b"\0\0\0"])
def test_what_holds_no_sdp_line_is_no_description(text: bytes) -> None:
    assert sdp.scan(text) is None and sdp_twin.scan(text) is None


# ---- codecs ----


@pytest.mark.parametrize("name", [name for name in sdp.CODECS if name])
def test_every_codec_is_known_by_its_name_in_any_case(name: str) -> None:
    codec = sdp.CODECS.index(name)
    clock = sdp.codec_clock_hz(codec) or 8000
    for text in (name, name.upper(), name.lower(), name.swapcase()):
        media = line("m=audio 1 RTP/AVP 96", f"a=rtpmap:96 {text}/{clock}")
        assert media.formats[0].codec == codec and media.codecs == 1 << codec and not media.formats[0].flags & 2
    for text in (name + "x", name[:-1], "x" + name, name + "\0"):
        if text.lower() not in {known.lower() for known in sdp.CODECS} | {"g729"}:
            assert line("m=audio 1 RTP/AVP 96", f"a=rtpmap:96 {text}/8000").formats[0].codec == 0


def test_static_payload_types_need_no_rtpmap() -> None:
    media = line("m=audio 1 RTP/AVP 0 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 2 31 34 26")
    assert not media.flags
    assert [f.clock_rate_hz for f in media.formats][:10] == [8000, 8000, 8000, 8000, 16000, 8000, 8000, 8000, 44100, 44100]
    assert media.formats[8].channels == 2 and media.formats[9].channels == 1
    assert media.codec_names()[-1] == "" and media.formats[-1].clock_rate_hz == 90000


@pytest.mark.parametrize(
    ("mapping", "wrong"),
    [("G722/8000", False), ("G722/16000", True), ("opus/48000/2", False), ("opus/16000", True), ("AMR-WB/16000", False),
     ("AMR-WB/8000", True), ("PCMU/16000", True), ("speex/32000", False), ("telephone-event/48000", False), ("H264/90000", False)],
)  # fmt: skip
def test_a_clock_that_the_codec_does_not_have_is_flagged(mapping: str, wrong: bool) -> None:
    entry = line("m=audio 1 RTP/AVP 96", f"a=rtpmap:96 {mapping}").formats[0]
    assert bool(entry.flags & FormatFlag.CLOCK_BAD) is wrong
    assert entry.clock_rate_hz == int(mapping.split("/")[1])


def test_a_static_payload_type_of_another_codec_is_flagged() -> None:
    assert line(AUDIO, "a=rtpmap:0 opus/48000/2").flags & Flag.STATIC_REDEFINED
    assert not line(AUDIO, "a=rtpmap:0 pcmu/8000").flags & Flag.STATIC_REDEFINED
    assert not line("m=audio 1 RTP/AVP 2", "a=rtpmap:2 G726-32/8000").flags


def test_one_payload_type_of_two_codecs_is_flagged_and_the_first_holds() -> None:
    media = line("m=audio 1 RTP/AVP 96", "a=rtpmap:96 opus/48000/2", "a=rtpmap:96 AMR/8000")
    assert media.flags == Flag.PT_REPEATED and media.codec_names() == ["opus"]
    assert not line("m=audio 1 RTP/AVP 96", "a=rtpmap:96 foo/8000", "a=rtpmap:96 FOO/8000").flags


def test_of_several_fmtp_lines_the_last_that_says_something_counts() -> None:
    media = line(AUDIO, "a=fmtp:8 a=1", "a=fmtp:8 a=2", "a=fmtp:0 x", "a=fmtp:8 ")
    assert [f.fmtp for f in media.formats] == [b"x", b"a=2"] and media.flags == Flag.FMTP_BAD


def test_codecs_hash_knows_order_and_mapping() -> None:
    hashes = [
        line(f"m=audio 1 RTP/AVP {formats}", f"a=rtpmap:96 {name}/8000").codecs_hash
        for formats, name in (("0 8", "AMR"), ("8 0", "AMR"), ("0 96", "AMR"), ("0 96", "iLBC"), ("0 8", "x"))
    ]
    assert hashes[0] == hashes[4] and len(set(hashes)) == 4


# ---- levels ----


def test_session_level_attributes_reach_every_media_line() -> None:
    level = ("a=sendonly", "a=setup:actpass", "a=fingerprint:sha-256 AB:CD", "a=ice-ufrag:x", "a=ice-lite", "a=record:on")
    d = read(body(*level, AUDIO, "a=recvonly", "m=video 5 RTP/AVP 31"))
    own, inherited = d.media
    common = Trait.FINGERPRINT | Trait.ICE | Trait.ICE_LITE | Trait.RECORD | Trait.SESSION_CONNECTION
    assert (own.direction, own.traits) == (Direction.RECVONLY, common)
    assert (inherited.direction, inherited.traits) == (Direction.SENDONLY, common | Trait.SESSION_DIRECTION)
    assert own.setup == inherited.setup == Setup.ACTPASS
    assert own.fingerprint_hash == inherited.fingerprint_hash != 0


def test_media_level_wins_over_session_level() -> None:
    media = line(AUDIO, "c=IN IP6 2001:db8::1", "a=setup:active", "a=fingerprint:sha-1 01", head=(*HEAD, "a=setup:passive"))
    assert media.connection.text == "2001:db8::1" and media.connection.port == 49170
    assert media.setup == Setup.ACTIVE and Trait.SESSION_CONNECTION not in media.traits


def test_a_fingerprint_compares_in_any_case() -> None:
    assert (
        line(AUDIO, "a=fingerprint:SHA-256 ab:cd").fingerprint_hash
        == line(AUDIO, "a=fingerprint:sha-256 AB:CD").fingerprint_hash
        != line(AUDIO, "a=fingerprint:sha-256 AB:CE").fingerprint_hash
    )


def test_conflicting_duplicates_are_flagged() -> None:
    assert line(AUDIO, "a=sendonly", "a=recvonly").flags == Flag.DIRECTION_REPEATED
    assert line(AUDIO, "a=ptime:20", "a=ptime:30").flags == Flag.PTIME_REPEATED
    assert not line(AUDIO, "a=ptime:20", "a=ptime:20", "a=sendonly", "a=sendonly").flags


def test_rtcp_attributes_are_told_apart() -> None:
    media = line(AUDIO, "a=rtcp:49175 IN IP4 192.0.2.11", "a=rtcp-mux", "a=rtcp-rsize")
    assert media.rtcp_port == 49175
    assert media.traits & ~Trait.SESSION_CONNECTION == Trait.RTCP | Trait.RTCP_MUX | Trait.RTCP_RSIZE
    assert Trait.RTCP_MUX_ONLY in line(AUDIO, "a=rtcp-mux-only").traits
    assert line(AUDIO, "a=rtcp-muxx", "a=rtcp-mux-onl", "a=sendonlyy", "a=xptime:9").traits == Trait.SESSION_CONNECTION


def test_bandwidth_prefers_as_and_reads_tias_in_kbit() -> None:
    assert line(AUDIO, "b=TIAS:64500", "a=x").bandwidth_kbps == 64
    assert line(AUDIO, "b=TIAS:64500", "b=AS:80", "a=x").bandwidth_kbps == 80
    assert line(AUDIO, "b=AS:99999999999").bandwidth_kbps == 2**32 - 1
    assert line(AUDIO, head=(*HEAD[:4], "b=AS:5", "t=0 0")).bandwidth_kbps == 0


def test_port_and_count_of_hierarchical_streams() -> None:
    media = line("m=video 49170/2 RTP/AVP 31")
    assert (media.connection.port, media.port_count) == (49170, 2)


# ---- hostile descriptions ----


@pytest.mark.parametrize("wrong", ["4294967296", "128", "255", "-1", "text", "1.5", "0x60", "99999999999999999999999"])
def test_payload_types_out_of_range_are_flagged_and_make_no_row(wrong: str) -> None:
    """D01: a payload type is an index somewhere else."""
    media = line(f"m=audio 17000 RTP/AVP 0 {wrong} 8")
    assert media.flags == Flag.PT_RANGE
    assert [f.payload_type for f in media.formats] == [0, 8] and media.format_total == 3


def test_ten_thousand_formats_are_counted_and_thirty_two_kept() -> None:
    """D01: 10,000 formats."""
    media = line("m=audio 1 RTP/AVP " + " ".join(str(n % 128) for n in range(10_000)), "a=rtpmap:96 opus/48000/2")
    assert (media.format_total, media.format_count) == (10_000, sdp.FORMATS_MAX)
    assert [f.payload_type for f in media.formats] == list(range(32))
    assert line("m=audio 1 RTP/AVP" + " 0" * 70_000).format_total == 65535


@pytest.mark.parametrize("value", ["", "96", "x 0-16", "128 0-16", " ", "96 a=\0", "97 0-16", "-1 x"])
def test_fmtp_without_sense_is_flagged(value: str) -> None:
    """D02: fmtp with NUL, without a payload type, with one that is not listed."""
    assert line("m=audio 1 RTP/AVP 96", "a=rtpmap:96 opus/48000/2", f"a=fmtp:{value}").flags == Flag.FMTP_BAD


@pytest.mark.parametrize(
    "value",
    ["", "96", "96 opus", "96 opus/", "96 opus/0", "96 opus/4294967296", "96 opus/48000/0", "96 opus/48000/256", "96 /8000",
     "x opus/48000", "128 opus/48000", "96 opus/48000/2 x", "96 opus/-1", "96 opus/48000/"],
)  # fmt: skip
def test_rtpmap_without_sense_is_flagged_and_leaves_a_sound_row(value: str) -> None:
    """D02: rtpmap that is empty, rate 0 or 2^32, channels 0."""
    media = line("m=audio 1 RTP/AVP 96", f"a=rtpmap:{value}")
    assert Flag.RTPMAP_BAD in media.flags
    assert media.formats[0].channels >= 1 and media.formats[0].clock_rate_hz in (0, 48000)


def test_255_channels_are_legal() -> None:
    """D02: channels 255."""
    media = line("m=audio 1 RTP/AVP 96", "a=rtpmap:96 L16/48000/255")
    assert not media.flags and media.formats[0].channels == 255


@pytest.mark.parametrize("length", [1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 1024, 60_000])
def test_long_words_are_read_whole(length: int) -> None:
    """D03: media type and proto of 1,024 letters."""
    word = "x" * length
    media = line(f"m={word} 17000 {word} 0")
    assert (media.media, media.proto, media.format_total, media.format_count) == (MediaType.OTHER, Proto.OTHER, 1, 0)
    assert line(f"m=audio 1 {word}/RTP/AVP 0").format_count == 1
    assert line("m=audio 1 RTP/AVP 96", f"a=rtpmap:96 {word}/8000").formats[0].name == word


@pytest.mark.parametrize(
    "value",
    ["", "IN", "IN IP4", "IN IP4 " + "9" * 512, "IN IP6 2001:::::1", "IN IP4 2001:db8::1", "IN IP6 192.0.2.1", "IN IP4 224.2.1.1",
     "IN IP4 224.2.1.1/256", "IN IP4 224.2.1.1/127/0", "IN IP4 192.0.2.1/24", "XX IP4 192.0.2.1", "IN IP4 192.0.2.1 x",
     "IN IP6 ff15::101/3/3"],
)  # fmt: skip
def test_a_broken_connection_is_flagged(value: str) -> None:
    """D04: c= with 512 digits, a broken IPv6 literal, a wrong multicast TTL."""
    assert line(AUDIO, f"c={value}").flags == Flag.BAD_CONNECTION


@pytest.mark.parametrize(
    "value",
    ["IN IP4 224.2.1.1/127", "IN IP4 224.2.1.1/127/3", "IN IP6 ff15::101/3", "IN IP6 ff15::101", "in ip4 host.example.com"],
)
def test_multicast_and_names_are_sound(value: str) -> None:
    """D04: multicast TTL."""
    assert not line(AUDIO, f"c={value}").flags


def test_a_media_line_without_any_connection_has_no_address() -> None:
    """D04: c= missing everywhere; nothing left over from another description is used."""
    read(body(AUDIO))
    d = read(body(AUDIO, "m=audio 0 RTP/AVP 0", head=(HEAD[0], HEAD[1], "s=-", "t=0 0")))
    assert d.flags == d.media[0].flags == Flag.NO_CONNECTION
    assert d.media[0].connection == sdp_twin.NOWHERE._replace(port=49170)
    assert d.media[1].flags == 0, "a refused line needs no address"


@pytest.mark.parametrize(
    ("host", "kind"),
    [("0.0.0.0", "UNSPECIFIED"), ("127.0.0.1", "LOOPBACK"), ("169.254.169.254", "LINK_LOCAL"), ("255.255.255.255", "BROADCAST"),
     ("10.0.0.1", "PRIVATE"), ("100.64.0.1", "CGNAT"), ("192.0.2.1", "PUBLIC")],
)  # fmt: skip
@pytest.mark.parametrize("port", [0, 1, 8080, 65535])
def test_addresses_that_media_must_not_go_to_are_classed(host: str, kind: str, port: int) -> None:
    """D04, D13: media pointed at 0.0.0.0, loopback, link-local, broadcast; ports 0, 1 and one of our own."""
    media = line(f"m=audio {port} RTP/AVP 0", f"c=IN IP4 {host}")
    assert media.connection.kind == AddressClass[kind] and media.connection.port == port and not media.flags


@pytest.mark.parametrize(("host", "kind"), [("::1", "LOOPBACK"), ("::", "UNSPECIFIED"), ("fe80::1", "LINK_LOCAL")])
def test_ipv6_addresses_that_media_must_not_go_to_are_classed(host: str, kind: str) -> None:
    """D13: ::1 and ::."""
    assert line(AUDIO, f"c=IN IP6 {host}").connection.kind == AddressClass[kind]


@pytest.mark.parametrize("port", ["65536", "-1", "4294967296", "x", "49170/0", "49170/x", "/2"])
def test_ports_out_of_range_are_flagged(port: str) -> None:
    """D04: ports."""
    assert Flag.PORT_BAD in line(f"m=audio {port} RTP/AVP 0").flags


@pytest.mark.parametrize("letter", "vosiuepcbtrzkam")
@pytest.mark.parametrize("end", ["", "=", "=\r\n", "\r\n", "=\n", "=\0"])
def test_a_line_may_end_anywhere(letter: str, end: str) -> None:
    """D05: a line that ends right after x=, one without =, a file that ends after the type letter."""
    for text in (letter + end, "v=0\r\n" + letter + end, body(AUDIO).decode() + letter + end):
        assert sdp.scan(text.encode()) == sdp_twin.scan(text.encode())


def test_v_alone_is_a_description_that_lacks_everything_else() -> None:
    """D05: only v=0."""
    d = read(b"v=0")
    assert d.flags == Flag.NO_ORIGIN | Flag.NO_SESSION_NAME | Flag.NO_TIME and d.media == [] and d.version == -1
    assert read(b"v=1\r\n").flags & Flag.NO_VERSION


def test_static_types_beside_red_and_events_are_all_known() -> None:
    """D06: static payload types without rtpmap together with RED and telephone-event."""
    media = line("m=audio 1 RTP/AVP 0 8 98 101", "a=rtpmap:98 red/8000", "a=fmtp:98 0/0", "a=rtpmap:101 telephone-event/8000")
    assert not media.flags and media.codec_names() == ["PCMU", "PCMA", "red", "telephone-event"]


def test_a_dynamic_type_without_rtpmap_is_flagged_and_has_no_codec() -> None:
    """D06: dynamic payload type without rtpmap."""
    media = line("m=audio 1 RTP/AVP 0 97")
    assert media.flags == Flag.PT_UNMAPPED
    assert media.formats[1][:4] == (97, 0, "", 0) and media.codecs == 1 << sdp.CODECS.index("PCMU")
    assert not line("m=audio 0 RTP/AVP 97").flags, "a refused line need not say"


@pytest.mark.parametrize(
    ("value", "ms", "sound"),
    [("20", 20, True), ("2.5", 2, True), ("0", 0, False), ("-1", 0, False), ("4294967295", 65535, False), ("x", 0, False),
     ("", 0, False), ("20.", 20, False), ("65535", 65535, True)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["ptime", "maxptime"])
def test_packet_times_are_clipped_and_flagged(name: str, value: str, ms: int, sound: bool) -> None:
    """D07: ptime 0, -1, 4294967295."""
    media = line(AUDIO, f"a={name}:{value}")
    assert (media.ptime_ms, media.maxptime_ms) == ((ms, 0) if name == "ptime" else (0, ms))
    assert media.flags == (Flag(0) if sound else Flag.PTIME_BAD)


def test_a_maxptime_below_ptime_is_flagged_and_each_side_keeps_its_own() -> None:
    """D07: maxptime below ptime; asymmetric ptime of offer and answer."""
    assert line(AUDIO, "a=ptime:40", "a=maxptime:20").flags == Flag.PTIME_BAD
    assert line(AUDIO, "a=maxptime:40", "a=ptime:40").flags == 0
    offer, answer = line(AUDIO, "a=ptime:20"), line(AUDIO, "a=ptime:60")
    assert (offer.ptime_ms, answer.ptime_ms) == (20, 60) and not offer.flags | answer.flags


def test_three_hundred_crypto_lines_are_counted_to_255() -> None:
    """D08: 68 and more a=crypto lines."""
    lines = [f"a=crypto:{n} AES_CM_128_HMAC_SHA1_80 inline:{KEY}" for n in range(1, 301)]
    assert line(AUDIO, *lines[:68]).crypto_count == 68
    media = line(AUDIO, *lines)
    assert (media.crypto_count, media.crypto_suites, media.flags) == (255, CryptoSuite.AES_CM_128_SHA1_80, 0)


@pytest.mark.parametrize(
    "value",
    [f"AES_CM_128_HMAC_SHA1_80 inline:{KEY}A", f"AES_CM_128_HMAC_SHA1_80 inline:{KEY[1:]}", "AES_CM_128_HMAC_SHA1_80 inline:",
     f"AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^128", f"AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:255",
     f"AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:0", f"AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4|9", "AES_CM_128_HMAC_SHA1_80",
     f"AES_CM_128_HMAC_SHA1_80 {KEY}", "", f"AES_256_CM_HMAC_SHA1_80 inline:{KEY}", f"AES_CM_128_HMAC_SHA1_80 inline:{KEY};x"],
)  # fmt: skip
def test_keys_that_no_suite_takes_are_flagged(value: str) -> None:
    """D08: key too short or long, lifetime 2^128, MKI length 255."""
    media = line(AUDIO, f"a=crypto:1 {value}")
    assert media.flags == Flag.CRYPTO_BAD and media.crypto_count == 1


@pytest.mark.parametrize(
    ("suite", "key", "bit"),
    [("AES_CM_128_HMAC_SHA1_80", KEY, "AES_CM_128_SHA1_80"), ("AES_CM_128_HMAC_SHA1_32", KEY, "AES_CM_128_SHA1_32"),
     ("F8_128_HMAC_SHA1_80", KEY, "F8_128_SHA1_80"), ("AES_192_CM_HMAC_SHA1_80", "k" * 51 + "=", "AES_192_CM_SHA1_80"),
     ("AES_256_CM_HMAC_SHA1_80", "k" * 62 + "==", "AES_256_CM_SHA1_80"), ("AES_256_CM_HMAC_SHA1_32", "k" * 62, "AES_256_CM_SHA1_32"),
     ("AES_CM_256_HMAC_SHA1_80", "k" * 62, "AES_256_CM_SHA1_80"), ("AEAD_AES_128_GCM", "k" * 38 + "==", "AEAD_AES_128_GCM"),
     ("AEAD_AES_256_GCM", "k" * 59 + "=", "AEAD_AES_256_GCM"), ("NULL_HMAC_SHA1_80", KEY, "NULL_SHA1_80"), ("X_NEW", "k", "UNKNOWN")],
)  # fmt: skip
def test_each_suite_has_its_bit_and_its_key_length(suite: str, key: str, bit: str) -> None:
    """D08: unknown suite."""
    media = line(AUDIO, f"a=crypto:1 {suite} inline:{key}|2^20|1:4")
    assert media.crypto_suites == CryptoSuite[bit] and not media.flags and media.crypto_key_hash


def test_unencrypted_session_parameters_and_equal_keys_are_seen() -> None:
    """D08: keys; RFC 4568 section 6.3."""
    clear = line(AUDIO, f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=1 UNENCRYPTED_SRTCP")
    other = line(AUDIO, f"a=crypto:7 AES_CM_128_HMAC_SHA1_32 inline:{KEY}|2^20", f"a=crypto:8 X inline:{KEY[::-1]}")
    assert CryptoSuite.UNENCRYPTED in clear.crypto_suites and CryptoSuite.UNENCRYPTED not in other.crypto_suites
    assert clear.crypto_key_hash == other.crypto_key_hash
    assert read(body(f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}", AUDIO)).flags == Flag.CRYPTO_BAD


CANDIDATE = "a=candidate:{foundation} {component} {transport} 2130706431 {host} {port} typ {kind}"


def candidate(**parts: object) -> str:
    whole = {"foundation": "1", "component": 1, "transport": "UDP", "host": "192.0.2.1", "port": 4000, "kind": "host"} | parts
    return CANDIDATE.format(**whole)


@pytest.mark.parametrize(
    ("parts", "bits"),
    [({}, Candidate.HOST | Candidate.HOST_PUBLIC), ({"host": "10.0.0.1"}, Candidate.HOST | Candidate.PRIVATE),
     ({"kind": "srflx"}, Candidate.SRFLX), ({"kind": "relay"}, Candidate.RELAY), ({"kind": "prflx"}, Candidate.PRFLX),
     ({"host": "3f2a.local"}, Candidate.HOST | Candidate.MDNS), ({"component": 2}, 0), ({"transport": "TCP"}, 0),
     ({"transport": "udp", "host": "fd00::1"}, Candidate.HOST | Candidate.PRIVATE), ({"kind": "new"}, 0)],
)  # fmt: skip
def test_candidates_of_rtp_over_udp_are_classed(parts: dict[str, object], bits: int) -> None:
    media = line(AUDIO, candidate(**parts))
    assert media.candidates == bits and media.candidate_count == 1 and Trait.ICE in media.traits and not media.flags


@pytest.mark.parametrize(
    "parts",
    [{"port": 0}, {"port": 65536}, {"foundation": "f" * 4096}, {"foundation": "f" * 60_000}, {"component": 0}, {"component": 257},
     {"kind": ""}, {"host": "1.2.3.4.5"}],
)  # fmt: skip
def test_candidates_out_of_range_are_flagged(parts: dict[str, object]) -> None:
    """D09: port 0 and 65536, a foundation of 4 KiB, one candidate of 60 KiB."""
    media = line(AUDIO, candidate(**parts))
    assert media.flags == Flag.CANDIDATE_BAD and media.candidates == 0 and media.candidate_count == 1


def test_sixty_four_kib_of_candidates_are_counted() -> None:
    """D09: 64 KiB of a=candidate."""
    count = 65536 // (len(candidate()) + 2)
    media = line(AUDIO, *[candidate()] * count)
    assert media.candidate_count == count and not media.flags


def test_media_lines_beyond_the_capacity_are_counted() -> None:
    """D10: the 33rd m-line."""
    text = body(*[f"m=audio {port} RTP/AVP 0" for port in range(1, 41)], "a=rtpmap:0 x/1", "m=bad")
    found = sdp.scan(text, 32)
    whole = read(text)
    assert found is not None and (found.media_count, found.media_total) == (32, 41)
    assert found.flags == Flag.TOO_MANY and found.media == whole.media[:32]
    none = sdp.scan(text, 0)
    assert none is not None and none.media == [] and none.media_total == 41


def test_bundle_leaves_out_lines_whose_mid_it_does_not_name() -> None:
    """D10: a bundle group that names missing mids."""
    lines = ("m=audio 9 RTP/AVP 0", "a=mid:a", "m=video 9 RTP/AVP 31", "a=mid:b", "m=video 9 RTP/AVP 31")
    d = read(body("a=group:LS b", "a=group:BUNDLE a gone", *lines))
    assert [Trait.BUNDLED in media.traits for media in d.media] == [True, False, True]
    assert [Trait.MID in media.traits for media in d.media] == [True, True, False], "a line without mid is told by it"
    assert [media.mid for media in d.media] == [b"a", b"b", b""]
    for other in ("a=group:LS a", "a=group:BUNDLE", "a=x"):
        assert not any(Trait.BUNDLED in media.traits for media in read(body(other, *lines)).media)


def test_labels_are_each_lines_own_even_when_they_repeat() -> None:
    """D10: a=label duplicates and missing ones; an answer with fewer lines than the offer."""
    offer = read(body(AUDIO, "a=label:1", AUDIO, "a=label:1", AUDIO))
    answer = read(body(AUDIO, "a=label:1"))
    assert [media.label for media in offer.media] == [b"1", b"1", b""]
    assert [Trait.LABEL in media.traits for media in offer.media] == [True, True, False]
    assert answer.media_total < offer.media_total


def test_a_refused_fax_is_a_line_with_port_0() -> None:
    """D11: T.38 m=image port 0 in a re-INVITE answer."""
    media = line("m=image 0 udptl t38", head=(HEAD[0], HEAD[1], "s=-", "t=0 0"))
    assert (media.media, media.proto, media.connection.port, media.flags) == (MediaType.IMAGE, Proto.UDPTL, 0, 0)
    assert media.formats == [] and media.format_total == 1 and media.codecs == 1 << sdp.CODECS.index("t38")


def test_a_direction_at_the_line_wins_and_the_session_is_no_conflict() -> None:
    """D12: session-level and media-level direction conflict."""
    media = line(AUDIO, "a=sendrecv", head=(*HEAD, "a=inactive"))
    assert media.direction == Direction.SENDRECV and not media.flags and Trait.SESSION_DIRECTION not in media.traits


def test_hold_by_address_is_seen_and_a_thousand_holds_differ_in_version_only() -> None:
    """D12: hold by 0.0.0.0, hold storms."""
    held = parse(body(AUDIO, head=(*HEAD[:3], "c=IN IP4 0.0.0.0", "t=0 0")))
    assert held is not None and held.media[0].is_held and held.media[0].direction == "sendrecv"
    storm = [read(body(AUDIO, "a=sendonly", head=(HEAD[0], f"o=- 1 {n} IN IP4 192.0.2.1", "s=-", "t=0 0"))) for n in range(1000)]
    assert len({d.body_hash for d in storm}) == len({d.origin_hash for d in storm}) == 1
    assert [d.version for d in storm] == list(range(1000))


def test_media_at_our_own_http_port_is_only_an_address() -> None:
    """D13: nothing is resolved, connected or refused here; class and port are what a policy needs."""
    media = line("m=audio 8080 RTP/AVP 0", "c=IN IP4 127.0.0.1")
    assert (media.connection.kind, media.connection.port) == (AddressClass.LOOPBACK, 8080)


# ---- the friendly face ----


def test_the_friendly_face_names_what_the_kernel_numbers() -> None:
    d = parse(body("a=group:BUNDLE 0", "m=audio 9 UDP/TLS/RTP/SAVPF 111 0", "a=mid:0", "a=rtpmap:111 opus/48000/2",
                   "a=fmtp:111 minptime=10; useinbandfec=1;x", "a=setup:actpass", "a=fingerprint:sha-256 AB", "a=inactive",
                   candidate(host="10.0.0.1"), "a=ptime:0"))  # fmt: skip
    assert d is not None
    media = d.media[0]
    assert (d.session_id, d.version, d.origin_host, d.session_name) == ("2890844526", 7, "192.0.2.10", "-")
    assert (media.kind, media.proto, media.direction, media.setup) == ("audio", "UDP/TLS/RTP/SAVPF", "inactive", "actpass")
    assert media.codecs[0].parameters == {"minptime": "10", "useinbandfec": "1", "x": ""}
    assert (media.codecs[0].name, media.codecs[0].channels, media.codecs[1].name) == ("opus", 2, "PCMU")
    assert media.is_encrypted and media.is_held and not media.is_refused and media.mid == "0"
    assert media.candidates == ("host", "private") and "bundled" in media.traits
    assert media.defects == d.defects == ["a ptime or maxptime is no time, or maxptime is below ptime"]
    again = parse(body("a=sendonly"))
    assert again is not None and d.same_origin(again) and not d.same_content(again)
    assert parse(b"no description") is None


def test_every_flag_has_its_sentence() -> None:
    from engine.sdp.description import DEFECTS, PROTOS

    assert list(DEFECTS) == list(Flag) and set(PROTOS) == set(Proto) - {Proto.OTHER}


# ---- in a message ----


@pytest.mark.parametrize(
    ("content_type", "found"),
    [(b"application/sdp", True), (b"Application/SDP; charset=utf-8", True), (b"text/plain", False), (b"", True)],
)
def test_the_description_of_a_message_is_found_by_its_type(content_type: bytes, found: bool) -> None:
    text = body(AUDIO)
    header = b"Content-Type: " + content_type + b"\r\n" if content_type else b""
    message = b"INVITE sip:b@example.com SIP/2.0\r\n" + header + b"Content-Length: %d\r\n\r\n" % len(text) + text
    assert sdp.of_message(message) == (sdp.scan(text) if found else None)
    assert sdp.of_message(b"no message") is None


def test_the_description_in_a_multipart_message_is_found() -> None:
    text = body(AUDIO)
    parts = b"--b\r\nContent-Type: text/plain\r\n\r\nv=0\r\n--b\r\nContent-Type: application/sdp\r\n\r\n" + text + b"--b--\r\n"
    head = b'INVITE sip:b@example.com SIP/2.0\r\nContent-Type: multipart/mixed;boundary="b"\r\n'
    message = head + b"Content-Length: %d\r\n\r\n" % len(parts) + parts
    assert sdp.of_message(message) == sdp.scan(text.removesuffix(b"\r\n"))


def test_random_attributes_never_differ_from_the_twin() -> None:
    random = Random(8866)
    names = ["rtpmap", "fmtp", "ptime", "maxptime", "crypto", "candidate", "setup", "mid", "label", "rtcp", "rtcp-mux", "group"]
    letters = "0123456789 /:;|=.-\tabcAVP"
    for _ in range(400):
        lines = [f"a={random.choice(names)}:{''.join(random.choices(letters, k=random.randrange(24)))}" for _ in range(8)]
        read(body(AUDIO, *lines))

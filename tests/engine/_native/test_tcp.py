"""TCP streams: ordering, framing, connections, WebSocket and HEP inside, and bounded memory."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from engine._native.packet import Tcp
from tests.data import capture_builder as build

if TYPE_CHECKING:
    from engine._native.packet import Packet

SNAPPED, HEP = 1, 128
SIP_UDP, SIP_TCP, SIP_TLS, SIP_WS = 1, 2, 3, 5
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 5060)
MASK = b"\x01\x02\x03\x04"


def message(number: int = 1, body: bytes = b"", name: str = "Content-Length") -> bytes:
    head = f"MESSAGE sip:bob@biloxi.com SIP/2.0\r\nVia: SIP/2.0/TCP pc;branch=z9hG4bK{number}\r\nCall-ID: {number}\r\n"
    return head.encode() + f"{name}: {len(body)}\r\n\r\n".encode() + body


def answer(number: int = 1) -> bytes:
    return f"SIP/2.0 200 OK\r\nCall-ID: {number}\r\nContent-Length: 0\r\n\r\n".encode()


def segment(payload: bytes, sequence: int, flags: int = build.ACK, acknowledgement: int = 0, back: bool = False) -> bytes:
    source, target = (SERVER, CLIENT) if back else (CLIENT, SERVER)
    inner = build.tcp(payload, source[1], target[1], sequence, acknowledgement, flags)
    return build.ethernet(build.ipv4(inner, source[0], target[0], build.IP_TCP))


SYNS = [segment(b"", 999, build.SYN), segment(b"", 4999, build.SYN | build.ACK, 1000, back=True)]


class Listener:
    """Pushes frames and keeps what came out."""

    def __init__(self, connections: int = 64, buffers: int = 16, opened: bool = True) -> None:
        self.tcp = Tcp(connections, buffers)
        self.events: list[tuple[str, Packet, int]] = []
        if opened:
            self.push(SYNS)
            self.events.clear()

    def push(self, frames: Iterable[bytes], time_ns: int | None = None) -> Listener:
        for frame in frames:
            self.events += self.tcp.push(frame, time_ns=time_ns)
        return self

    def finish(self) -> Listener:
        self.events += self.tcp.finish()
        return self

    @property
    def messages(self) -> list[bytes]:
        return [packet["payload"] for name, packet, _ in self.events if name == "message"]

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.events]

    @property
    def problems(self) -> dict[str, int]:
        return {kind: count for kind, (count, _) in self.tcp.problems.items()}


def cut(stream: bytes, sizes: Iterable[int], first: int = 1000) -> list[tuple[int, bytes]]:
    """(sequence number, bytes) of the pieces of a stream."""
    pieces, at = [], 0
    for size in sizes:
        if at < len(stream):
            pieces.append(((first + at) % 2**32, stream[at : at + size]))
            at += size
    if at < len(stream):
        pieces.append(((first + at) % 2**32, stream[at:]))
    return pieces


def frames_of(pieces: Iterable[tuple[int, bytes]]) -> list[bytes]:
    return [segment(payload, sequence) for sequence, payload in pieces]


# ---- framing ----


def test_a_conversation_gives_its_messages_in_order_with_their_segments() -> None:
    frames = build.tcp_conversation([(True, message(1, b"body")), (False, answer(1)), (True, message(2))])
    listener = Listener(opened=False).push(frames).finish()
    assert listener.names == ["opened", "message", "message", "message", "closed"]
    assert listener.messages == [message(1, b"body"), answer(1), message(2)]
    first, second = listener.events[1], listener.events[2]
    assert (first[1]["source"][:2], first[1]["target"][:2], first[1]["number"]) == (CLIENT, SERVER, 4)
    assert (second[1]["source"][:2], second[1]["number"], second[2]) == (SERVER, 5, SIP_TCP)
    assert listener.problems == {}


def test_a_message_in_one_byte_segments_is_whole_and_dated_by_its_last() -> None:
    """T01: one message in 1-byte writes."""
    stream = message(1, b"x" * 40) + answer()
    listener = Listener().push(frames_of(cut(stream, [1] * len(stream))))
    assert listener.messages == [message(1, b"x" * 40), answer()]
    assert listener.events[0][1]["number"] == 2 + len(message(1, b"x" * 40))


def test_a_thousand_messages_in_one_stream_are_all_found() -> None:
    """T01: 1,000 messages in one write."""
    stream = b"".join(message(n, b"y" * (n % 7)) for n in range(1000))
    for size in (1460, 50_000):
        listener = Listener().push(frames_of(cut(stream, [size] * (len(stream) // size))))
        assert listener.messages == [message(n, b"y" * (n % 7)) for n in range(1000)]
        assert listener.problems == {}


@pytest.mark.parametrize("place", ["\r\n\r\n", "Content-Length: 1", "é"])
def test_a_cut_inside_a_critical_place_changes_nothing(place: str) -> None:
    """T01: cut in the middle of CRLFCRLF, of Content-Length, of a UTF-8 character."""
    text = message(1, "é".encode() * 6)
    at = text.index(place.encode())
    for offset in range(1, len(place.encode())):
        listener = Listener().push(frames_of(cut(text + answer(), [at + offset])))
        assert listener.messages == [text, answer()]


@pytest.mark.parametrize("name", ["Content-Length", "content-length", "l", "L", "CONTENT-LENGTH ", "l\t"])
def test_every_spelling_of_content_length_frames(name: str) -> None:
    assert Listener().push(frames_of(cut(message(1, b"0123456789", name) + answer(), []))).messages == [
        message(1, b"0123456789", name),
        answer(),
    ]


def test_a_folded_content_length_frames() -> None:
    text = b"MESSAGE sip:a SIP/2.0\r\nContent-Length:\r\n 5\r\nX: y\r\n\r\n12345"
    for size in (len(text), 7):
        assert Listener().push(frames_of(cut(text + answer(), [size] * 20))).messages == [text, answer()]


def test_the_first_of_two_content_lengths_counts_and_a_missing_one_is_zero() -> None:
    twice = b"MESSAGE sip:a SIP/2.0\r\nl: 2\r\nContent-Length: 99\r\n\r\nab"
    none = b"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\n\r\n"
    lines = b"OPTIONS sip:a SIP/2.0\nCall-ID: 1\n\n"
    assert Listener().push(frames_of(cut(twice + none + lines + answer(), []))).messages == [
        twice,
        none,
        lines,
        answer(),
    ]


def test_bytes_that_are_no_sip_are_counted_and_the_next_start_line_found() -> None:
    wrong = b"MESSAGE sip:a SIP/2.0\r\nContent-Length: 3\r\n\r\nabcdefgh\r\nleft over\r\n"
    listener = Listener().push(frames_of(cut(wrong + message(2) + answer(), [30, 30, 30])))
    assert listener.messages == [wrong[:-18], message(2), answer()]
    assert listener.problems == {"TCP_FRAMING": 1}


def test_keepalives_between_messages_are_events() -> None:
    stream = message(1) + b"\r\n\r\n" + message(2) + b"\r\n" + answer() + b"\r\n\r\n\r\n\r\n"
    listener = Listener().push(frames_of(cut(stream, [])))
    assert listener.names == ["message", "ping", "message", "pong", "message", "ping", "ping"]


def test_a_keepalive_storm_is_linear() -> None:
    """T07: CRLF keep-alive storm."""
    counts = Listener().tcp.push_many(frames_of(cut(b"\r\n\r\n" * 100_000, [40_000] * 10)))
    assert counts == {"ping": 100_000}


def test_a_message_above_the_limit_is_handed_out_cut_and_the_next_one_is_found() -> None:
    big = message(1, b"z" * 200_000)
    listener = Listener().push(frames_of(cut(big + message(2), [1400] * 200)))
    assert [packet["wire_length"] for _, packet, _ in listener.events] == [len(big), len(message(2))]
    assert big.startswith(listener.messages[0])
    assert listener.messages[0].startswith(message(1, b"z" * 200_000)[:150])
    assert listener.events[0][1]["flags"] & SNAPPED
    assert listener.messages[1] == message(2)
    assert listener.problems == {"MESSAGE_OVERSIZE": 1}


def test_an_absurd_content_length_does_not_swallow_what_follows() -> None:
    """T02: a body announced that never comes."""
    absurd = b"MESSAGE sip:a SIP/2.0\r\nContent-Length: 99999999999999999999\r\n\r\n"
    listener = Listener().push(frames_of(cut(absurd + b"short body\r\n" + message(2) + answer(), [])))
    assert listener.messages == [absurd, message(2), answer()]
    assert listener.problems == {"MESSAGE_OVERSIZE": 1}


def test_headers_without_an_end_are_given_up_at_the_limit() -> None:
    """T02: 64 KiB of header bytes with no end."""
    endless = b"MESSAGE sip:a SIP/2.0\r\n" + b"X-Filler: " + b"a" * 70_000
    listener = Listener().push(frames_of(cut(endless + b"\r\n\r\n" + message(2), [1400] * 60)))
    assert listener.messages[-1] == message(2)
    assert listener.problems["MESSAGE_OVERSIZE"] == 1


# ---- order ----


def test_segments_in_random_order_with_repetitions_give_the_same_messages() -> None:
    """C09: out of order, retransmitted, and cut differently the second time."""
    dice = random.Random(11)
    for turn in range(120):
        expected = [message(n, dice.randbytes(dice.randrange(600))) for n in range(12)]
        stream = b"".join(expected)
        first = (2**32 - dice.randrange(len(stream) + 2)) % 2**32
        pieces = cut(stream, [dice.randrange(1, 300) for _ in range(60)], first)
        again = cut(stream, [dice.randrange(1, 400) for _ in range(40)], first)
        late = [*pieces, *dice.sample(again, len(again) // 4)]
        order = sorted(range(len(late)), key=lambda at: at + dice.random() * 6)
        syn = segment(b"", first - 1, build.SYN)
        listener = Listener(opened=False).push([syn, *frames_of(late[at] for at in order)]).finish()
        assert listener.messages == expected, turn
        assert listener.problems == {}, turn


def test_sixty_bytes_in_reverse_order_are_put_together() -> None:
    """C09: 1-byte reverse order."""
    text = b"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\nl: 0\r\n\r\n"
    assert len(text) < 64
    listener = Listener().push(reversed(frames_of(cut(text, [1] * len(text)))))
    assert listener.messages == [text]
    assert listener.problems == {}


def test_a_long_reverse_order_ends_in_a_gap_and_not_in_memory() -> None:
    """C09: 1-byte reverse order of more than can wait."""
    listener = Listener().push([*SYNS, *reversed(frames_of(cut(message(1, b"x" * 3000), [1] * 4000)))]).finish()
    assert listener.problems["TCP_GAP"] >= 1


def test_a_sequence_number_wraps() -> None:
    """C09: sequence wrap."""
    stream = b"".join(message(n) for n in range(30))
    start = 2**32 - 700
    frames = frames_of(cut(stream, [97] * 60, start))
    assert Listener(opened=False).push(frames).messages == [message(n) for n in range(30)]


def test_a_retransmission_with_other_bytes_is_counted_and_the_first_copy_stands() -> None:
    """C09: overlap with different bytes, whether delivered, held, or waiting."""
    text = message(1, b"0123456789" * 20)
    forged = bytearray(text)
    forged[-5:] = b"XXXXX"
    delivered = Listener().push(frames_of([(1000, text), (1000, bytes(forged))]))
    assert (delivered.messages, delivered.problems) == ([text], {"TCP_CONFLICT": 1})
    part = len(text) - 3
    held = Listener().push(frames_of([(1000, text[:part]), (1000, bytes(forged[:part])), (1000 + part, text[part:])]))
    assert (held.messages, held.problems) == ([text], {"TCP_CONFLICT": 1})
    tail = len(text) - 50
    waiting = Listener().push(
        frames_of([(1000 + tail, text[tail:]), (1000 + tail, bytes(forged[tail:])), (1000, text[:tail])])
    )
    assert (waiting.messages, waiting.problems) == ([text], {"TCP_CONFLICT": 1})
    over = Listener().push(frames_of([(1000 + tail, text[tail:]), (1000, bytes(forged))]))
    assert (over.messages, over.problems) == ([text], {"TCP_CONFLICT": 1})


def test_a_keepalive_probe_and_a_window_probe_change_nothing() -> None:
    """C09: window probe; RFC 9293 §3.8.4 keep-alive of one old byte."""
    text = message(1, b"abc")
    frames = frames_of([(1000, text[:40]), (1039, b"\0"), (1040, text[40:41]), (1040, text[40:])])
    listener = Listener().push(frames)
    assert (listener.messages, listener.problems) == ([text], {})


def test_a_mebibyte_sent_four_thousand_times_is_one_mebibyte() -> None:
    """C09: retransmit of 1 MiB 4,000 times, here scaled to the segments that fit in a second."""
    stream = b"".join(message(n, b"r" * 900) for n in range(1000))
    frames = frames_of(cut(stream, [60_000] * 40))
    listener = Listener()
    assert listener.tcp.push_many(frames, 1) == {"message": 1000}
    assert listener.tcp.push_many(frames, 400) == {}
    assert listener.problems == {}


def test_holes_that_never_fill_are_bounded() -> None:
    """C09: out-of-order holes never filled."""
    listener = Listener()
    frames = [segment(b"q" * 10, 1000 + 20 * n) for n in range(1, 5000)]
    listener.tcp.push_many(frames)
    assert listener.problems["TCP_GAP"] > 4900


# ---- gaps ----


def test_a_lost_segment_costs_its_message_and_no_other() -> None:
    stream = b"".join(message(n, b"b" * 100) for n in range(20))
    pieces = cut(stream, [300] * 30)
    pieces.pop(4)
    listener = Listener().push(frames_of(pieces)).finish()
    size = len(message(0, b"b" * 100))
    hit = {at // size for at in range(4 * 300, 5 * 300)}
    untouched = [message(n, b"b" * 100) for n in range(20) if n not in hit]
    assert [text for text in listener.messages if text in untouched] == untouched
    cut_short = [text for text in listener.messages if text not in untouched]
    assert cut_short == [message(min(hit), b"b" * 100)[: 1200 - min(hit) * size]]
    assert listener.problems["TCP_GAP"] == 1


def test_a_gap_inside_a_body_hands_out_the_headers_and_keeps_the_framing() -> None:
    body = b"SIP/2.0 200 OK\r\n" * 100
    first, second = message(1, body), message(2)
    stream = first + second
    pieces = [(1000, stream[:400]), (1700, stream[700:])]
    listener = Listener().push(frames_of(pieces)).finish()
    assert listener.messages == [first[:400], second]
    assert listener.events[0][1]["flags"] & SNAPPED
    assert listener.events[0][1]["wire_length"] == len(first)
    assert listener.problems == {"TCP_GAP": 1}


def test_an_acknowledgement_of_bytes_the_capture_lacks_ends_the_wait() -> None:
    stream = b"".join(message(n) for n in range(8))
    size = len(message(0))
    pieces = cut(stream, [size] * 8)
    listener = Listener().push(frames_of([pieces[0], *pieces[2:5]]))
    assert listener.messages == [message(0)]
    listener.push([segment(b"", 5000, build.ACK, 1000 + 5 * size, back=True)])
    assert listener.messages == [message(n) for n in (0, 2, 3, 4)]
    assert listener.problems == {"TCP_GAP": 1}
    listener.push(frames_of(pieces[5:]))
    assert listener.messages == [message(n) for n in (0, 2, 3, 4, 5, 6, 7)]


def test_a_hole_fills_late_when_nothing_says_it_is_lost() -> None:
    stream = b"".join(message(n) for n in range(8))
    size = len(message(0))
    pieces = cut(stream, [size] * 8)
    listener = Listener().push(frames_of([pieces[0], *pieces[2:], pieces[1]]))
    assert listener.messages == [message(n) for n in range(8)]
    assert listener.problems == {}


def test_a_message_cut_by_the_end_of_the_capture_is_handed_out_at_the_end() -> None:
    text = message(1, b"b" * 500)
    listener = Listener().push(frames_of([(1000, text[:-100])]))
    assert listener.messages == []
    listener.finish()
    assert listener.messages == [text[:-100]]
    assert listener.events[0][1]["wire_length"] == len(text)
    assert listener.events[0][1]["source"][:2] == CLIENT


def test_a_segment_cut_by_the_snap_length_leaves_a_gap() -> None:
    text = message(1, b"b" * 500)
    frame = segment(text, 1000)
    listener = Listener()
    listener.events += listener.tcp.push(frame[:300], original=len(frame))
    listener.push([segment(message(2), 1000 + len(text))]).finish()
    assert listener.messages == [text[: 300 - 54], message(2)]
    assert listener.problems == {"TCP_GAP": 1, "SNAPPED": 1}


@pytest.mark.parametrize("skipped", [12, 30, 100])
def test_a_stream_joined_in_the_middle_is_read_from_its_next_start_line(skipped: int) -> None:
    stream = b"".join(message(n, b"body\r\n") for n in range(6))
    listener = Listener(opened=False).push(frames_of(cut(stream[skipped:], [80] * 20)))
    assert listener.messages == [message(n, b"body\r\n") for n in range(1, 6)]


def test_numbers_out_of_any_window_are_another_connection() -> None:
    listener = Listener().push(frames_of([(1000, message(1))]))
    stray = listener.push(frames_of([(3_000_000_000, message(7))]))
    assert stray.messages == [message(1)]
    listener.push(frames_of(cut(b"".join(message(n) for n in range(2, 8)), [len(message(2))] * 6, 2_000_000_000)))
    assert listener.messages == [message(n) for n in (1, 4, 5, 6, 7)]


# ---- what a stream is ----


@pytest.mark.parametrize(
    ("first", "names"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ["tls"]),
        (b"220 mail.example.com ESMTP\r\n", ["other"]),
        (b"\x00\x01\x02binary", ["other"]),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", []),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", []),
        (b"x" * 3000, ["other"]),
        (b"INVITE", []),
    ],
)
def test_streams_of_other_protocols_are_named_once(first: bytes, names: list[str]) -> None:
    """T07: HTTP on the SIP port, TLS, and garbage."""
    listener = Listener().push(frames_of(cut(first + b"more of it\r\n" * (0 if first == b"INVITE" else 9), [3] * 5)))
    assert listener.names == names
    assert listener.messages == []
    assert listener.problems == {}


def test_tls_is_reported_with_its_transport() -> None:
    assert Listener().push(frames_of([(1000, b"\x16\x03\x01\0\0")])).events[0][2] == SIP_TLS


def test_a_proxy_line_in_front_of_sip_is_passed_over() -> None:
    """T07: PROXY-protocol header."""
    stream = b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 5060\r\n" + message(1)
    assert Listener().push(frames_of(cut(stream, [20]))).messages == [message(1)]


def test_a_stream_joined_in_the_middle_that_never_shows_sip_is_given_up() -> None:
    listener = Listener(opened=False).push(frames_of(cut(b"log line\r\n" * 10_000, [1400] * 80)))
    assert listener.names == ["other"]


# ---- connections ----


def test_a_reset_to_a_syn_is_a_refusal_and_a_later_one_a_reset() -> None:
    """C09: RST mid message hands out what there is."""
    refused = Listener(opened=False)
    refused.push([segment(b"", 999, build.SYN), segment(b"", 0, build.RST | build.ACK, 1000, back=True)]).finish()
    assert refused.names == ["refused"]
    assert refused.events[0][1]["source"][:2] == SERVER
    text = message(1, b"b" * 50)
    reset = Listener().push([segment(text[:-9], 1000), segment(b"", 5000, build.RST, back=True)]).finish()
    assert reset.names == ["message", "reset"]
    assert reset.messages == [text[:-9]]


def test_a_syn_nobody_answers_is_a_refusal() -> None:
    syn = segment(b"", 999, build.SYN)
    assert Listener(opened=False).push([syn, syn]).finish().names == ["refused"]
    assert Listener(opened=False).push([syn]).finish().names == []
    alone = Listener(opened=False).push([syn], 0)
    other = build.ethernet(build.ipv4(build.tcp(b"", 1, 2), "10.1.1.1", "10.1.1.2", build.IP_TCP))
    assert alone.push([other], 4 * 10**9).finish().names == ["refused"]
    assert alone.events[0][1]["source"][:2] == CLIENT


def test_ports_used_again_are_a_new_connection() -> None:
    first = build.tcp_conversation([(True, message(1))])
    second = build.tcp_conversation([(True, message(2))], client_sequence=777_000, server_sequence=1)
    listener = Listener(opened=False).push([*first, *second]).finish()
    assert listener.names == ["opened", "message", "closed"] * 2
    assert listener.problems == {}


def test_both_directions_and_many_connections_are_kept_apart() -> None:
    streams = []
    for n in range(20):
        ends = ("2001:db8::1", 1000 + n), ("2001:db8::2", 5060)
        exchanges = [(side, message(n * 10 + k) if side else answer(n * 10 + k)) for k in range(3) for side in (True, False)]
        streams.append(build.tcp_conversation(exchanges, *ends))
    woven = [frame for row in zip(*streams, strict=True) for frame in row]
    listener = Listener(opened=False).push(woven).finish()
    assert len(listener.messages) == 120
    assert set(listener.messages) == {message(n * 10 + k) for n in range(20) for k in range(3)} | {
        answer(n * 10 + k) for n in range(20) for k in range(3)
    }
    assert listener.names.count("opened") == listener.names.count("closed") == 20
    assert listener.problems == {}


def test_connections_beyond_the_limit_push_the_oldest_out() -> None:
    """T03: 10,000 idle connects."""
    listener = Listener(32, 4, opened=False)
    for n in range(1000):
        listener.push(build.tcp_conversation([(True, message(n))], client=("10.2.0.1", 1024 + n), closing=False))
    assert listener.messages == [message(n) for n in range(1000)]
    assert listener.problems == {"TCP_OVERFLOW": 1000 - 32}


def test_buffers_beyond_the_limit_are_taken_from_the_longest_idle() -> None:
    listener = Listener(64, 4, opened=False)
    text = message(5, b"k" * 300)
    for n in range(10):
        inner = build.tcp(text[:200], 2000 + n, 5060, 1, flags=build.ACK)
        listener.push([build.ethernet(build.ipv4(inner, "10.3.0.1", "10.3.0.2", build.IP_TCP))])
    assert listener.problems == {"TCP_OVERFLOW": 6}
    for n in range(10):
        inner = build.tcp(text[200:] + message(9), 2000 + n, 5060, 201, flags=build.ACK)
        listener.push([build.ethernet(build.ipv4(inner, "10.3.0.1", "10.3.0.2", build.IP_TCP))])
    assert listener.messages.count(text) == 4
    assert listener.messages.count(text[:200]) == 6
    assert listener.messages.count(message(9)) == 10


def test_no_buffer_at_all_still_gives_messages_that_fit_a_segment() -> None:
    listener = Listener(4, 0).push(frames_of(cut(message(1) + message(2)[:10], [len(message(1))])))
    assert listener.messages == [message(1)]
    assert listener.problems == {"TCP_OVERFLOW": 1}


# ---- WebSocket ----

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: sip.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Protocol: sip\r\n\r\n"
)
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\n\r\n"


def test_sip_over_websocket_is_unmasked_joined_and_marked() -> None:
    big = message(4, b"w" * 70)
    client = [
        UPGRADE,
        build.websocket(message(1), mask=MASK) + build.websocket(message(2), 2, mask=b"\xff\0\xaa\x55"),
        build.websocket(big[:50], final=False, mask=MASK),
        build.websocket(b"are you there", 9, mask=MASK) + build.websocket(big[50:90], 0, final=False, mask=MASK),
        build.websocket(big[90:], 0, mask=b"9876"),
        build.websocket(b"\r\n\r\n", mask=MASK),
    ]
    exchanges = [(True, client[0]), (False, SWITCHING), *((True, octets) for octets in client[1:])]
    exchanges += [(False, build.websocket(answer(1)) + build.websocket(b"\r\n")), (False, build.websocket(b"", 8))]
    listener = Listener(opened=False).push(build.tcp_conversation(exchanges)).finish()
    assert listener.messages == [message(1), message(2), big, answer(1)]
    assert {transport for name, _, transport in listener.events if name == "message"} == {SIP_WS}
    assert listener.names == ["opened", "message", "message", "message", "ping", "message", "pong", "closed"]
    assert listener.problems == {}


def test_websocket_frames_cut_anywhere_give_the_same_messages() -> None:
    """T06, T01: frames in pieces, a zero-length frame among them."""
    stream = UPGRADE + build.websocket(b"", mask=MASK)
    expected = [message(n, b"v" * (n * 40)) for n in range(1, 9)]
    for n, text in enumerate(expected):
        stream += build.websocket(text, 1 + n % 2, mask=MASK if n % 3 else bytes(4))
    dice = random.Random(13)
    for _ in range(40):
        pieces = cut(stream, [dice.randrange(1, 200) for _ in range(80)])
        assert Listener().push(frames_of(pieces)).messages == expected
    assert Listener().push(frames_of(cut(stream, [1] * len(stream)))).messages == expected


def test_websocket_is_recognised_without_its_handshake() -> None:
    client = Listener(opened=False).push(frames_of([(50, build.websocket(message(1), mask=MASK))]))
    server = Listener(opened=False).push([segment(build.websocket(answer(1)), 9, back=True)])
    assert client.messages == [message(1)]
    assert server.messages == [answer(1)]
    assert client.events[0][2] == server.events[0][2] == SIP_WS


def test_compressed_frames_are_counted_and_passed_over() -> None:
    stream = UPGRADE + build.websocket(b"\xca\x48\xcd" * 30, reserved=4, mask=MASK) + build.websocket(message(2), mask=MASK)
    listener = Listener().push(frames_of(cut(stream, [150, 30])))
    assert listener.messages == [message(2)]
    assert listener.problems == {"WEBSOCKET_FRAME": 1}


@pytest.mark.parametrize("bad", [b"\x82\xff" + (2**63).to_bytes(8) + MASK, b"\x83\x85" + MASK + b"hello", b"\x09\x80" + MASK])
def test_an_impossible_frame_loses_its_segment_and_not_the_stream(bad: bytes) -> None:
    """T06: frame of length 2^63."""
    good = build.websocket(message(3), mask=MASK)
    listener = Listener().push(frames_of(cut(UPGRADE + bad + b"rest" + good, [len(UPGRADE), len(bad) + 4])))
    assert listener.messages == [message(3)]
    assert listener.problems == {"WEBSOCKET_FRAME": 1}


def test_a_message_fragmented_forever_is_dropped_at_the_limit() -> None:
    """T06: fragmented forever."""
    stream = UPGRADE + build.websocket(message(1)[:30], final=False, mask=MASK)
    stream += build.websocket(b"f" * 1000, 0, final=False, mask=MASK) * 100
    stream += build.websocket(b"end", 0, mask=MASK) + build.websocket(message(2), mask=MASK)
    listener = Listener().push(frames_of(cut(stream, [1400] * 80)))
    assert listener.messages == [message(2)]
    assert listener.problems == {"MESSAGE_OVERSIZE": 1}


def test_a_gap_inside_a_websocket_frame_keeps_the_framing() -> None:
    first, second = build.websocket(message(1, b"g" * 400), mask=MASK), build.websocket(message(2), mask=MASK)
    stream = UPGRADE + first + second
    lost = len(UPGRADE) + 100
    pieces = [(1000, stream[:lost]), (1000 + lost + 90, stream[lost + 90 :])]
    listener = Listener().push(frames_of(pieces)).finish()
    assert listener.messages == [message(2)]


# ---- HEP over TCP ----


def test_hep_packets_in_a_stream_give_the_messages_they_report() -> None:
    """H06: several HEP packets a segment, packets cut by segments, a start in mid-message."""
    packets = [
        build.hep3(message(n), "192.168.0.1", "192.168.0.2", 5070, 5080, time_ns=10**18 + n * 1000, correlation=b"c")
        for n in range(6)
    ]
    stream = b"".join(packets)
    for sizes in ([], [100] * 20, [1] * len(stream)):
        listener = Listener().push(frames_of(cut(stream, sizes)))
        assert listener.messages == [message(n) for n in range(6)]
        assert listener.problems == {}
    name, packet, transport = listener.events[2]
    assert (name, transport, packet["flags"]) == ("message", SIP_UDP, HEP)
    assert (packet["source"][:2], packet["time_ns"]) == (("192.168.0.1", 5070), 10**18 + 2000)


def test_a_broken_hep_packet_in_a_stream_is_counted_and_the_next_found() -> None:
    """H01, H06: a total length below the header."""
    stream = build.hep3(message(1)) + build.hep3(b"bad", total_length=2) + build.hep3(message(2))
    listener = Listener().push(frames_of(cut(stream, [50] * 30)))
    assert listener.messages == [message(1), message(2)]
    assert set(listener.problems) == {"HEP_CHUNK"}

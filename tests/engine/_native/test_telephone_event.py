"""telephone-event both ways: what a receiver makes of whole, broken and hostile events, and each packet of a sender (RFC 4733 §2.5)."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from engine._native import rtp_session as native
from tests.oracle.telephone_event_twin import ReaderTwin, Step, Told, steps

MS = 1_000_000
NONE, BEGUN, ENDED = native.NONE, native.BEGUN, native.ENDED
CLOCKS = (8000, 16_000, 48_000)
DIGITS = "0123456789*#ABCD"
News = tuple[int, Told | None, Told | None]
NOTHING: News = (NONE, None, None)


def payload(event: int, duration: int, *, end: bool = False, volume: int = 10) -> bytes:
    return bytes([event, (128 if end else 0) | volume]) + duration.to_bytes(2, "big")


def press(event: int, timestamp: int, *, clock: int = 8000, ms: int = 100, ends: int = 3) -> list[tuple[bytes, int]]:
    """The packets of an event as a good sender sends them, every 20 ms."""
    ticks = clock // 50
    count = ms // 20
    packets = [(payload(event, ticks * k), timestamp) for k in range(1, count)]
    return packets + [(payload(event, ticks * count, end=True), timestamp)] * ends


def feed(reader: native.TelephoneEventReader, packets: list[tuple[bytes, int]], now_ns: int = 0) -> list[News]:
    """Every 20 ms one."""
    return [reader.take(body, timestamp, now_ns + 20 * MS * k) for k, (body, timestamp) in enumerate(packets)]


def told(results: list[News]) -> tuple[list[Told], list[Told]]:
    """What began and what ended."""
    return [begun for _, begun, _ in results if begun], [ended for _, _, ended in results if ended]


# ---- received ----


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("event", range(16))
def test_a_press_begins_once_and_ends_once(clock: int, event: int) -> None:
    reader = native.TelephoneEventReader(clock)
    results = feed(reader, press(event, 5000, clock=clock))
    assert results == [
        (BEGUN, (event, 10, 20, 5000, False), None),
        NOTHING,
        NOTHING,
        NOTHING,
        (ENDED, None, (event, 10, 100, 5000, False)),
        NOTHING,
        NOTHING,
    ]
    assert reader.facts() == {"clock_rate_hz": clock, "running": 0, "events": 1, "flooded": 0, "malformed": 0, "without_end": 0}


@pytest.mark.parametrize("lost", [lost for count in range(1, 7) for lost in itertools.combinations(range(7), count)])
def test_whatever_is_lost_one_packet_that_comes_is_one_press(lost: tuple[int, ...]) -> None:
    reader = native.TelephoneEventReader(8000)
    packets = [packet for k, packet in enumerate(press(7, 5000)) if k not in lost]
    begun, ended = told(feed(reader, packets))
    assert [event[0] for event in begun] == [7]
    expired = reader.expire(10**9)
    last = ended + ([expired] if expired else [])
    assert [event[0] for event in last] == [7]
    ends = sum(k not in lost for k in (4, 5, 6))
    assert last[0][4] == (ends == 0)
    assert last[0][2] == (100 if ends else 20 * (1 + max(k for k in range(4) if k not in lost)))
    assert reader.facts()["without_end"] == (ends == 0)


def test_a_begin_that_was_lost_is_begun_by_the_end_and_ended_by_its_repeat() -> None:
    reader = native.TelephoneEventReader(8000)
    assert feed(reader, press(1, 800)[4:]) == [(BEGUN, (1, 10, 100, 800, False), None), (ENDED, None, (1, 10, 100, 800, False)), NOTHING]


def test_one_whose_end_was_lost_ends_when_the_next_begins() -> None:
    reader = native.TelephoneEventReader(8000)
    feed(reader, press(1, 800, ends=0))
    assert reader.take(payload(2, 160), 2400, 200 * MS) == (BEGUN | ENDED, (2, 10, 20, 2400, False), (1, 10, 80, 800, True))


def test_an_event_expires_after_100_ms_of_silence() -> None:
    reader = native.TelephoneEventReader(8000)
    assert reader.expire(10**12) is None
    reader.take(payload(3, 160), 800, 0)
    reader.take(payload(3, 320), 800, 20 * MS)
    assert reader.expire(120 * MS - 1) is None
    assert reader.expire(120 * MS) == (3, 10, 40, 800, True)
    assert reader.expire(500 * MS) is None
    assert reader.take(payload(3, 480), 800, 600 * MS) == NOTHING
    assert reader.take(payload(3, 640, end=True), 800, 620 * MS) == NOTHING


def test_an_end_that_comes_a_hundred_times_is_one() -> None:
    reader = native.TelephoneEventReader(8000)
    begun, ended = told(feed(reader, press(9, 800, ends=100)))
    assert (len(begun), len(ended)) == (1, 1)


def test_the_same_key_twice_is_two_presses() -> None:
    for ends in (3, 0):
        reader = native.TelephoneEventReader(8000)
        results = feed(reader, press(5, 800, ends=ends)) + feed(reader, press(5, 800 + 800 + 320), 200 * MS)
        begun, ended = told(results)
        assert [event[3] for event in begun] == [800, 1920]
        assert [event[4] for event in ended] == [ends == 0, False]


def test_packets_out_of_order_change_nothing() -> None:
    for order in itertools.permutations(range(7)):
        reader = native.TelephoneEventReader(8000)
        packets = press(4, 800)
        begun, ended = told(feed(reader, [packets[k] for k in order]))
        assert len(begun) == len(ended) == 1


def test_a_late_packet_of_an_older_press_says_nothing() -> None:
    reader = native.TelephoneEventReader(8000)
    first, second = press(1, 800), press(2, 4000)
    feed(reader, first[:3])
    assert reader.take(*second[0], 0) == (BEGUN | ENDED, (2, 10, 20, 4000, False), (1, 10, 60, 800, True))
    assert feed(reader, first[3:]) == [NOTHING] * 4
    assert told(feed(reader, second[1:])) == ([], [(2, 10, 100, 4000, False)])


def test_an_event_inside_another_ends_it() -> None:
    reader = native.TelephoneEventReader(8000)
    outer, inner = press(1, 800, ms=400), press(2, 1600)
    results = feed(reader, outer[:5]) + feed(reader, [packet for pair in zip(outer[5:12], inner, strict=True) for packet in pair])
    begun, ended = told(results)
    assert [event[0] for event in begun] == [1, 2]
    assert [(event[0], event[4]) for event in ended] == [(1, True), (2, False)]


def test_another_event_with_the_same_timestamp_is_malformed() -> None:
    reader = native.TelephoneEventReader(8000)
    feed(reader, press(1, 800)[:2])
    assert reader.take(payload(2, 480), 800, 60 * MS) == (native.MALFORMED, None, None)
    assert told(feed(reader, press(1, 800)[2:])) == ([], [(1, 10, 100, 800, False)])
    assert reader.facts()["malformed"] == 1


@pytest.mark.parametrize("durations", [(160, 320, 100, 0, 480), (480, 0, 0, 0, 0), (0, 480), (320, 480, 320)])
def test_a_duration_never_goes_back(durations: tuple[int, ...]) -> None:
    reader = native.TelephoneEventReader(8000)
    for duration in durations:
        reader.take(payload(1, duration), 800, 0)
    assert reader.take(payload(1, 0, end=True), 800, 0)[2] == (1, 10, 60, 800, False)


@pytest.mark.parametrize(("clock", "duration", "ms"), [(8000, 65535, 8191), (16_000, 65535, 4095), (48_000, 65535, 1365), (8000, 0, 0), (48_000, 47, 0)])
def test_durations_at_their_ends(clock: int, duration: int, ms: int) -> None:
    reader = native.TelephoneEventReader(clock)
    reader.take(payload(1, duration), 800, 0)
    assert reader.take(payload(1, duration, end=True), 800, 0)[2] == (1, 10, ms, 800, False)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("lost", [0, 1, 3])
def test_segments_of_a_long_event_are_one_press(clock: int, lost: int) -> None:
    """§2.5.1.3; `lost` packets before each new segment do not come."""
    writer, reader = native.TelephoneEventWriter(clock), native.TelephoneEventReader(clock)
    writer.queue(11, 10, 6000, 40)
    sent = [step for step in (writer.next(k * clock // 50, 20) for k in range(303)) if isinstance(step, tuple)]
    segments = sorted({timestamp for _, timestamp, _ in sent})
    assert len(segments) == -(-6 * clock // 65535)
    kept = [(body, timestamp) for k, (body, timestamp, _) in enumerate(sent) if not any(later > timestamp for _, later, _ in sent[k + 1 : k + 1 + lost])]
    begun, ended = told(feed(reader, kept))
    assert begun == [(11, 10, 20, 0, False)]
    assert ended == [(11, 10, 6000, 0, False)]


def test_a_sender_that_moves_the_timestamp_with_each_packet_presses_once() -> None:
    reader = native.TelephoneEventReader(8000)
    packets = [(body, 800 + 160 * k) for k, (body, _) in enumerate(press(6, 0))]
    begun, ended = told(feed(reader, packets))
    assert [event[0] for event in begun] == [event[0] for event in ended] == [6]
    assert [event[0] for event in told(feed(reader, press(6, 800 + 160 * 7 + 800), 400 * MS))[0]] == [6]


@pytest.mark.parametrize("timestamp", [0, 100, 2**31, 2**32 - 100, 2**32 - 1])
def test_timestamps_wrap(timestamp: int) -> None:
    reader = native.TelephoneEventReader(8000)
    results = feed(reader, press(1, timestamp)) + feed(reader, press(2, (timestamp + 1600) % 2**32), 200 * MS)
    assert [event[0] for event in told(results)[0]] == [1, 2]


@pytest.mark.parametrize(("back", "is_new"), [(1, False), (40_000, False), (40_001, True), (2**31, True), (2**31 - 1, True)])
def test_a_timestamp_far_back_is_a_new_sender_and_not_a_late_packet(back: int, is_new: bool) -> None:
    reader = native.TelephoneEventReader(8000)
    feed(reader, press(1, 70_000))
    assert bool(reader.take(payload(2, 160), (70_000 - back) % 2**32, 10**9)[0] & BEGUN) == is_new


@pytest.mark.parametrize("event", [16, 17, 32, 100, 255])
def test_events_that_are_no_digits_are_told_by_number(event: int) -> None:
    reader = native.TelephoneEventReader(8000)
    assert reader.take(payload(event, 160, volume=63), 800, 0) == (BEGUN, (event, 63, 20, 800, False), None)
    assert native.digit(event) == ""


def test_the_volume_is_six_bits() -> None:
    reader = native.TelephoneEventReader(8000)
    assert reader.take(bytes([1, 0x7F, 0, 160]), 800, 0)[1] == (1, 63, 20, 800, False)


@pytest.mark.parametrize("length", range(4))
def test_less_than_four_bytes_are_malformed(length: int) -> None:
    reader = native.TelephoneEventReader(8000)
    assert reader.take(payload(1, 160)[:length], 800, 0) == (native.MALFORMED, None, None)
    assert reader.facts()["malformed"] == 1
    assert reader.take(payload(1, 160) + bytes(8), 800, 0)[0] == BEGUN


def test_a_flood_is_counted_and_not_told() -> None:
    reader = native.TelephoneEventReader(8000)
    news = [reader.take(payload(k % 16, 160, end=k % 2 == 1), 10_000 + 400 * k, k * MS // 10) for k in range(10_000)]
    begun, ended = told(news)
    assert [event[3] for event in begun] == [10_000 + 400 * k for k in range(native.EVENTS_PER_S)]
    assert len(ended) == native.EVENTS_PER_S
    facts = reader.facts()
    assert (facts["events"], facts["flooded"]) == (native.EVENTS_PER_S, 10_000 - native.EVENTS_PER_S)
    last = 10_000 + 400 * 9_999
    assert reader.take(payload(9_999 % 16, 480), last, 1200 * MS) == NOTHING
    assert reader.take(payload(1, 160), last + 4000, 1220 * MS)[0] == BEGUN


def test_fifty_digits_a_second_for_a_minute_are_told_at_half_their_rate() -> None:
    reader = native.TelephoneEventReader(8000)
    begun = 0
    for k in range(3000):
        begun += bool(reader.take(payload(k % 10, 80, end=True), 1 + 160 * k, k * 20 * MS)[0] & BEGUN)
        reader.take(payload(k % 10, 80, end=True), 1 + 160 * k, k * 20 * MS + MS)
    assert begun == 60 * native.EVENTS_PER_S


def test_a_fast_keypad_is_no_flood() -> None:
    reader = native.TelephoneEventReader(8000)
    begun = 0
    for k in range(1000):
        begun += len(told(feed(reader, press(k % 10, 1 + 1120 * k, ms=60), k * 140 * MS))[0])
    assert begun == 1000


def test_without_a_clock_there_is_no_duration() -> None:
    reader = native.TelephoneEventReader(0)
    assert reader.take(payload(1, 160), 800, 0)[1] == (1, 10, 0, 800, False)


# ---- sent ----


def sent(writer: native.TelephoneEventWriter, count: int, *, ptime_ms: int = 20, clock: int = 8000, timestamp: int = 0) -> list[Step]:
    return [writer.next((timestamp + k * ptime_ms * clock // 1000) % 2**32, ptime_ms) for k in range(count)]


def test_every_packet_of_two_digits_at_20_ms() -> None:
    writer = native.TelephoneEventWriter(8000)
    assert writer.queue(5, 10, 100, 60) == 0
    assert writer.queue(11, 7, 40, 40) == 0
    assert sent(writer, 16, timestamp=2**32 - 160) == [
        (bytes([5, 10, 0, 160]), 2**32 - 160, True),
        (bytes([5, 10, 1, 64]), 2**32 - 160, False),
        (bytes([5, 10, 1, 224]), 2**32 - 160, False),
        (bytes([5, 10, 2, 128]), 2**32 - 160, False),
        (bytes([5, 138, 3, 32]), 2**32 - 160, False),
        (bytes([5, 138, 3, 32]), 2**32 - 160, False),
        (bytes([5, 138, 3, 32]), 2**32 - 160, False),
        False,
        (bytes([11, 7, 0, 160]), 7 * 160, True),
        (bytes([11, 135, 1, 64]), 7 * 160, False),
        (bytes([11, 135, 1, 64]), 7 * 160, False),
        (bytes([11, 135, 1, 64]), 7 * 160, False),
        True,
        True,
        True,
        True,
    ]


def test_every_packet_of_a_digit_at_30_ms() -> None:
    """100 ms are no whole steps: the last one is told in full, and the pause of 100 ms counts from its step on."""
    writer = native.TelephoneEventWriter(8000)
    writer.queue(1, 0, 100, 100)
    writer.queue(2, 63, 60, 40)
    assert sent(writer, 13, ptime_ms=30) == [
        (bytes([1, 0, 0, 240]), 0, True),
        (bytes([1, 0, 1, 224]), 0, False),
        (bytes([1, 0, 2, 208]), 0, False),
        (bytes([1, 128, 3, 32]), 0, False),
        (bytes([1, 128, 3, 32]), 0, False),
        (bytes([1, 128, 3, 32]), 0, False),
        False,
        False,
        (bytes([2, 63, 0, 240]), 8 * 240, True),
        (bytes([2, 191, 1, 224]), 8 * 240, False),
        (bytes([2, 191, 1, 224]), 8 * 240, False),
        (bytes([2, 191, 1, 224]), 8 * 240, False),
        True,
    ]


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
@pytest.mark.parametrize("pause_ms", [40, 70, 100])
@pytest.mark.parametrize("duration_ms", [40, 100, 155, 6000])
def test_digits_are_a_pause_apart_and_end_three_times(clock: int, ptime_ms: int, pause_ms: int, duration_ms: int) -> None:
    writer = native.TelephoneEventWriter(clock)
    for _ in range(3):
        writer.queue(1, 10, duration_ms, pause_ms)
    ends: list[int] = []
    begins: list[int] = []
    repeats = 0
    for k in range(3 * (duration_ms // ptime_ms + pause_ms // ptime_ms + 8)):
        step = writer.next(k * ptime_ms * clock // 1000, ptime_ms)
        if not isinstance(step, tuple):
            continue
        body, timestamp, marker = step
        if marker:
            begins.append(timestamp)
        if body[1] & 128:
            repeats += 1
            ends.append(timestamp + int.from_bytes(body[2:], "big"))
    assert repeats == 9
    assert len(begins) == 3
    assert [end - begin for begin, end in zip(begins, ends[::3], strict=True)] == [duration_ms * clock // 1000] * 3
    assert all(begin - end >= pause_ms * clock // 1000 for begin, end in zip(begins[1:], ends[::3], strict=False))
    assert not writer.busy


def test_a_full_segment_is_told_without_an_end_and_the_next_goes_on_behind_it() -> None:
    writer = native.TelephoneEventWriter(16_000)
    writer.queue(5, 10, 4200, 40)
    steps_sent = sent(writer, 216, clock=16_000, timestamp=1000)
    assert steps_sent[203:206] == [
        (bytes([5, 10]) + (204 * 320).to_bytes(2, "big"), 1000, False),
        (bytes([5, 10, 255, 255]), 1000, False),
        (bytes([5, 10]) + (206 * 320 - 65535).to_bytes(2, "big"), 1000 + 65535, False),
    ]
    last = (bytes([5, 138]) + (4200 * 16 - 65535).to_bytes(2, "big"), 1000 + 65535, False)
    assert steps_sent[209:213] == [last, last, last, True]


def test_an_event_that_ends_with_its_segment_needs_no_new_one() -> None:
    writer = native.TelephoneEventWriter(65_535)
    writer.queue(5, 10, 1000, 40)
    packets = [step for step in sent(writer, 60, clock=65_535) if isinstance(step, tuple)]
    last = (bytes([5, 138, 255, 255]), 0, False)
    assert packets[-4:] == [(bytes([5, 10]) + (50 * 1310).to_bytes(2, "big"), 0, False), last, last, last]


def test_an_event_whose_end_falls_on_a_full_segment_ends_a_step_later() -> None:
    """16 kHz: 4096 ms are 65536 ticks, one more than a segment has."""
    writer = native.TelephoneEventWriter(16_000)
    writer.queue(5, 10, 4096, 40)
    writer.queue(6, 10, 40, 40)
    packets = sent(writer, 210, clock=16_000)
    assert packets[204] == (bytes([5, 10, 255, 255]), 0, False)
    assert packets[205:208] == [(bytes([5, 138, 0, 1]), 65535, False)] * 3
    assert packets[208] == (bytes([6, 10, 1, 64]), 208 * 320, True)


@pytest.mark.parametrize(
    ("event", "volume", "duration_ms", "pause_ms", "fits"),
    [
        (0, 0, 40, 40, True),
        (255, 63, 6000, 65535, True),
        (1, 64, 100, 60, False),
        (1, 10, 39, 60, False),
        (1, 10, 6001, 60, False),
        (1, 10, 100, 39, False),
    ],
)
def test_numbers_out_of_range_are_refused(event: int, volume: int, duration_ms: int, pause_ms: int, fits: bool) -> None:
    writer = native.TelephoneEventWriter(8000)
    assert writer.queue(event, volume, duration_ms, pause_ms) == (0 if fits else native.MALFORMED)
    assert writer.busy == fits


def test_the_queue_has_its_limit_and_goes_round() -> None:
    writer = native.TelephoneEventWriter(8000)
    digits = []
    for fill in range(5):
        added = 0
        while writer.queue((fill + added) % 16, 10, 40, 40) == 0:
            digits.append((fill + added) % 16)
            added += 1
        assert writer.queue(1, 10, 40, 40) == native.TOO_SMALL
        assert added == (native.EVENT_QUEUE if not fill else 10)
        heard = [step[0][0] for step in sent(writer, 40) if isinstance(step, tuple) and step[2]]
        assert heard == digits[10 * fill : 10 * fill + 10]


def test_the_pause_is_kept_when_the_next_digit_comes_late() -> None:
    writer = native.TelephoneEventWriter(8000)
    writer.queue(1, 10, 40, 200)
    assert writer.busy
    first = sent(writer, 8)
    assert first[4:] == [False] * 4
    assert writer.busy
    writer.queue(2, 10, 40, 40)
    assert sent(writer, 5)[:4] == [False] * 4
    assert sent(writer, 1, timestamp=5) == [(bytes([2, 138, 1, 64]), 4 * 160, False)]


@pytest.mark.parametrize("seed", range(20))
def test_the_twin_sends_the_same(seed: int) -> None:
    random = Random(seed)
    clock, ptime_ms, timestamp = random.choice(CLOCKS), random.choice((10, 20, 30, 60)), random.randrange(2**32)
    events = [(random.randrange(256), random.randrange(64), random.choice((40, 100, 133, 4096, 5999, 1365)), random.randrange(40, 300)) for _ in range(4)]
    writer = native.TelephoneEventWriter(clock)
    for event in events:
        assert writer.queue(*event) == 0
    count = 4 * (6000 + 400) // ptime_ms
    assert sent(writer, count, ptime_ms=ptime_ms, clock=clock, timestamp=timestamp) == list(itertools.islice(steps(events, clock, ptime_ms, timestamp), count))


@pytest.mark.parametrize("seed", range(10))
def test_what_is_sent_is_heard_through_loss_and_disorder(seed: int) -> None:
    """A third of the packets is lost and neighbours change places: every digit is heard once, as long as one of its packets comes."""
    random = Random(seed)
    clock = random.choice(CLOCKS)
    writer, reader = native.TelephoneEventWriter(clock), native.TelephoneEventReader(clock)
    digits = [random.randrange(16) for _ in range(40)]
    for event in digits:
        writer.queue(event, 10, 100, 80)
    packets = [(k, step) for k, step in enumerate(sent(writer, 600, clock=clock)) if isinstance(step, tuple)]
    arriving = sorted(((k + random.choice((0, 0, 1.5)), step) for k, step in packets if random.random() > 0.33), key=lambda pair: pair[0])
    begun, _ = told([reader.take(body, timestamp, int(at * 20 * MS)) for at, (body, timestamp, _) in arriving])
    came = dict.fromkeys(timestamp for _, (_, timestamp, _) in arriving)
    places = [timestamp for _, (_, timestamp, marker) in packets if marker]
    assert [event[0] for event in begun] == [digit for digit, place in zip(digits, places, strict=True) if place in came]
    assert len(begun) >= 38


@pytest.mark.parametrize("seed", range(12))
def test_the_twin_hears_the_same(seed: int) -> None:
    random = Random(seed)
    clock = random.choice(CLOCKS)
    reader, twin = native.TelephoneEventReader(clock), ReaderTwin(clock)
    now_ns, timestamp, event = 0, random.randrange(2**32), 1
    for k in range(4000):
        if random.random() < 0.4:
            timestamp = (timestamp + random.choice((160, 800, 320 + 160, 1600, 0xFFFF, -160, -6 * clock, 2**31, 4 * clock))) % 2**32
        if random.random() < 0.1:
            event = random.choice((event, random.randrange(256), 5))
        body = payload(event, random.choice((0, 160, 320, 480, 65535, random.randrange(65536))), end=random.random() < 0.3, volume=random.randrange(128))
        body = body[: random.choice((4, 4, 4, 4, 4, 4, 4, 4, 3, 0))]
        now_ns += random.choice((0, MS, 2 * MS, 20 * MS)) if k % 400 < 300 else 150 * MS
        assert reader.expire(now_ns) == twin.expire(now_ns)
        assert reader.take(body, timestamp, now_ns) == twin.take(body, timestamp, now_ns)
    facts = reader.facts()
    assert {name: facts[name] for name in twin.counts} == twin.counts
    assert min(twin.counts.values()) > 0


# ---- digits ----


def test_digits_and_events_are_each_others() -> None:
    assert [native.digit(event) for event in range(256)] == [*DIGITS, *[""] * 240]
    known = {digit: event for event, digit in enumerate(DIGITS)} | {"a": 12, "b": 13, "c": 14, "d": 15}
    for code in range(512):
        assert native.event_of(chr(code)) == known.get(chr(code))
    assert native.event_of("") is native.event_of("12") is native.event_of("\0") is None

"""A sender's statistics: numbers in sequence (RFC 3550 A.1), loss (A.3), jitter (A.8), case by case and beside the twin."""

from __future__ import annotations

from random import Random

import pytest

from engine._native import rtp_session as native
from tests.oracle.rtcp_session_twin import SourceTwin

MS = 1_000_000
FRAME_NS = 20 * MS
PCMU_HZ = 8000
FIRST = 1000
RUN = 2 * 65536


def source(first: int = FIRST, *, clock: int = PCMU_HZ) -> native.Source:
    """A source that has taken one packet, of 160 bytes, with timestamp 0 at time 0."""
    made = native.Source(0x1234, clock)
    assert made.take(first % 65536, 0, 160, 0) == (native.VALID, 65536 + first % 65536)
    return made


def take(made: native.Source, *sequences: int) -> list[tuple[int, int]]:
    """Verdicts and extended numbers of packets that are in time: 20 ms for each number, each timestamp after its number."""
    return [made.take(k % 65536, k * 160 % 2**32, 160, k * FRAME_NS) for k in sequences]


def test_the_first_packet_has_a_number_that_leaves_room_before_it() -> None:
    made = source(3)
    assert take(made, 2, 65535) == [(native.VALID, 65538), (native.VALID, 65535)]
    assert made.facts()["base"] == 65539


def test_nothing_is_expected_of_a_sender_that_never_sent() -> None:
    facts = native.Source(1, PCMU_HZ).facts()
    assert (facts["expected"], facts["lost"], facts["extended_highest"]) == (0, 0, 0)


def test_numbers_go_on_over_the_wrap() -> None:
    made = source(65534)
    assert [place for _, place in take(made, 65535, 65536, 65537)] == [131071, 131072, 131073]
    assert (made.facts()["expected"], made.facts()["lost"]) == (4, 0)


def test_a_late_packet_from_before_the_wrap_has_its_own_number() -> None:
    made = source(65534)
    assert take(made, 65536, 65535) == [(native.VALID, 131072), (native.VALID, 131071)]
    assert made.facts()["lost"] == 0


@pytest.mark.parametrize("first", [FIRST, 65000, 0, 65535])
@pytest.mark.parametrize(
    ("step", "verdict"),
    [
        (0, native.VALID),
        (1, native.VALID),
        (100, native.VALID),
        (2999, native.VALID),
        (3000, native.STRAY),
        (32768, native.STRAY),
        (-100, native.STRAY),
        (-99, native.VALID),
        (-1, native.VALID),
    ],
)
def test_jumps_are_borne_exactly_as_far_as_the_rfc_says(first: int, step: int, verdict: int) -> None:
    made = source(first)
    place = 65536 + first
    assert take(made, first + step) == [(verdict, 0 if verdict == native.STRAY else place + step)]
    facts = made.facts()
    assert facts["extended_highest"] == (place + step if verdict == native.VALID and step > 0 else place)
    assert (facts["received"], facts["strays"]) == ((2, 0) if verdict == native.VALID else (1, 1))


def test_losses_are_what_was_expected_and_did_not_come() -> None:
    made = source()
    take(made, 1001, 1005, 1006)
    assert (made.facts()["expected"], made.facts()["lost"]) == (7, 3)
    take(made, 1003)
    assert made.facts()["lost"] == 2


def test_duplicates_make_loss_negative() -> None:
    made = source()
    take(made, 1001, 1001, 1001)
    assert (made.facts()["received"], made.facts()["lost"]) == (4, -2)


def test_two_in_sequence_begin_a_new_run_above_the_old_one() -> None:
    made = source()
    take(made, 1001, 1002)
    assert take(made, 40_000, 40_001, 40_002) == [
        (native.STRAY, 0),
        (native.RESTART, 65536 + RUN + 40_001),
        (native.VALID, 65536 + RUN + 40_002),
    ]
    facts = made.facts()
    assert (facts["restarts"], facts["strays"]) == (1, 0)
    assert (facts["expected"], facts["received"], facts["lost"]) == (6, 6, 0)
    assert facts["payload_bytes"] == 6 * 160


EDGES = (0, 1, 50, 99, 4000, 30_000, 32_768, 65_500, 65_535)


@pytest.mark.parametrize(
    ("old", "new"), [(old, new) for old in EDGES for new in EDGES if 3000 < (new - old) % 65536 <= 65536 - 100]
)
def test_a_new_run_lies_above_the_old_one_with_its_stragglers(old: int, new: int) -> None:
    made = source(old)
    assert take(made, new - 1)[0][0] == native.STRAY
    (verdict, place), *_ = take(made, new)
    assert verdict == native.RESTART
    assert place % 65536 == new
    assert take(made, new - 99) == [(native.VALID, place - 99)]
    assert place - 99 > 65536 + old


def test_a_stray_is_forgotten_when_the_run_goes_on() -> None:
    made = source()
    assert [verdict for verdict, _ in take(made, 40_000, 1001, 40_001, 1002)] == [native.STRAY, native.VALID] * 2
    assert (made.facts()["strays"], made.facts()["restarts"], made.facts()["lost"]) == (2, 0, 0)


def test_a_stray_that_comes_twice_is_still_one_that_may_be_followed() -> None:
    made = source()
    assert [verdict for verdict, _ in take(made, 40_000, 40_000, 40_001)] == [native.STRAY, native.STRAY, native.RESTART]
    assert made.facts()["strays"] == 1


def test_after_many_restarts_numbers_still_rise_and_nothing_is_lost() -> None:
    made, places = source(), [0]
    for k in range(50):
        begin = FIRST + 20_000 * (k + 1)
        places += [place for verdict, place in take(made, begin, begin + 1, begin + 2) if verdict != native.STRAY]
    assert places == sorted(set(places))
    assert (made.facts()["restarts"], made.facts()["lost"]) == (50, 0)
    assert made.facts()["expected"] == 1 + 50 * 3


# ---- time ----


def test_jitter_follows_the_formula() -> None:
    made = source()
    made.take(1001, 160, 160, FRAME_NS + 16 * MS)
    assert made.facts()["jitter"] == pytest.approx(128 / 16)
    made.take(1002, 320, 160, 2 * FRAME_NS)
    assert made.facts()["jitter"] == pytest.approx(8 + (128 - 8) / 16)
    assert made.facts()["jitter_max"] == made.facts()["jitter"]
    made.take(1003, 480, 160, 3 * FRAME_NS)
    assert made.facts()["jitter"] == pytest.approx(15.5 * 15 / 16)
    assert made.facts()["jitter_max"] == pytest.approx(15.5)


def test_jitter_is_that_of_the_rfc_in_whole_clock_units() -> None:
    """A.8 as it is printed, on arrivals that fall on the clock."""
    random, made = Random(8), source(clock=16_000)
    jitter, last_transit, arrival = 0.0, 0, 0
    for k in range(1, 500):
        arrival = max(arrival, k * 320 + random.randrange(400))
        made.take((FIRST + k) % 65536, k * 320, 160, arrival * 62_500)
        transit = arrival - k * 320
        jitter += (1 / 16) * (abs(transit - last_transit) - jitter)
        last_transit = transit
    assert made.facts()["jitter"] == pytest.approx(jitter, rel=1e-9)
    assert jitter > 50


@pytest.mark.parametrize("clock", [8000, 11_025, 16_000, 44_100, 48_000, 90_000])
def test_packets_in_time_have_no_jitter_whatever_their_zeros_are(clock: int) -> None:
    made = native.Source(1, clock)
    for k in range(200):
        made.take(65_500 + k & 0xFFFF, 2**32 - 4 * clock + k * clock // 25 & 0xFFFFFFFF, 20, 1_700_000_000_000_000_000 + k * 40 * MS)
    assert made.facts()["jitter_max"] < 1e-3
    assert made.facts()["last_timestamp"] < 4 * clock


def test_a_packet_that_came_before_the_last_one_in_time_is_no_trouble() -> None:
    made = source()
    made.take(1001, 160, 160, -FRAME_NS)
    assert made.facts()["jitter"] == pytest.approx((160 + 160) / 16)


@pytest.mark.parametrize("jump", [2**31, 2**31 - 1, 2**32 - 100_000, 100_000])
def test_a_jump_of_the_timestamp_is_no_jitter(jump: int) -> None:
    made = source()
    made.take(1001, jump, 160, FRAME_NS)
    made.take(1002, (jump + 160) % 2**32, 160, 2 * FRAME_NS)
    assert made.facts()["jitter_max"] < 1e-9


def test_a_hold_is_no_jitter_and_a_stall_is() -> None:
    made = source()
    made.take(1001, 160, 160, 3_000 * MS)
    assert made.facts()["jitter"] == 0
    made.take(1002, 320, 160, 3_000 * MS + 1_900 * MS)
    assert made.facts()["jitter"] == pytest.approx((1_900 * 8 - 160) / 16)


def test_a_digit_between_speech_is_no_jitter() -> None:
    """Its packets have the timestamp of its begin, and its end comes three times; speech goes on where it would have been."""
    made, timestamps = source(), [160, *[320] * 7, 9 * 160, 10 * 160]
    for k, timestamp in enumerate(timestamps, 1):
        made.take(FIRST + k, timestamp, 4, k * FRAME_NS)
    assert made.facts()["jitter_max"] < 1e-9
    assert (made.facts()["last_ns"], made.facts()["last_timestamp"]) == (10 * FRAME_NS, 1600)
    made.take(FIRST + 11, 1600, 4, 90 * FRAME_NS)
    assert made.facts()["last_ns"] == 90 * FRAME_NS
    made.take(FIRST + 12, 12 * 160, 160, 12 * FRAME_NS + 16 * MS)
    assert made.facts()["jitter"] == pytest.approx(8)


def test_a_restart_and_a_stray_are_no_jitter() -> None:
    made = source()
    for sequence, timestamp in ((40_000, 7_000), (40_001, 7_160)):
        made.take(sequence, timestamp, 160, FRAME_NS)
    assert made.facts()["jitter"] == 0
    made.take(40_002, 7_320, 160, 3 * FRAME_NS)
    assert made.facts()["jitter"] == pytest.approx(160 / 16)


def test_jitter_begins_anew_with_another_clock_and_the_greatest_stays_in_ms() -> None:
    made = source()
    made.take(1001, 160, 160, FRAME_NS + 16 * MS)
    made.clock(8000)
    assert made.facts()["jitter"] == pytest.approx(8)
    made.clock(48_000)
    facts = made.facts()
    assert (facts["jitter"], facts["clock_rate_hz"]) == (0, 48_000)
    assert facts["jitter_max"] == pytest.approx(48)
    made.take(1002, 5_000_000, 160, 2 * FRAME_NS)
    assert made.facts()["jitter"] == 0
    made.take(1003, 5_000_960, 160, 3 * FRAME_NS + MS)
    assert made.facts()["jitter"] == pytest.approx(48 / 16)


def test_without_a_clock_there_is_no_jitter_until_there_is_one() -> None:
    made = source(clock=0)
    made.take(1001, 160, 160, FRAME_NS + 16 * MS)
    assert made.facts()["jitter_max"] == 0
    made.clock(8000)
    made.take(1002, 320, 160, 2 * FRAME_NS)
    made.take(1003, 480, 160, 3 * FRAME_NS + 2 * MS)
    assert made.facts()["jitter"] == pytest.approx(1)


@pytest.mark.parametrize("time_ns", [2**63 - 1, -(2**63)])
def test_any_time_and_any_clock_stay_finite(time_ns: int) -> None:
    made = source(clock=2**32 - 1)
    made.take(1001, 2**31, 2**32 - 1, time_ns)
    made.take(1002, 0, 2**32 - 1, -time_ns - 1)
    assert 0 <= made.facts()["jitter"] < 2**33


# ---- beside the twin ----


@pytest.mark.parametrize("seed", range(12))
def test_random_walks_are_taken_as_the_twin_takes_them(seed: int) -> None:
    random = Random(seed)
    clock = random.choice((8000, 16_000, 48_000))
    made, twin = native.Source(9, clock), SourceTwin(9, clock)
    sequence, timestamp, now_ns = random.randrange(65536), random.randrange(2**32), random.randrange(2**60)
    for _ in range(3000):
        kind = random.random()
        step = 1 if kind < 0.9 else random.choice((0, 2, -1, -5, -99, -100, -101, 2999, 3000, 3001, 30_000, -3000))
        if random.random() < 0.7 or step == 1:
            sequence = (sequence + step) % 65536
            given = sequence
        else:
            given = (sequence + step) % 65536
        timestamp = (timestamp + random.choice((160, 160, 160, 0, 2**31, -160, 320))) % 2**32
        now_ns += random.choice((FRAME_NS, FRAME_NS + random.randrange(-5 * MS, 5 * MS), 3_000 * MS, 0))
        if random.random() < 0.01:
            clock = random.choice((8000, 16_000, 48_000))
            made.clock(clock)
            twin.change(clock)
        assert made.take(given, timestamp, 160, now_ns) == twin.take(given, timestamp, 160, now_ns)
    facts = made.facts()
    for name, value in twin.facts().items():
        assert facts[name] == pytest.approx(value, rel=1e-6, abs=1e-6), name
    assert facts["restarts"] > 3
    assert facts["strays"] > 3

"""Times as logs write them."""

from __future__ import annotations

from calendar import timegm

import pytest

from engine.trace.stamps import SECOND, Clock, days, epoch_ns

MAY = timegm((2024, 5, 6, 7, 8, 9)) * SECOND
WRITTEN = timegm((2024, 5, 6, 12, 0, 0))


def clock(zone_s: int = 0, mtime: float = WRITTEN) -> Clock:
    return Clock(zone_s, mtime)


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (b"2024-05-06 07:08:09.123456", MAY + 123_456_000),
        (b"2024/05/06 07:08:09.5", MAY + 500_000_000),
        (b"2024.05.06 07:08:09:123 UTC", MAY + 123_000_000),
        (b"2024-05-06T07:08:09Z", MAY),
        (b"2024-05-06T09:08:09+02:00", MAY),
        (b"2024-05-06T01:38:09.000-0530", MAY),
        (b"2024-05-06 03:08:09 EDT", MAY),
        (b"2024-05-06\t07:08:09.000001\t1714979289.000001", MAY + 1000),
        (b"@2024-05-06 07:08:09,123||FINEST", MAY + 123_000_000),
        (b"May  6 07:08:09.123", MAY + 123_000_000),
        (b"*May 6 2024 07:08:09.123 UTC:", MAY + 123_000_000),
        (b"Mon May  6 07:08:09 2024", MAY),
        (b"May 06, 2024 09:08:09.000000000 CEST", MAY),
        (b"[06-05-2024, 07:08:09.123]", MAY + 123_000_000),
        (b"20240506070809.123456", MAY + 123_456_000),
    ],
)
def test_dated_stamps_are_nanoseconds_since_1970(stamp, expected):
    assert clock().find(b"<134> " + stamp) == (expected, True)


def test_a_stamp_without_a_zone_takes_the_given_one():
    assert clock(7200).find(b"2024-05-06 09:08:09") == (MAY, True)
    assert clock(7200).find(b"2024-05-06 07:08:09 UTC") == (MAY, True)
    assert clock(7200).find(b"09:08:09") == (MAY, False)


def test_a_time_of_day_rolls_over_at_midnight():
    ours = clock()
    times = [
        ours.find(stamp) for stamp in (b"23:59:58.000", b"23:59:59.500", b"00:00:00.250", b"00:00:00.100")
    ]
    assert all(not known for _, known in times)
    first = times[0][0]
    assert [moment - first for moment, _ in times] == [0, 1_500_000_000, 2_250_000_000, 2_100_000_000]


def test_a_time_of_day_later_than_the_log_was_written_is_of_the_day_before():
    assert clock().find(b"13:00:00")[0] == timegm((2024, 5, 5, 13, 0, 0)) * SECOND


def test_a_stamp_without_a_year_takes_the_newest_year_that_is_past():
    assert clock().find(b"May  7 00:00:00")[0] == timegm((2024, 5, 7, 0, 0, 0)) * SECOND
    assert clock().find(b"May  8 00:00:00")[0] == timegm((2023, 5, 8, 0, 0, 0)) * SECOND


def test_a_year_steps_on_when_the_month_wraps():
    ours = clock(mtime=timegm((2024, 1, 2, 0, 0, 0)))
    assert ours.find(b"Dec 31 23:59:59")[0] == timegm((2023, 12, 31, 23, 59, 59)) * SECOND
    assert ours.find(b"Jan  1 00:00:01")[0] == timegm((2024, 1, 1, 0, 0, 1)) * SECOND


def test_time_does_not_go_back_in_the_hour_that_clocks_repeat():
    ours = clock()
    stamps = (b"2023-10-29 02:59:59.000", b"2023-10-29 02:00:00.000", b"2023-10-29 02:00:01.000")
    moments = [ours.find(stamp)[0] for stamp in stamps]
    assert [moment - moments[0] for moment in moments] == [0, SECOND, 2 * SECOND]


def test_time_may_go_back_on_any_other_day():
    ours = clock()
    moments = [ours.find(stamp)[0] for stamp in (b"2023-10-30 02:59:59", b"2023-10-30 02:00:00")]
    assert moments[1] - moments[0] == -3599 * SECOND


@pytest.mark.parametrize(
    "stamp", [b"2024-13-06 07:08:09", b"2024-02-30 07:08:09", b"May 32 07:08:09", b"0000-00-00 00:00:00"]
)
def test_dates_that_do_not_exist_are_no_times(stamp):
    assert clock().find(stamp)[0] is None


def test_hours_that_do_not_exist_are_no_times():
    assert clock().find(b"25:00:00")[0] is None


def test_days_agree_with_the_calendar():
    for year, month, day in ((1970, 1, 1), (2000, 2, 29), (2024, 12, 31), (2100, 3, 1)):
        assert days(year, month, day) == timegm((year, month, day, 0, 0, 0)) // 86_400


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1700000000.123456", 1_700_000_000_123_456_000), ("12", 12 * SECOND), ("1.x", None), ("", None)],
)
def test_decimal_seconds(text, expected):
    assert epoch_ns(text) == expected

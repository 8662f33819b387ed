"""engine.clock: times as documents and answers have them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from engine.clock import iso, iso_or_none


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_720_423_178.107, "2024-07-08T07:19:38.107Z"),
        (1_720_423_178.1079, "2024-07-08T07:19:38.107Z"),
        (-0.5, "1969-12-31T23:59:59.500Z"),
    ],
)
def test_times_are_utc_with_milliseconds(at: float, told: str) -> None:
    assert iso(at) == told
    assert iso_or_none(at) == told
    assert datetime.fromisoformat(told).astimezone(UTC).timestamp() == pytest.approx(at, abs=0.001)


def test_a_time_that_is_not_known_is_none() -> None:
    assert iso_or_none(None) is None


@pytest.mark.parametrize("at", [float("nan"), 1e12, 1e300])
def test_no_time_is_no_text(at: float) -> None:
    with pytest.raises((ValueError, OverflowError, OSError)):
        iso(at)

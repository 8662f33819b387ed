"""Times as logs write them, to nanoseconds since 1970 UTC."""

from __future__ import annotations

import re
import time
from calendar import monthrange

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
MONTHS = {
    name: number
    for number, name in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1
    )
}
# Abbreviations a log prints after the time; minutes east of UTC. Ambiguous ones take their North American meaning.
ZONES = {
    b"Z": 0, b"UTC": 0, b"GMT": 0, b"WET": 0, b"WEST": 60, b"BST": 60, b"CET": 60, b"CEST": 120, b"MET": 60,
    b"MEST": 120, b"EET": 120, b"EEST": 180, b"MSK": 180, b"EST": -300, b"EDT": -240, b"CST": -360, b"CDT": -300,
    b"MST": -420, b"MDT": -360, b"PST": -480, b"PDT": -420, b"AKST": -540, b"AKDT": -480, b"HST": -600,
    b"JST": 540, b"KST": 540, b"SGT": 480, b"HKT": 480, b"AEST": 600, b"AEDT": 660, b"ACST": 570, b"AWST": 480,
    b"NZST": 720, b"NZDT": 780, b"BRT": -180,
}  # fmt: skip

_FRACTION = rb"(?:[.,:](?P<fraction>\d{1,9}))?"
_OF_DAY = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)" + _FRACTION
_ZONE = rb"(?: ?(?P<zone>Z\b|[+-]\d\d:?\d\d\b|[A-Z]{3,4}\b))?"
_NAMES = rb"(?P<month>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DATED = re.compile(rb"(?P<year>\d{4})[-/.](?P<month>\d\d)[-/.](?P<day>\d\d)[T\t ,|-]{1,3}" + _OF_DAY + _ZONE)
_DAY_FIRST = re.compile(rb"(?P<day>\d\d)[-/](?P<month>\d\d)[-/](?P<year>\d{4})[T ,-]{1,3}" + _OF_DAY + _ZONE)
_NAMED = re.compile(_NAMES + rb" {1,2}(?P<day>\d{1,2})(?:,? (?P<year>\d{4}))?,? " + _OF_DAY + _ZONE)
_CTIME_YEAR = re.compile(rb" (?P<year>\d{4})\b")
_COMPACT = re.compile(
    rb"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)\.(?P<fraction>\d{3,6})"
)
_DATELESS = re.compile(rb"(?<![\d:.])" + _OF_DAY)


def days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a date of the proleptic Gregorian calendar."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def fraction_ns(digits: bytes | None) -> int:
    """Nanoseconds of the digits after the point."""
    return int(digits[:9].ljust(9, b"0")) if digits else 0


def epoch_ns(text: str | bytes) -> int | None:
    """Nanoseconds of decimal seconds since 1970 ("1700000000.123456"), None for anything else."""
    raw = text.encode() if isinstance(text, str) else text
    whole, _, fraction = raw.strip().partition(b".")
    if not whole.isdigit() or len(whole) > 10 or (fraction and not fraction.isdigit()):
        return None
    return int(whole) * SECOND + fraction_ns(fraction or None)


class Clock:
    """Turns the stamps of one input into times, remembering what a date-less or year-less stamp leaves open.

    `zone_ns` is what is east of UTC for stamps that name no zone; `newest` is when the log was last written;
    `elapsed_ns` sums up stamps that say how long after the one before.
    """

    __slots__ = (
        "_date",
        "_day",
        "_days",
        "_fold",
        "_last",
        "_month",
        "_of_day",
        "_year",
        "elapsed_ns",
        "newest",
        "zone_ns",
    )

    def __init__(self, zone_s: int = 0, mtime: float | None = None) -> None:
        self.zone_ns = zone_s * SECOND
        self.newest = int((time.time() if mtime is None else mtime) * SECOND)
        self._day: int | None = None
        self._date = (0, 0, 0)
        self._days = 0
        self._of_day = 0
        self._year = 0
        self._month = 0
        self._last = 0
        self._fold = 0
        self.elapsed_ns = 0

    def find(self, text: bytes) -> tuple[int | None, bool]:
        """(time, whether its date is known) of the first stamp in `text`; (None, True) when there is none."""
        text = text[:512]
        if found := _DATED.search(text):
            return self.read(found), True
        if found := _NAMED.search(text):
            year = found["year"] or (
                year_after["year"] if (year_after := _CTIME_YEAR.match(text, found.end())) else None
            )
            return self.read(found, year), True
        if found := _DAY_FIRST.search(text):
            return self.read(found), True
        if found := _COMPACT.search(text):
            return self.read(found), True
        if found := _DATELESS.search(text):
            return self.of_day(found), False
        return None, True

    def read(self, found: re.Match[bytes], year: bytes | None = None) -> int | None:
        """The time of a match that names month, day, hour, minute, second and perhaps year, fraction and zone."""
        part = found.groupdict()
        year = year or part.get("year")
        month = int(part["month"]) if part["month"].isdigit() else MONTHS.get(part["month"][:3].lower(), 0)
        day = int(part["day"])
        if not 1 <= month <= 12 or not 1 <= day <= 31:
            return None
        seconds = _of_day_s(part)
        if seconds < 0:
            return None
        zone = part.get("zone")
        east = self.zone_ns if zone is None else _zone_ns(zone, self.zone_ns)
        number = int(year) if year else self._newest_year(month, day)
        if (number, month, day) != self._date:
            if day > monthrange(max(1, number), month)[1]:
                return None
            self._date, self._days = (number, month, day), days(number, month, day)
        moment = self._days * DAY + seconds * SECOND + fraction_ns(part.get("fraction")) - east
        return moment if zone is not None else self._unfold(moment, month)

    def of_day(self, found: re.Match[bytes]) -> int | None:
        """The time of a stamp without a date: the day steps on when the clock jumps back by more than half a day."""
        seconds = _of_day_s(found.groupdict())
        if seconds < 0:
            return None
        moment = seconds * SECOND + fraction_ns(found.groupdict().get("fraction"))
        if self._day is None:
            newest = self.newest + self.zone_ns
            self._day = newest // DAY - (1 if moment > newest % DAY else 0)
        elif moment < self._of_day - DAY // 2:
            self._day += 1
        self._of_day = moment
        return self._day * DAY + moment - self.zone_ns

    def _newest_year(self, month: int, day: int) -> int:
        """The newest year that puts the date no later than a day after the log's last write."""
        limit = (self.newest + self.zone_ns) // DAY + 1
        if not self._year:
            self._year = time.gmtime(self.newest // SECOND).tm_year + 1
            while days(self._year, month, min(day, 28)) > limit:
                self._year -= 1
        elif month == 1 and self._month == 12 and days(self._year + 1, month, day) <= limit:
            self._year += 1
        elif month == 12 and self._month == 1:
            self._year -= 1
        self._month = month
        return self._year

    def _unfold(self, moment: int, month: int) -> int:
        """Keeps time from going back in the hour that clocks repeat: on a Sunday night in autumn, either hemisphere."""
        moment += self._fold
        back = self._last - moment
        local = moment + self.zone_ns
        if (
            1800 * SECOND < back <= 3600 * SECOND
            and month in (3, 4, 9, 10, 11)
            and (local // DAY + 3) % 7 == 6
            and local % DAY < 4 * 3600 * SECOND
        ):
            self._fold += 3600 * SECOND
            moment += 3600 * SECOND
        self._last = moment
        return moment


def _of_day_s(part: dict[str, bytes]) -> int:
    hour, minute, second = int(part["hour"]), int(part["minute"]), int(part["second"])
    return hour * 3600 + minute * 60 + second if hour < 24 and minute < 60 and second < 61 else -1


def _zone_ns(zone: bytes, default: int) -> int:
    if zone[:1] in b"+-":
        minutes = int(zone[1:3]) * 60 + int(zone[-2:])
        return (-minutes if zone[:1] == b"-" else minutes) * 60 * SECOND
    named = ZONES.get(zone)
    return default if named is None else named * 60 * SECOND

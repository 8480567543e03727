"""Spans of time written for people: single ones with a date, weekly ones with days. Pure; the moment is an argument.

2026-11-21T18:00/21:30+01:00           one evening, in that zone
2026-11-21T22:00/2026-11-22T00:30      over midnight; without a zone: this machine's local time
Sat 14:00-23:00                        every Saturday, local time
Mon-Fri,Sun 18:30-01:00                over midnight: belongs to the day on which it begins
daily 09:00-24:00
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone
from typing import Final

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
SHAPES: Final = '"2026-11-21T18:00/21:30+01:00" or "Sat 14:00-23:00"'
_MAX_SINGLE: Final = timedelta(days=31)
_MINUTES_OF_DAY: Final = 24 * 60
_SINGLE: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)/(?:(\d{4}-\d\d-\d\d)T)?(\d\d:\d\d)(Z|[+-]\d\d:\d\d)?", re.ASCII
)
_WEEKLY: Final = re.compile(r"(daily|[A-Za-z,-]+) (\d\d:\d\d)-(\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class SingleWindow:
    """From ``start`` to before ``end``; both with a zone, or both without one: local time."""

    text: str
    start: datetime
    end: datetime

    def covers(self, moment: datetime) -> bool:
        """Whether ``moment``, in this machine's local time with its zone, lies within."""
        at = moment if self.start.tzinfo is not None else moment.replace(tzinfo=None)
        return self.start <= at < self.end


@dataclass(frozen=True, slots=True)
class WeeklyWindow:
    """On ``days`` (Monday is 0) from ``start_minute`` of the local day for ``minutes``."""

    text: str
    days: frozenset[int]
    start_minute: int
    minutes: int

    def covers(self, moment: datetime) -> bool:
        """Whether ``moment``, in this machine's local time, lies within."""
        minute, day = moment.hour * 60 + moment.minute, moment.weekday()
        today = day in self.days and self.start_minute <= minute < self.start_minute + self.minutes
        yesterday = (day - 1) % 7 in self.days and minute + _MINUTES_OF_DAY < self.start_minute + self.minutes
        return today or yesterday


Window = SingleWindow | WeeklyWindow


def parse_window(text: str) -> Window:
    """Read a span. Raises ValueError that says the shapes that there are."""
    words = text.strip()
    if single := _SINGLE.fullmatch(words):
        return _single(words, single)
    if weekly := _WEEKLY.fullmatch(words):
        start, end = _minute(words, weekly[2]), _minute(words, weekly[3])
        if start in (_MINUTES_OF_DAY, end):
            raise ValueError(f'"{words}": begin and end are the same; a whole day is 00:00-24:00')
        return WeeklyWindow(words, _days(words, weekly[1]), start, (end - start) % _MINUTES_OF_DAY or _MINUTES_OF_DAY)
    raise ValueError(f'"{words}" is no span of time; write {SHAPES}')


def covering(windows: Iterable[Window], moment: datetime, ahead: timedelta = timedelta()) -> Window | None:
    """The first span that holds ``moment`` or begins within ``ahead`` of it, to the minute; ``moment`` has a zone."""
    if moment.tzinfo is None:
        raise ValueError("the moment needs a zone")
    steps = range(int(ahead.total_seconds()) // 60 + 1)
    # in UTC: local time has hours that come twice or never
    moments = [(moment.astimezone(timezone.utc) + timedelta(minutes=one)).astimezone(moment.tzinfo) for one in steps]
    return next((window for window in windows if any(window.covers(one) for one in moments)), None)


def _single(words: str, found: re.Match[str]) -> SingleWindow:
    date, begin, end_date, end, zone = found.groups()
    zone = "+00:00" if zone == "Z" else zone or ""
    try:
        start = _datetime(date, _minute(words, begin), zone)
        last = _datetime(end_date or date, _minute(words, end), zone)
    except (ValueError, OverflowError) as error:
        raise ValueError(f'"{words}": {error}; write {SHAPES}') from error
    if end_date is None and last <= start:
        last += timedelta(days=1)
    if not start < last <= start + _MAX_SINGLE:
        raise ValueError(f'"{words}" ends before it begins, or lasts more than {_MAX_SINGLE.days} days')
    return SingleWindow(words, start, last)


def _datetime(date: str, minute: int, zone: str) -> datetime:
    day = datetime.fromisoformat(f"{date}T00:00:00{zone}")
    return day + timedelta(minutes=minute)


def _minute(words: str, clock: str) -> int:
    if clock == "24:00":
        return _MINUTES_OF_DAY
    try:
        at = time.fromisoformat(clock)
    except ValueError as error:
        raise ValueError(f'"{words}": {clock} is no time of day (00:00 to 24:00)') from error
    return at.hour * 60 + at.minute


def _days(words: str, text: str) -> frozenset[int]:
    if text == "daily":
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(f'"{words}": {part} is no day; write {", ".join(DAYS)}, a range as Mon-Fri, or daily')
        start = DAYS.index(first)
        length = (DAYS.index(last) - start) % 7 if dash else 0
        found |= {(start + one) % 7 for one in range(length + 1)}
    return frozenset(found)

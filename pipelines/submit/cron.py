"""Schedules in crontab's notation, converted to what Kubeflow Pipelines expects."""

# KFP parses a schedule with robfig/cron 1.2, whose fields start with seconds and whose last field is optional. It accepts the five fields
# of a crontab, but means something else by them: "0 3 * * *" runs three minutes past each hour. A schedule that never occurs hangs its
# controller, which looks for the next time forever.

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from vicur.errors import VicurError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(?P<first>\w+|\*)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?")
_EXAMPLE = "Write minute, hour, day of the month, month and weekday, such as '0 3 * * *' for 03:00 every day."
_YEARS = 8  # between two leap days, at most


@dataclass(frozen=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    # Crontab has two numbers for Sunday.
    _Field("weekday", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True)
class Schedule:
    """A schedule, as the values that each field allows. If both kinds of days are restricted, either is enough."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...] | None  # None: every day of the month
    months: tuple[int, ...]
    weekdays: tuple[int, ...] | None  # Sunday is 0. None: every weekday

    @property
    def cron(self) -> str:
        """The schedule in six fields, seconds first, as Kubeflow Pipelines expects it."""
        months = None if len(self.months) == len(_MONTHS) else self.months
        minutes = None if len(self.minutes) == 60 else self.minutes
        hours = None if len(self.hours) == 24 else self.hours
        fields = (minutes, hours, self.days, months, self.weekdays)
        return " ".join(("0", *("*" if each is None else ",".join(map(str, each)) for each in fields)))

    def times(self, after: datetime) -> Iterator[datetime]:
        """Yield the next times of the schedule, up to some years ahead."""
        day = after.replace(hour=0, minute=0, second=0, microsecond=0)
        for number in range(366 * _YEARS):
            date = day + timedelta(days=number)
            if date.month in self.months and self._has_day(date):
                times = (date.replace(hour=hour, minute=minute) for hour in self.hours for minute in self.minutes)
                yield from (time for time in times if time > after)

    def _has_day(self, date: datetime) -> bool:
        # Python's Monday is 0.
        in_month, in_week = self.days, self.weekdays
        of_month = in_month is None or date.day in in_month
        of_week = in_week is None or (date.weekday() + 1) % 7 in in_week
        both = in_month is not None and in_week is not None
        return of_month or of_week if both else of_month and of_week


def parse_schedule(text: str) -> Schedule:
    """Parse five fields in crontab's notation.

    Raises:
        VicurError: if the text is not a schedule, or one that never occurs.
    """
    parts = text.lower().split()
    if len(parts) != len(_FIELDS):
        extra = " Leave out the seconds." if len(parts) == len(_FIELDS) + 1 else ""
        raise _refused(text, f"{len(parts)} field{'' if len(parts) == 1 else 's'}, not five", f"{_EXAMPLE}{extra}")
    minutes, hours, days, months, weekdays = (
        _values(part, field, text) for part, field in zip(parts, _FIELDS, strict=True)
    )
    # A field that starts with a star does not restrict the days, whatever its step.
    every_day, every_weekday = parts[2] == "*", parts[4] == "*"
    schedule = Schedule(
        minutes,
        hours,
        None if every_day else days,
        months,
        None if every_weekday else tuple(sorted({day % 7 for day in weekdays})),
    )
    if every_weekday and not any(days[0] <= _DAYS_IN_MONTH[month - 1] for month in months):
        raise _refused(text, "none of its months has such a day", "Choose a day that exists.")
    return schedule


def next_times(schedule: Schedule, after: datetime, count: int) -> list[datetime]:
    """Return the next times of a schedule."""
    return list(islice(schedule.times(after), count))


def _values(part: str, field: _Field, text: str) -> tuple[int, ...]:
    values: set[int] = set()
    for each in part.split(","):
        match = _PART.fullmatch(each)
        if match is None or (match["first"] == "*" and match["last"]):
            raise _refused(text, f"{each!r} is not a valid {field.name}", _EXAMPLE)
        first = field.least if match["first"] == "*" else _number(match["first"], field, text)
        # A star is the whole range, and so is the end of a single number with a step.
        last = first if match["first"] != "*" and not match["step"] else field.most
        last = _number(match["last"], field, text) if match["last"] else last
        step = int(match["step"] or 1)
        if step < 1 or last < first:
            raise _refused(text, f"{each!r} contains no {field.name}", _EXAMPLE)
        values |= set(range(first, last + 1, step))
    return tuple(sorted(values))


def _number(word: str, field: _Field, text: str) -> int:
    value = field.names.index(word) + field.least if word in field.names else int(word) if word.isdecimal() else None
    if value is None or not field.least <= value <= field.most:
        allowed = f"{field.least} to {field.most}" + (
            f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
        )
        raise _refused(text, f"{word!r} is not a valid {field.name}", f"It is {allowed}.")
    return value


def _refused(text: str, why: str, remedy: str) -> VicurError:
    return VicurError(f"{text!r} is not a schedule: {why}.", where="--schedule", remedy=remedy)

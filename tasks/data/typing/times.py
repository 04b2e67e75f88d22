"""Times written as text, and numbers that stand for times."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np

from tasks.base.arrays import Array, Ints
from tasks.base.runtime.libraries import pa, pc
from tasks.data.typing.storage import integers_of

Order = Literal["iso", "day_first", "month_first", "ambiguous"]
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CLOCK = (
    r"(?:[T ,]\s*(?P<h>\d{1,2})[:.](?P<mi>\d{2})(?:[:.](?P<s>\d{2})(?:[.,](?P<f>\d{1,9}))?)?"
    r"\s*(?P<half>[AaPp])?(?:\.?[Mm]\.?)?)?\s*(?P<z>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?$"
)
_DATE = r"^(?P<a>\d{1,4})[-/. ](?P<b>\d{1,2})[-/. ](?P<c>\d{1,4})" + _CLOCK
_YEAR_MONTH = r"^(?:1[5-9]|2[0-9])\d{2}-(?:0[1-9]|1[0-2])$"
_TIME_OF_DAY = (
    r"^(?P<h>\d{1,2})(?::(?P<m>\d{2})|\.(?P<m2>\d{2})\.(?P<s2>\d{2})|:(?P<m3>\d{2}):(?P<s3>\d{2}))$"
)
_LOOKS = r"^\d{1,4}[-/. ](?:\d{1,2}|[A-Za-z]{3,9})[-/. ]\d{1,4}"


@dataclass(frozen=True)
class Times:
    """Timestamps read from text."""

    values: Any  # timestamp[us], in UTC where the text states offsets
    order: Order  # which of two numbers is the day
    other: Any = None  # the month-first reading where `order` is ``ambiguous``


def parse_times(values: Any) -> Times | None:
    """Read strings without null as times; None where one of them is not a time.

    >>> parse_times(pa.array(["31/12/2013"])).values[0].as_py()
    datetime.datetime(2013, 12, 31, 0, 0)
    """
    # Arrow would read "2013" and "2013-01-01T05" as times too.
    if pc.all(pc.match_substring_regex(values[:100], r"^\d{4}-\d{2}-\d{2}")).as_py():
        for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
            with contextlib.suppress(pa.ArrowInvalid):
                return Times(values.cast(kind), "iso")
    if pc.all(pc.match_substring_regex(values, _YEAR_MONTH)).as_py():
        return Times(pc.binary_join_element_wise(values, "01", "-").cast(pa.timestamp("us")), "iso")
    return _parse_parts(values)


def _parse_parts(values: Any) -> Times | None:
    if not pc.all(pc.match_substring_regex(values[:50], _LOOKS)).as_py():
        return None
    named = bool(pc.any(pc.match_substring_regex(values[:50], "[A-Za-z]{3}")).as_py())
    found = pc.extract_regex(_month_names_out(values) if named else values, _DATE)
    if found.null_count or not len(found):
        return None
    part = {name: found.field(i) for i, name in enumerate(_group_names(found.type))}
    clock = _clock(part)
    a, b, c = (_integer(part[name]) for name in "abc")
    if clock is None or bool(((a >= 1000) == (c >= 1000)).any()):
        return None
    zoned = _offsets(part["z"])
    if zoned is None:
        return None
    offset, kind = zoned

    def build(year: Array, month: Array, day: Array) -> Any:
        days = _days(year, month, day)
        if days is None:
            return None
        return pa.array((days.astype("M8[us]") + clock - offset).astype("M8[us]")).cast(kind)

    if bool((a >= 1000).all()):
        stamps = build(a, b, c)
        return None if stamps is None else Times(stamps, "iso")
    if bool((a >= 1000).any()):
        return None
    return _by_order(build(c, b, a), None if named else build(c, a, b))


def _by_order(day_first: Any, month_first: Any) -> Times | None:
    if day_first is None:
        return None if month_first is None else Times(month_first, "month_first")
    if month_first is None or day_first.equals(month_first):
        return Times(day_first, "day_first")
    return Times(day_first, "ambiguous", month_first)


def _group_names(kind: Any) -> list[str]:
    return [kind.field(i).name for i in range(kind.num_fields)]


def _month_names_out(values: Any) -> Any:
    for number, name in enumerate(_MONTHS, start=1):
        values = pc.replace_substring_regex(
            values, rf"(?i)([-/. ]){name}[a-z]*([-/. ])", rf"\1{number:02d}\2"
        )
    return values


def _integer(texts: Any) -> Ints:
    filled = pc.if_else(pc.equal(texts, ""), "0", texts)
    return filled.cast(pa.int64()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _days(year: Array, month: Array, day: Array) -> Array | None:
    if bool(((month < 1) | (month > 12) | (day < 1) | (day > 31)).any()):
        return None
    months = (year - 1970).astype("M8[Y]").astype("M8[M]") + (month - 1).astype("m8[M]")
    days = months.astype("M8[D]") + (day - 1).astype("m8[D]")
    # 31 April would run over into May.
    return days if bool((days.astype("M8[M]") == months).all()) else None


def _clock(part: dict[str, Any]) -> Array | None:
    hour, minute, second = (_integer(part[name]) for name in ("h", "mi", "s"))
    half = pc.utf8_lower(part["half"]).to_numpy(zero_copy_only=False).astype(str)
    hour = np.where(half == "p", hour % 12 + 12, np.where(half == "a", hour % 12, hour))
    if bool(((hour > 23) | (minute > 59) | (second > 59)).any()):
        return None
    micro = _integer(pc.utf8_slice_codeunits(pc.utf8_rpad(part["f"], 6, "0"), 0, 6))
    return ((hour * 60 + minute) * 60 + second) * np.timedelta64(
        1_000_000, "us"
    ) + micro * np.timedelta64(1, "us")


def _offsets(zones: Any) -> tuple[Array, Any] | None:
    """Return offsets from UTC and the type; None where only some of the cells state one."""
    blank = pc.equal(zones, "")
    if pc.all(blank).as_py():
        return np.zeros(len(zones), "m8[us]"), pa.timestamp("us")
    if pc.any(blank).as_py():
        return None
    plain = pc.replace_substring_regex(zones, "^(Z|UTC|GMT)$", "+0000")
    plain = pc.utf8_rpad(pc.replace_substring(plain, ":", ""), 5, "0")
    sign = np.where(pc.starts_with(plain, "-").to_numpy(zero_copy_only=False), -1, 1)
    hours = _integer(pc.utf8_slice_codeunits(plain, 1, 3))
    minutes = _integer(pc.utf8_slice_codeunits(plain, 3, 5))
    return sign * (hours * 60 + minutes) * np.timedelta64(60_000_000, "us"), pa.timestamp(
        "us", "UTC"
    )


def parse_format(values: Any, form: str) -> Any | None:
    """Read strings without null by a strptime format; None where one does not match."""
    stamps = []
    for text in values.to_pylist():
        try:
            stamps.append(datetime.strptime(text.strip(), form))
        except ValueError:
            return None
    zoned = {stamp.tzinfo is not None for stamp in stamps}
    return pa.array(stamps, pa.timestamp("us", "UTC") if zoned == {True} else pa.timestamp("us"))


def format_of(values: Any, order: Order) -> str | None:
    """Return the strptime format of dates that were read in `order`; None for ISO or none found.

    >>> format_of(pa.array(["31/12/2013 07:30"]), "day_first")
    '%d/%m/%Y %H:%M'
    """
    some = values[:100]
    if order not in ("day_first", "month_first"):
        return None
    mark = next((sign for sign in "/-. " if sign in some[0].as_py()[:3]), "/")
    first, second = ("%d", "%m") if order == "day_first" else ("%m", "%d")
    for clock in ("", " %H:%M", " %H:%M:%S", "T%H:%M:%S", " %H:%M:%S.%f", " %I:%M %p"):
        form = f"{first}{mark}{second}{mark}%Y{clock}"
        if parse_format(some, form) is not None:
            return form
    return None


def parse_time_of_day(values: Any) -> Any | None:
    """Read strings without null as seconds since midnight; None where one is no time of day.

    >>> parse_time_of_day(pa.array(["18.00.00", "07.30.00"])).to_pylist()
    [64800, 27000]
    """
    found = pc.extract_regex(values[:50], _TIME_OF_DAY)
    if found.null_count or not len(found):
        return None
    found = pc.extract_regex(values, _TIME_OF_DAY)
    if found.null_count:
        return None
    part = {name: _integer(found.field(i)) for i, name in enumerate(_group_names(found.type))}
    minute = part["m"] + part["m2"] + part["m3"]
    second = part["s2"] + part["s3"]
    if bool(((part["h"] > 23) | (minute > 59) | (second > 59)).any()):
        return None
    return pa.array((part["h"] * 60 + minute) * 60 + second)


def numbers_as_times(column: Any) -> tuple[Any, str] | None:
    """Return a numeric column as timestamps, and what its numbers were taken for."""
    # Whole numbers are years (1500 to 2999), dates as yyyymmdd, or seconds, milliseconds or
    # microseconds since 1970 between 1980 and 2100; anything else is no time.
    if pa.types.is_floating(column.type):
        column = integers_of(column)
        if column is None:
            return None
    ends = pc.min_max(column)
    low, high = ends["min"].as_py(), ends["max"].as_py()
    if low is None:
        return column.cast(pa.int64()).cast(pa.timestamp("us")), "no times"
    if low >= 1500 and high <= 2999:
        return _from_text(column, "-01-01", "years")
    if low >= 15000101 and high <= 29991231:
        return _from_text(column, "", "dates written yyyymmdd")
    for unit, scale in (("s", 1), ("ms", 10**3), ("us", 10**6)):
        if 315_532_800 * scale <= low and high <= 4_102_444_800 * scale:
            stamps = column.cast(pa.int64()).cast(pa.timestamp(unit)).cast(pa.timestamp("us"))
            return stamps, f"{unit} since 1970"
    return None


def _from_text(column: Any, tail: str, what: str) -> tuple[Any, str] | None:
    texts = column.cast(pa.string())
    if tail:
        texts = pc.binary_join_element_wise(texts, tail, "")
    else:
        texts = pc.replace_substring_regex(texts, r"^(\d{4})(\d{2})(\d{2})$", r"\1-\2-\3")
    try:
        return texts.cast(pa.timestamp("us")), what
    except pa.ArrowInvalid:
        return None

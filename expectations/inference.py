"""A contract inferred from a table, with slack, so that later rows of the same process keep it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from expectations.contract import (
    CategoryRule,
    ColumnRule,
    Contract,
    FreshnessRule,
    FutureRule,
    NullRule,
    RangeRule,
    RowsRule,
    ScaleRule,
    Storage,
    TableRule,
)
from expectations.engine.libraries import pd
from expectations.facts.column_facts import ColumnFacts, all_different, facts_of, later_than
from expectations.facts.row_order import MIN_VARYING, RowOrder, order_rows
from expectations.text.time_spans import as_naive_utc

MAX_CATEGORIES = 200
_MAX_CATEGORY_LENGTH = 200
_TREND_SLACK = 10.0
_ALWAYS_NEW = 0.4
_MOST_OUTSIDE = 0.5
_MOST_UNSEEN = 0.25
_HARDLY_EVER = 0.5
_LABELS_GONE = 0.5
_SELDOM = 1e-3
_SIZES = 50
_DIFFERENT_SIZES = 5
_UNITS = 30.0
_FAR = 10.0
_LIVE = timedelta(days=90)
_NO_FEATURES = {"constant", "identifier"}
_BY_KIND: dict[str, Storage] = {"numeric": "number", "boolean": "boolean", "datetime": "time"}


def infer_contract(
    frame: pd.DataFrame,
    kinds: Mapping[str, str],
    *,
    target: str | None = None,
    time_column: str | None = None,
    id_columns: Sequence[str] = (),
    slack: float = 0.5,
    name: str = "table",
    now: datetime | None = None,
    order: RowOrder | None = None,
) -> Contract:
    """Return the contract of `frame`, loosened by what later rows may differ in.

    Errors are only what makes predictions wrong: a column that is absent, of another kind, of
    another unit or with other codes, without any value where it hardly ever was, an id twice, a
    target that most rows lack. All else is a warning, which monitoring weighs. Ranges reach `slack`
    times their span further on both sides, but stay on one side of 0 when all values do; columns
    that move with time get ten spans. Columns of `frame` without a kind are left out. `now` decides
    whether the table is still being added to. With the `order` of the rows `frame` needs no time
    column.
    """
    order = order or order_rows(frame, time_column)
    columns = {
        str(column): _column(facts_of(frame[column]), kinds[str(column)], order, slack)
        for column in frame.columns
        if str(column) in kinds
    }
    columns |= dict(_roles(frame, columns, target, id_columns, order))
    moment = now or datetime.now(UTC)
    times = facts_of(frame[time_column]) if time_column in columns else None
    times = times if times is not None and times.stored == "time" else None
    return Contract(
        contract=name,
        version=2,
        table=TableRule(
            rows=RowsRule(min=max(1, _round_down(len(frame) / 20))),
            freshness=None if times is None else _freshness(str(time_column), times, moment),
            future=None if times is None else _future(str(time_column), times, moment),
            unique=_unique_together(frame, columns, id_columns),
        ),
        columns=columns,
    )


def _column(facts: ColumnFacts, kind: str, order: RowOrder, slack: float) -> ColumnRule:
    stated = {"kind": kind, "stored_as": _stored_as(facts, kind), "nulls": _nulls(facts, order)}
    rule = ColumnRule.model_validate(stated)
    if facts.stored == "empty":
        return rule
    if kind == "constant" or facts.constant:
        return rule.model_copy(update=_of_constant(facts))
    changes: dict[str, Any] = {}
    if kind == "numeric" and facts.stored == "number":
        trend = order.moves_along(facts.values)
        # Little data shows little of what its values can be.
        wider = min(4.0, max(1.0, math.sqrt(1000 / facts.present)))
        changes["range"] = _range(facts, _TREND_SLACK if trend else slack * wider)
        changes["scale"] = _scale(facts, order)
        # The month, or the year, is rightly constant in a short table.
        rightly_constant = trend and facts.values.nunique() < MIN_VARYING
        changes["varies"] = not rightly_constant and order.often_differs(facts.values)
    elif kind == "datetime" and facts.stored == "time":
        changes["range"] = _time_range(facts, slack)
    elif kind in {"categorical", "boolean"}:
        changes["varies"] = order.often_differs(facts.values)
        changes["categories"] = _categories(facts, order) if kind == "categorical" else None
    return rule.model_copy(update=changes)


def _stored_as(facts: ColumnFacts, kind: str) -> Storage | None:
    if facts.stored in {"empty", "mixed"}:
        return None
    usual = None if kind == "constant" else _BY_KIND.get(kind, "text")
    return None if facts.stored == usual else facts.stored  # type: ignore[return-value]


def _nulls(facts: ColumnFacts, order: RowOrder) -> NullRule:
    rows = len(facts.values)
    if rows == 0 or facts.nulls == rows:
        return NullRule(usual=1.0)
    share = facts.nulls / rows
    missing = facts.values.isna().to_numpy()
    if not facts.nulls:
        return NullRule(usual=max(0.01, _up(3 / rows)), empty_from=_empty_from(0, 0, rows))
    # Missing values come in stretches: the worst stretch of the past is what may come again.
    worst = max(float(missing[block].mean()) for block in order.blocks)
    error = 4 * math.sqrt(worst * (1 - worst) / len(order.blocks[0]))
    usual = min(worst + max(0.01, error), share + 0.4 * (1 - share))
    rule = NullRule(usual=_up(usual))
    if share > _HARDLY_EVER:
        return rule
    longest = order.longest(missing)
    return rule.model_copy(update={"empty_from": _empty_from(longest, facts.nulls, rows)})


def _empty_from(longest: int, nulls: int, rows: int) -> int:
    """Return how many rows without a value are too many for chance, and for a longer stretch."""
    # One row is enough where none of thousands was missing: the upper end of what its share may be
    # is the rule of three's (Hanley and Lippman-Hand, 1983, JAMA).
    upper = min(0.99, (nulls + 3) / rows)
    by_chance = math.ceil(math.log(_SELDOM) / math.log(upper) - 1e-9)
    return max(by_chance, 2 * longest + 1 if longest else 1)


def _scale(facts: ColumnFacts, order: RowOrder) -> ScaleRule | None:
    """Return between which sizes the middle of later rows lies unless their unit has changed."""
    # Both beyond thirty times what the middles of the past were, and beyond all that was ever seen.
    sizes = facts.sizes
    if sizes.size < _SIZES or np.unique(sizes[:10_000]).size < _DIFFERENT_SIZES:
        return None
    numbers = np.abs(facts.values.to_numpy(np.float64, na_value=np.nan))
    with np.errstate(invalid="ignore"):
        numbers = np.where(np.isfinite(numbers) & (numbers > 0), numbers, np.nan)
    middles = [
        float(np.median(known))
        for block in order.blocks
        if (known := numbers[block][~np.isnan(numbers[block])]).size
    ]
    least = min(min(middles) / _UNITS, float(sizes.min()) / 1.5)
    most = max(max(middles) * _UNITS, float(sizes.max()) * 1.5)
    if not (math.isfinite(most) and most > 0):
        return None
    far = min(_FAR * float(sizes.max()), 1e300)
    return ScaleRule(
        min=_two_digits(least, math.floor),
        max=_two_digits(most, math.ceil),
        far=_two_digits(far, math.ceil),
    )


def _two_digits(value: float, turn: Any) -> float:
    if value < 1e-290:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    found = float(f"{turn(value / unit) * unit:.3g}")
    return found if math.isfinite(found) else value


def _up(share: float) -> float:
    """Round up to a hundredth, or finer close to 1 where a hundredth would reach it."""
    for digits in (2, 3, 4, 6) if share < 0.9 else (3, 4, 6):
        rounded = math.ceil(share * 10**digits - 1e-9) / 10**digits
        if rounded < 1.0 or share >= 1.0:
            return min(rounded, 1.0)
    return share


def _of_constant(facts: ColumnFacts) -> dict[str, Any]:
    if facts.stored == "number" and np.isfinite([facts.low, facts.high]).all():
        low, high = _plain(facts.low), _plain(facts.high)
        return {"range": RangeRule(min=low, max=high, severity="warning")}
    if facts.stored in {"text", "boolean"}:
        values = _listed(facts)
        if values:
            return {"categories": CategoryRule(values=values, severity="warning")}
    return {}


def _range(facts: ColumnFacts, slack: float) -> RangeRule | None:
    low, high, infinite = facts.low, facts.high, 0
    if not np.isfinite([low, high]).all():
        values = facts.values.to_numpy(np.float64, na_value=np.nan)
        finite = values[np.isfinite(values)]
        if not finite.size:
            return None
        low, high, infinite = finite.min(), finite.max(), facts.present - finite.size
    reach = slack * (float(high) - float(low)) if low < high else slack * abs(float(low)) or 1.0
    least = _outward(float(low) - reach, reach, math.floor)
    most = _outward(float(high) + reach, reach, math.ceil)
    if not (math.isfinite(least) and math.isfinite(most)):
        least, most = float(low), float(high)
    allowed = max(0.05, _up(2 * infinite / facts.present))
    if pd.api.types.is_integer_dtype(facts.values.dtype):
        least, most = math.floor(least), math.ceil(most)
    return RangeRule(
        min=_plain(max(least, 0.0) if low >= 0 else least),
        max=_plain(min(most, 0.0) if high <= 0 else most),
        max_share=min(1.0, allowed),
        # An economy leaves its range for years; another unit is detected by the scale.
        severity="warning",
    )


def _outward(value: float, reach: float, turn: Any) -> float:
    """Round away from the data to two digits of `reach`, for numbers that people can read."""
    if not math.isfinite(value) or not reach > 1e-300:
        return value
    digits = 1 - math.floor(math.log10(reach))
    if digits >= 0:
        return round(float(turn(value * 10**digits)) / float(10**digits), digits)
    unit = float(10**-digits)
    return float(turn(value / unit)) * unit


def _plain(value: Any) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def _time_range(facts: ColumnFacts, slack: float) -> RangeRule:
    low = pd.Timestamp(facts.low).to_pydatetime(warn=False)
    span = pd.Timestamp(facts.high).to_pydatetime(warn=False) - low
    try:
        least = low - max(span * slack, timedelta(days=1))
    except OverflowError:
        least = low
    first = least.replace(hour=0, minute=0, second=0, microsecond=0)
    return RangeRule(min=first, max_share=_MOST_OUTSIDE)


def _categories(facts: ColumnFacts, order: RowOrder) -> CategoryRule | None:
    if facts.stored not in {"text", "number", "boolean"}:
        return None
    values = _listed(facts)
    if not values or order.novelty(facts.values) > _ALWAYS_NEW:
        return None
    # A window may be all new where a stretch of the past nearly was: months, seasons, campaigns.
    newest = order.newest(facts.values)
    limit = max(_MOST_UNSEEN, _up(3 * newest)) if newest <= _MOST_UNSEEN else 1.0
    return CategoryRule(values=values, max_unseen=limit)


def _listed(facts: ColumnFacts) -> tuple[Any, ...]:
    known = facts.values.dropna()
    # Most columns with too many values show it early.
    if known.iloc[:10_000].nunique() > MAX_CATEGORIES:
        return ()
    found = known.unique().tolist()
    if len(found) > MAX_CATEGORIES:
        return ()
    if facts.stored == "text":
        return tuple(sorted(found)) if max(map(len, found)) <= _MAX_CATEGORY_LENGTH else ()
    if facts.stored == "boolean":
        return tuple(sorted(bool(value) for value in found))
    numbers = sorted(_plain(value) for value in found if math.isfinite(value))
    return tuple(numbers)


def _roles(
    frame: pd.DataFrame,
    columns: Mapping[str, ColumnRule],
    target: str | None,
    id_columns: Collection[str],
    order: RowOrder,
) -> list[tuple[str, ColumnRule]]:
    changed = []
    for name, rule in columns.items():
        if name != target and rule.kind in _NO_FEATURES and name not in id_columns:
            changed.append((name, rule.model_copy(update={"severity": "warning"})))
    if target in columns:
        rule = columns[str(target)]
        labels = facts_of(frame[target])
        if rule.nulls is not None and labels.present:
            rule = rule.model_copy(update={"nulls": _labelled(rule.nulls, labels, order)})
            changed.append((str(target), rule))
        if rule.categories is not None:
            strict = rule.categories.model_copy(update={"max_unseen": 0.0})
            changed.append((str(target), rule.model_copy(update={"categories": strict})))
    if len(id_columns) == 1:
        (name,) = id_columns
        if name in columns and columns[name].kind != "constant" and all_different(frame[name]):
            changed.append((name, columns[name].model_copy(update={"unique": True})))
    return changed


def _labelled(rule: NullRule, facts: ColumnFacts, order: RowOrder) -> NullRule:
    """Return the rule of a target: a training learns of the rows that have a label.

    It stops only where so many lack one that hardly ever did that the rest stand for another table.
    """
    missing = facts.values.isna().to_numpy()
    worst = max(float(missing[block].mean()) for block in order.blocks)
    error = 4 * math.sqrt(worst * (1 - worst) / len(order.blocks[0]))
    limit = worst + max(0.05, error) + 0.4 * worst * (1 - worst)
    share = facts.nulls / len(facts.values)
    ceiling = 1.0 if share > 0.95 else 1 - (1 - share) / 4
    usual = (rule.usual or 0.0) if facts.nulls else 0.0
    return NullRule(max=_up(max(usual, _LABELS_GONE, min(limit, ceiling))), usual=usual)


def _unique_together(
    frame: pd.DataFrame, columns: Mapping[str, ColumnRule], id_columns: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    names = tuple(id_columns)
    if len(names) < 2 or not all(name in columns for name in names):
        return ()
    return () if frame.duplicated(list(names)).any() else (names,)


def _round_down(rows: float) -> int:
    """Return `rows` with one digit that is not 0."""
    if rows < 10:
        return int(rows)
    unit = 10 ** math.floor(math.log10(rows))
    return int(rows // unit * unit)


def _future(column: str, times: ColumnFacts, now: datetime) -> FutureRule | None:
    """Require past rows only of a table that holds no others: it may be one of bookings."""
    rule = FutureRule(column=column)
    return None if later_than(times, now + rule.tolerance).any() else rule


def _freshness(column: str, times: ColumnFacts, now: datetime) -> FreshnessRule | None:
    """Require fresh rows only of a table that is still being added to."""
    age = as_naive_utc(now) - pd.Timestamp(times.high).to_pydatetime(warn=False)
    if not timedelta(0) <= age <= _LIVE:
        return None
    days = max(1, math.ceil(2 * age / timedelta(days=1)))
    return FreshnessRule(column=column, max_age=timedelta(days=days))

"""The rules of one column, each with its result as text."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from expectations.contract import FAR, FEW_SIZES, ColumnRule, NullRule
from expectations.engine.libraries import pd
from expectations.facts.column_facts import ColumnFacts, Mask, off_scale, outside, repeated, unseen
from expectations.facts.row_order import MIN_VARYING
from expectations.results import CheckResult, exceeds, grade, say_failed
from expectations.suite import RawResult
from expectations.text.phrases import (
    Severity,
    sample_of,
    say_number,
    say_rows,
    say_share,
    say_value,
    shorten,
)

_STORED = {
    "number": "numbers",
    "text": "text",
    "boolean": "true and false",
    "time": "times",
    "mixed": "values of several types",
    "empty": "no values",
}


@dataclass(frozen=True)
class ColumnCheck:
    """One column and everything its rules are judged by."""

    name: str
    rule: ColumnRule
    facts: ColumnFacts
    verdicts: Mapping[str, RawResult]  # rule to Great Expectations' result
    kind: str | None = None  # inferred from the table at hand
    by_chance: bool = False

    def results(self) -> Iterator[CheckResult]:
        """Yield one result for every rule of the column."""
        yield CheckResult(
            self.name, "present", self.rule.severity, True, "the column is there", "it is there"
        )
        kind = self._kind()
        yield kind
        if self.rule.nulls is not None:
            yield self._nulls()
        if not kind.passed:
            return
        judged: tuple[tuple[bool, Callable[[], CheckResult]], ...] = (
            (self.rule.range is not None, self._range),
            (self.rule.scale is not None, self._scale),
            (self.rule.categories is not None, self._categories),
            (self.rule.unique, self._unique),
            (self.rule.varies, self._varies),
        )
        for applies, judge in judged:
            if applies:
                yield judge()

    def _kind(self) -> CheckResult:
        wanted, found = self.rule.storage, self.facts.stored
        described = f"{self.rule.kind}" + (f", stored as {_STORED[wanted]}" if wanted else "")
        result = CheckResult(self.name, "kind", self.rule.severity, True, described, _STORED[found])
        if found == "empty" or wanted in {None, found}:
            return result
        misfits = _misfits(self.facts, str(wanted))
        count = len(misfits)
        observed = _STORED[found] + (f" (read as {self.kind})" if self.kind else "")
        if wanted == "number" and found == "text":
            observed += (
                f"; {say_failed(count, self.facts.present)} are no number"
                if count
                else "; every value reads as a number, but is stored as text"
            )
        failed = count or self.facts.present
        return replace(
            result,
            passed=False,
            observed=observed,
            failed_rows=failed,
            failed_share=failed / self.facts.present,
            sample=_sample(misfits if count else self.facts.values.dropna().head(5)),
        )

    def _nulls(self) -> CheckResult:
        rule = self.rule.nulls
        assert rule is not None  # noqa: S101 - the caller checked
        rows, nulls = len(self.facts.values), self.facts.nulls
        usual = rule.max if rule.usual is None else rule.usual
        verdict = self.verdicts.get("nulls")
        passed = nulls <= usual * rows + 1e-9 if verdict is None else verdict.success
        if self.by_chance:
            passed = not exceeds(nulls, rows, usual, by_chance=True)
        severity: Severity = rule.severity or self.rule.severity
        empty = rule.empty_from is not None and nulls == rows >= rule.empty_from
        if empty:
            passed = False
        elif not passed:
            severity = grade(nulls, rows, rule.max, severity, by_chance=self.by_chance)
        limit = rule.max if rule.max < 1.0 else usual
        return CheckResult(
            self.name, "nulls", severity, passed, self._expected_nulls(rule, nulls, rows),
            f"{say_failed(nulls, rows, limit)} missing" if nulls else "none missing",
            0 if passed else nulls, 0.0 if passed or not rows else nulls / rows,
        )  # fmt: skip

    @staticmethod
    def _expected_nulls(rule: NullRule, nulls: int, rows: int) -> str:
        share, limits = nulls / max(rows, 1), []
        if rule.max < 1.0 or rule.usual is None:
            limits.append(f"at most {say_share(rule.max, beside=share)} missing")
        if rule.usual is not None and rule.usual < rule.max:
            limits.append(f"usually at most {say_share(rule.usual, beside=share)} missing")
        if rule.empty_from is not None:
            limits.append(f"not all of {say_rows(rule.empty_from)} or more")
        return ", ".join(limits)

    def _scale(self) -> CheckResult:
        rule = self.rule.scale
        assert rule is not None  # noqa: S101 - the caller checked
        sizes = self.facts.sizes
        result = CheckResult(
            self.name, "scale", rule.severity or self.rule.severity, True,
            f"a median size of {say_number(rule.min)} to {say_number(rule.max)}",
            "no value other than 0", 0, 0.0,
        )  # fmt: skip
        if not sizes.size:
            return result
        middle = float(np.median(sizes))
        few = sizes.size < FEW_SIZES
        least = rule.min / FAR if few else rule.min
        most = rule.farthest if few else rule.max
        far = off_scale(self.facts, rule)
        failed = int(far.sum())
        observed = f"as before: {say_number(middle)}"
        passed = least <= middle <= most
        if not passed:
            failed = self.facts.present
            observed = f"a median size of {say_number(middle)}: another unit?"
        elif failed:
            # Where only a few rows are at fault, the median of all is as it was.
            beyond = np.abs(self.facts.values[far].to_numpy(np.float64))
            shown = say_number(float(np.median(beyond)))
            observed = f"{say_failed(failed, self.facts.present)} of another size, a median of "
            observed += shown
        return replace(
            result,
            passed=passed and not failed,
            observed=observed,
            failed_rows=failed,
            failed_share=failed / max(self.facts.present, 1),
            sample=_sample(self.facts.values[far]),
        )

    def _range(self) -> CheckResult:
        rule = self.rule.range
        assert rule is not None  # noqa: S101 - the caller checked
        expected = _say_range(rule.min, rule.max)
        if rule.max_share:
            expected += f", at most {say_share(rule.max_share)} of the rows with a value outside"
        ends = _say_ends(self.facts)
        return self._judged(
            "range",
            lambda: outside(self.facts, rule.min, rule.max),
            rule.max_share,
            rule.severity,
            expected,
            ends if self.facts.present else "none outside",
            f"outside; {ends}",
        )

    def _categories(self) -> CheckResult:
        rule = self.rule.categories
        assert rule is not None  # noqa: S101 - the caller checked
        listed = ", ".join(say_value(value) for value in rule.values[:6])
        more = f" and {len(rule.values) - 6:,} more" if len(rule.values) > 6 else ""
        expected = f"one of {listed}{more}"
        if rule.max_unseen:
            expected += f", at most {say_share(rule.max_unseen)} of the rows with an unseen value"
        return self._judged(
            "categories",
            lambda: unseen(self.facts, rule.values),
            rule.max_unseen,
            rule.severity,
            expected,
            "no unseen value",
            "with an unseen value",
        )

    def _unique(self) -> CheckResult:
        return self._judged(
            "unique",
            lambda: repeated(pd.DataFrame({"value": self.facts.values}), ["value"]),
            0.0,
            None,
            "no value twice",
            "no value twice",
            "share their value with another row",
        )

    def _varies(self) -> CheckResult:
        constant = self.facts.constant and self.facts.present >= MIN_VARYING
        observed = "values differ"
        if constant:
            value = say_value(self.facts.values.dropna().iloc[0])
            observed = f"one value in all {say_rows(self.facts.present)}: {value}"
        return CheckResult(
            self.name, "varies", "warning", not constant, "values differ", observed,
            self.facts.present if constant else 0, 1.0 if constant else 0.0,
        )  # fmt: skip

    def _judged(
        self,
        rule: str,
        broken: Callable[[], Mask],
        limit: float,
        own: Severity | None,
        expected: str,
        passing: str,
        failing: str,
    ) -> CheckResult:
        severity = own or self.rule.severity
        verdict = self.verdicts.get(rule)
        result = CheckResult(self.name, rule, severity, True, expected, passing, 0, 0.0)
        if self.facts.stored == "empty":
            return replace(result, observed="no value to judge")
        if verdict is not None and verdict.success:
            return result
        mask = broken()
        failed = int(mask.sum())
        if not failed:
            problem = verdict.problem if verdict is not None else ""
            observed = f"could not be evaluated: {problem}" if problem else passing
            return replace(result, passed=verdict is None, observed=observed)
        return replace(
            result,
            passed=False,
            severity=grade(failed, self.facts.present, limit, severity, by_chance=self.by_chance),
            observed=f"{say_failed(failed, self.facts.present, limit)} {failing}",
            failed_rows=failed,
            failed_share=failed / self.facts.present,
            sample=_sample(self.facts.values[mask]),
        )


def _sample(values: pd.Series[Any]) -> tuple[str, ...]:
    return sample_of(values.drop_duplicates().head(20))


def missing_column(name: str, rule: ColumnRule, strangers: Sequence[str]) -> CheckResult:
    """Return the result for a missing column; `strangers` are columns without a rule."""
    folded = {stranger.strip().casefold(): stranger for stranger in strangers}
    near = folded.get(name.strip().casefold())
    if near is None:
        near = next(iter(difflib.get_close_matches(name, strangers, n=1)), None)
    observed = "it is absent"
    if near is not None:
        observed += f"; {shorten(repr(near), 60)} is new: was it renamed?"
    return CheckResult(name, "present", rule.severity, False, "the column is there", observed)


def _misfits(facts: ColumnFacts, wanted: str) -> pd.Series[Any]:
    """Return the values that are not what was wanted; texts that read as numbers are no misfit."""
    values = facts.values[facts.values.notna()]
    if wanted == "number" and facts.stored == "text":
        return values[pd.to_numeric(values, errors="coerce").isna()]
    if facts.stored != "mixed":
        return values
    fits: dict[str, tuple[type, ...]] = {
        "number": (int, float, np.number),
        "text": (str,),
        "boolean": (bool, np.bool_),
        "time": (pd.Timestamp, np.datetime64),
    }
    accepted = fits[wanted]
    odd = [
        not isinstance(value, accepted) or (wanted == "number" and isinstance(value, bool))
        for value in values
    ]
    return values[np.array(odd, dtype=bool)]


def _say_ends(facts: ColumnFacts) -> str:
    if facts.constant:
        return f"all {say_value(facts.low)}"
    return f"{say_value(facts.low)} to {say_value(facts.high)}"


def _say_range(low: Any, high: Any) -> str:
    say = say_number if isinstance(low if low is not None else high, int | float) else say_value
    if low is None:
        return f"at most {say(high)}"
    if high is None:
        return f"at least {say(low)}"
    return f"{say(low)} to {say(high)}"

"""The contract as a suite of Great Expectations; the only module that imports it.

Every rule becomes the cheapest expectation that decides it: a range is checked on the column's
ends, because GX compares value by value in Python. Counting what failed is left to the caller, for
the few rules that did.
"""

from __future__ import annotations

import difflib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expectations.contract import ColumnRule, Contract
from expectations.custom_rules import Rule, RuleError
from expectations.engine.lazy_imports import only_when_used, uncollected, without
from expectations.engine.libraries import pd
from expectations.facts.column_facts import ColumnFacts, bound_of, codes_of
from expectations.text.phrases import MAX_SAMPLE, sample_of, say_value

_ROUNDING = 1e-9
# Half of the cost of importing Great Expectations: charts, two rare tests, stores, databases.
_RARELY_USED = ("altair", "scipy.stats")
_NOT_USED = (
    "boto3", "botocore", "google.api_core", "google.auth", "google.cloud", "google.oauth2",
    "sqlalchemy",
)  # fmt: skip


@dataclass(frozen=True)
class RawResult:
    """Great Expectations' result of one rule."""

    column: str | None  # None for a rule of the table and of ``rules``
    rule: str  # name; of ``rules`` ``#`` and its position
    success: bool
    problem: str = ""  # why it could not be evaluated
    observed: str = ""
    failed_rows: int = 0
    sample: tuple[str, ...] = ()


def warm_up() -> None:
    """Import Great Expectations, which needs seconds, while nothing else is imported."""
    _great_expectations()


def run_suite(
    frame: pd.DataFrame, contract: Contract, facts: Mapping[str, ColumnFacts]
) -> list[RawResult]:
    """Check `frame` and return one result for every rule that applies to its `facts`."""
    # A column that is absent, empty, or of another type is checked for what does apply. Raises
    # RuleError when ``rules`` names an expectation or an argument that does not exist.
    gx = _great_expectations()
    native = [*_native(gx, contract, facts)]
    written = {
        index: _written(index, rule)
        for index, rule in enumerate(contract.rules)
        if rule.sql is None
    }
    if not native and not written:
        return []
    plain = pd.DataFrame({name: one.values for name, one in facts.items()}, index=frame.index)
    context = _context(gx)
    compared = plain.assign(
        **{name: codes_of(plain[name]) for name in _only_compared(plain, contract)}
    )
    results = _merged(_validate(gx, context, "columns", compared, native, "BOOLEAN_ONLY"))
    del compared
    absent = {index: _absent(frame, contract.rules[index]) for index in written}
    applicable = [expectation for index, expectation in written.items() if not absent[index]]
    whole = frame.assign(**{str(name): plain[name] for name in plain}) if applicable else frame
    detail = {"result_format": "BASIC", "partial_unexpected_count": MAX_SAMPLE}
    results += _validate(gx, context, "rules", whole, applicable, detail)
    results += [
        RawResult(None, f"#{index}", False, problem) for index, problem in absent.items() if problem
    ]
    return results


def broken_positions(frame: pd.DataFrame, rule: Rule) -> NDArray[np.bool_] | None:
    """Return which rows of `frame` break a written expectation; None where it is on no rows."""
    gx = _great_expectations()
    positioned = frame.reset_index(drop=True)
    source = _context(gx).data_sources.add_or_update_pandas("faults")
    whole = source.add_dataframe_asset("faults").add_batch_definition_whole_dataframe("faults")
    with _without_fingerprint():
        batch = whole.get_batch(batch_parameters={"dataframe": positioned})
        result = batch.validate(_written(0, rule), result_format="COMPLETE")
    positions = (result.result or {}).get("unexpected_index_list")
    if not positions:
        return None
    mask = np.zeros(len(frame), dtype=bool)
    mask[np.asarray(positions, dtype=np.int64)] = True
    return mask


def _only_compared(plain: pd.DataFrame, contract: Contract) -> Iterator[str]:
    """Yield the columns of text that are only compared for uniqueness."""
    for name, rule in contract.columns.items():
        compared = rule.unique and rule.categories is None and name in plain
        if compared and isinstance(plain[name].dtype, pd.StringDtype):
            yield name


def _great_expectations() -> Any:
    if "great_expectations" not in sys.modules:
        os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
        shown = warnings.showwarning
        with (
            uncollected(),
            warnings.catch_warnings(),
            only_when_used(*_RARELY_USED),
            without(*_NOT_USED),
        ):
            warnings.simplefilter("ignore")
            import great_expectations.expectations  # defers great-expectations

            if warnings.showwarning is not shown:
                # GX sends every warning of the process to the log; that is not its decision.
                logging.captureWarnings(False)
    import great_expectations  # defers great-expectations

    return great_expectations


def _context(gx: Any) -> Any:
    from great_expectations.data_context.types import base  # defers great-expectations

    # In memory and without its site of documents, for which GX makes a folder.
    config = base.DataContextConfig(
        store_backend_defaults=base.InMemoryStoreBackendDefaults(),
        progress_bars=base.ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _validate(
    gx: Any,
    context: Any,
    name: str,
    frame: pd.DataFrame,
    expectations: list[Any],
    result_format: str | dict[str, Any],
) -> list[RawResult]:
    if not expectations:
        return []
    source = context.data_sources.add_or_update_pandas(name)
    try:
        whole = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        with _without_fingerprint():
            batch = whole.get_batch(batch_parameters={"dataframe": frame})
            suite = gx.ExpectationSuite(name=name, expectations=expectations)
            validation = batch.validate(suite, result_format=result_format)
        return [_raw(result) for result in validation.results]
    finally:
        # GX keeps its last context, and with it the frame, until the process ends.
        context.data_sources.delete(name)


@contextmanager
def _without_fingerprint() -> Iterator[None]:
    """Keep GX from hashing every cell of the table for a marker that nothing reads."""
    # On 3.3 million ids that hash costs 10 of 11 seconds and four times the table's memory.
    from great_expectations.execution_engine import (
        pandas_execution_engine as engine,
    )  # defers great-expectations

    known = getattr(engine, "hash_pandas_dataframe", None)
    if known is None:
        yield
        return
    engine.hash_pandas_dataframe = lambda _: "not computed"
    try:
        yield
    finally:
        engine.hash_pandas_dataframe = known


def _raw(result: Any) -> RawResult:
    meta = result.expectation_config.meta["keepfit"]
    found = result.result or {}
    observed = found.get("observed_value")
    return RawResult(
        column=meta["column"],
        rule=meta["rule"],
        success=bool(result.success),
        problem=_problem(result.exception_info),
        observed="" if observed is None else say_value(observed),
        failed_rows=int(found.get("unexpected_count") or 0),
        sample=sample_of(_flat(value) for value in found.get("partial_unexpected_list") or ()),
    )


def _flat(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return ", ".join(_text(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{say_value(key)} = {_text(one)}" for key, one in value.items())
    return value


def _text(value: Any) -> str:
    return "missing" if value is None or value != value else say_value(value)


def _problem(info: Mapping[str, Any] | None) -> str:
    if not info:
        return ""
    parts = [info] if "raised_exception" in info else list(info.values())
    for part in parts:
        if isinstance(part, Mapping) and part.get("raised_exception"):
            lines = str(part.get("exception_message") or "it failed").strip().splitlines()
            return lines[0][:300] if lines else "it failed"
    return ""


def _merged(results: list[RawResult]) -> list[RawResult]:
    """Join the two expectations of a range into one result."""
    merged: dict[tuple[str | None, str], RawResult] = {}
    for result in results:
        key = (result.column, result.rule)
        earlier = merged.get(key)
        if earlier is None or (earlier.success and not result.success):
            merged[key] = result
    return list(merged.values())


def _native(gx: Any, contract: Contract, facts: Mapping[str, ColumnFacts]) -> Iterator[Any]:
    table = contract.table
    if table.rows is not None:
        yield gx.expectations.ExpectTableRowCountToBeBetween(
            min_value=table.rows.min, max_value=table.rows.max, **_meta(None, "rows")
        )
    for columns in table.unique:
        if all(column in facts for column in columns):
            yield _together_unique(gx, columns)
    for name, rule in contract.columns.items():
        if name and name in facts:
            yield from _of_column(gx, name, rule, facts[name])


def _together_unique(gx: Any, columns: tuple[str, ...]) -> Any:
    meta = _meta(None, unique_rule(columns))
    if len(columns) == 1:
        return gx.expectations.ExpectColumnValuesToBeUnique(column=columns[0], **meta)
    return gx.expectations.ExpectCompoundColumnsToBeUnique(column_list=list(columns), **meta)


def unique_rule(columns: tuple[str, ...]) -> str:
    """Return the name of the rule that `columns` together are unique."""
    return "unique " + " + ".join(columns)


def _of_column(gx: Any, name: str, rule: ColumnRule, facts: ColumnFacts) -> Iterator[Any]:
    make = gx.expectations
    if rule.nulls is not None:
        limit = rule.nulls.max if rule.nulls.usual is None else rule.nulls.usual
        share = max(0.0, 1 - limit - _ROUNDING)
        meta = _meta(name, "nulls")
        yield make.ExpectColumnValuesToNotBeNull(column=name, mostly=share, **meta)
    if facts.stored == "empty" or rule.storage not in {None, facts.stored}:
        return
    if rule.range is not None:
        meta = _meta(name, "range")
        if rule.range.min is not None:
            low = bound_of(rule.range.min)
            yield make.ExpectColumnMinToBeBetween(column=name, min_value=low, **meta)
        if rule.range.max is not None:
            high = bound_of(rule.range.max)
            yield make.ExpectColumnMaxToBeBetween(column=name, max_value=high, **meta)
    if rule.categories is not None:
        known, meta = list(rule.categories.values), _meta(name, "categories")
        yield make.ExpectColumnValuesToBeInSet(column=name, value_set=known, **meta)
    if rule.unique:
        yield make.ExpectColumnValuesToBeUnique(column=name, **_meta(name, "unique"))


def _meta(column: str | None, rule: str) -> dict[str, Any]:
    return {"meta": {"keepfit": {"column": column, "rule": rule}}}


def _written(index: int, rule: Rule) -> Any:
    from great_expectations.expectations.registry import (  # defers great-expectations
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    names = list_registered_expectation_implementations()
    if rule.expect not in names:
        near = difflib.get_close_matches(str(rule.expect), names, n=1)
        hint = f" The nearest is {near[0]}." if near else ""
        raise RuleError(
            ("rules", index, "expect"), f"there is no expectation {rule.expect!r}.{hint}"
        )
    implementation = get_expectation_impl(str(rule.expect))
    try:
        return implementation(**rule.arguments, **_meta(None, f"#{index}"))
    except (TypeError, ValueError) as error:
        raise _argument_error(index, rule, implementation, error) from None


def _argument_error(index: int, rule: Rule, implementation: Any, error: Exception) -> RuleError:
    listed = getattr(error, "errors", None)
    first = listed()[0] if callable(listed) else {"loc": (), "msg": str(error)}
    argument = str(first["loc"][0]) if first["loc"] else ""
    message = f"{rule.expect}: {argument or 'arguments'}: {first['msg']}"
    if first.get("type") == "value_error.extra":
        near = difflib.get_close_matches(argument, list(implementation.__fields__), n=1)
        message = f"{rule.expect} has no argument {argument!r}." + (
            f" The nearest is {near[0]!r}." if near else ""
        )
    loc = ("rules", index, argument) if argument in rule.arguments else ("rules", index)
    return RuleError(loc, message)


def _absent(frame: pd.DataFrame, rule: Rule) -> str:
    columns = [str(name) for name in frame.columns]
    for name in rule.columns:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1)
            hint = f"; the nearest is {say_value(near[0])}" if near else ""
            return f"the table has no column {say_value(name)}{hint}"
    return ""

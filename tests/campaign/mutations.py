"""Every column of five tables broken in every way that sources break: what is caught, and where.

Rows are drawn at random, so that a clean batch is clean: any stop or alarm on one is false. A
contract is inferred from the history, and the broken batch goes the way of production: read as
rows to score are read, checked by what checks them, and compared with the history.

KEEPFIT_TABLES names the folder of the tables; without it made ones stand in.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.base.errors import KeepfitError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.training_records import Schema
from tasks.contracts.checker_process import answer
from tasks.contracts.contract_files import known_contract
from tasks.data.column_kinds import build_schema
from tasks.data.snapshots import read_frame
from tasks.monitoring.drift.detector import measure
from tasks.monitoring.drift.reference_summary import Reference, build_reference
from tasks.training.row_windows import scoring_snapshot, training_snapshot, with_overrides
from tests.campaign.scenes import say
from tests.campaign.table import Options, Row, render

_HISTORY, _BATCH, _CLEAN = 4_000, 1_000, 20
_LEVEL = 0.05
"""Share of ordinary windows that may raise an alarm, as pipeline files have it."""
STOPPED, NAMED, PASSED = "stopped", "named", "passed"


@dataclass(frozen=True)
class Known:
    """A table, its target, and columns that nothing may learn from."""

    name: str
    target: str
    without: tuple[str, ...] = ()


TABLES = (
    Known("adult", "income"),
    Known("bank_marketing", "y", ("duration", "seq", "contact_month")),
    Known("electricity", "price_up", ("nswprice", "timestamp")),
    Known("bike_hourly", "cnt", ("casual", "registered", "instant", "dteday", "timestamp")),
    Known("telco_churn", "Churn", ("customerID",)),
)


@dataclass(frozen=True)
class Mutation:
    """One way to break a column.

    Parameters
    ----------
    breaks
        Returns the broken batch; None where the column can't be broken so, or would stay as it is.
    must
        Outcomes of which one is required; empty where none is, since it may not show.
    """

    name: str
    breaks: Callable[[pd.DataFrame, str, np.random.Generator], pd.DataFrame | None]
    must: tuple[str, ...] = (STOPPED, NAMED)


def _put(
    values: Callable[[pd.Series[Any], np.random.Generator], Any], share: float = 1.0
) -> Callable[..., pd.DataFrame | None]:
    """Return what replaces a share of a column; nothing is broken where hardly a value changes."""

    def broken(rows: pd.DataFrame, name: str, rng: np.random.Generator) -> pd.DataFrame | None:
        column = rows[name]
        new = values(column, rng)
        if new is None:
            return None
        chosen = pd.Series(rng.random(len(rows)) < share, index=rows.index)
        put = column.astype(object).where(~chosen, new)
        same = (put == column) | (put.isna() & column.isna())
        if same.mean() > 1 - share / 2:
            return None
        kept = pd.to_numeric(put) if _numbers(column) and not _texts(put) else put
        return rows.assign(**{name: kept})

    return broken


def _numbers(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _texts(column: pd.Series[Any]) -> bool:
    return any(isinstance(value, str) for value in column)


def _retyped(column: pd.Series[Any], _rng: np.random.Generator) -> Any:
    if _numbers(column) or pd.to_numeric(column, errors="coerce").notna().mean() > 0.5:
        return "about " + column.astype(str)
    codes, _ = pd.factorize(column)
    return pd.Series(codes + 0.5, index=column.index)


def _scaled(by: float) -> Callable[..., Any]:
    return lambda column, _: column.astype("float64") * by if _numbers(column) else None


MUTATIONS = (
    Mutation("missing", lambda rows, name, _: rows.drop(columns=name), (STOPPED,)),
    Mutation("renamed", lambda rows, name, _: rows.rename(columns={name: f"{name}_v2"}),
             (STOPPED,)),
    Mutation("retyped", _put(_retyped), (STOPPED,)),
    Mutation("all null", _put(lambda column, _: np.full(len(column), None))),
    Mutation("30 % null", _put(lambda column, _: np.full(len(column), None), 0.3)),
    Mutation("constant", _put(lambda column, _: _most(column))),
    Mutation("20 % are -1", _put(lambda c, _: -1 if _numbers(c) else None, 0.2)),
    Mutation("× 1000", _put(_scaled(1000))),
    Mutation("× 2.54", _put(_scaled(2.54))),
    Mutation("half a new level", _put(lambda c, _: None if _numbers(c) else "no such level", 0.5)),
    # The same values in other rows: nothing that looks at columns one by one can see it.
    Mutation("shuffled", lambda rows, name, rng: rows.assign(
        **{name: rng.permutation(rows[name].to_numpy())}), ()),
)  # fmt: skip
HARMLESS = (
    Mutation("added", lambda rows, name, _: rows.assign(**{f"{name}_v2": rows[name]}), (PASSED,)),
    Mutation("reordered", lambda rows, name, _: rows[[c for c in rows if c != name] + [name]],
             (PASSED,)),
)  # fmt: skip


def _most(column: pd.Series[Any]) -> Any:
    """Return the most frequent value, unless the column hardly holds another."""
    shares = column.value_counts(normalize=True)
    return shares.index[0] if len(shares) and shares.iloc[0] < 0.8 else None


@dataclass
class Counts:
    """What became of the batches that were broken in one way."""

    trials: int = 0
    stopped: int = 0
    named: int = 0
    seconds: float = 0.0
    silent: list[str] = field(default_factory=list)


class Production:
    """What stands between a batch and the model of one table."""

    def __init__(self, known: Known, frame: pd.DataFrame, folder: Path) -> None:
        history = frame.iloc[:_HISTORY]
        self.later = frame.iloc[_HISTORY:].drop(columns=known.target)
        self.pipeline = _pipeline(known, history, folder)
        snapshot = training_snapshot(self.pipeline)
        self.roles: Schema = build_schema(snapshot, self.pipeline.config)
        contract = known_contract(self.pipeline)
        assert contract is not None
        self.contract = contract.feature_part([*self.roles.features, *self.roles.id_columns])
        self.reference: Reference = build_reference(
            read_frame(snapshot.path), self.roles.features, None, timedelta(days=7)
        )
        self.features = list(self.roles.features)

    def batch(self, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows that the history does not hold."""
        size = min(_BATCH, len(self.later))
        return self.later.iloc[np.sort(rng.choice(len(self.later), size, replace=False))]

    def outcome(self, rows: pd.DataFrame, name: str | None) -> str:
        """Return what becomes of a batch; `name` is the column that has to be named."""
        file = self.pipeline.base / "batch.parquet"
        rows.to_parquet(file, index=False)
        try:
            snapshot = scoring_snapshot(with_overrides(self.pipeline, str(file), None))
        except KeepfitError as error:
            return STOPPED if name is None or name in str(error) else f"told without it: {error}"
        checked = answer(
            {
                "snapshot": snapshot.path, "rows": snapshot.rows,
                "contract": self.contract.to_dict(), "kinds": dict(snapshot.kinds), "aside": [],
                "page": str(file.with_name("page.html")), "title": "",
                "faults": str(file.with_name("faults.npy")),
            }
        )  # fmt: skip
        frame = read_frame(snapshot.path)
        Path(snapshot.path).unlink()
        broken = {r["column"] for r in checked["rules"] if not r["passed"]}
        stops = checked["whole"] or checked["aside"] > len(rows) / 100
        if stops:
            return STOPPED if name is None or name in broken else f"stopped for {broken}"
        if name is not None and name in broken:
            return NAMED
        drift = measure(self.reference, frame, false_alarms=_LEVEL, min_rows=50)
        drifted = {column.column for column in drift.drifted}
        if name is None:
            return NAMED if drift.alarm else PASSED
        return NAMED if name in drifted else PASSED


def _pipeline(known: Known, history: pd.DataFrame, folder: Path) -> Pipeline:
    history.to_parquet(folder / "history.parquet", index=False)
    without = [name for name in known.without if name in history]
    file = folder / "keepfit.yaml"
    file.write_text(
        f"name: t\ntarget: {known.target!r}\nsource: {{kind: parquet, path: history.parquet}}\n"
        f"exclude: {without}\nstate: state\n"
    )
    return load_pipeline(file, {})


def tables(share: bool) -> Iterator[tuple[Known, pd.DataFrame]]:
    """Return the real tables, each in random order; made ones where there are none."""
    folder = os.environ.get("KEEPFIT_TABLES")
    if share or not folder:
        for number in range(1 if share else 5):
            known = Known(f"made {number}", "y")
            table = made(np.random.default_rng(number))
            yield known, table[["amount", "plan", "y"]] if share else table
        return
    for known in TABLES:
        frame = pd.read_parquet(Path(folder) / f"{known.name}.parquet")
        rows = frame.sample(min(len(frame), 20_000), random_state=0).reset_index(drop=True)
        yield known, rows.drop(columns=[c for c in known.without if c in rows])


def made(rng: np.random.Generator, rows: int = 8_000) -> pd.DataFrame:
    """Return a table of the kinds of columns that tables have."""
    level = rng.normal(size=rows)
    return pd.DataFrame(
        {
            "amount": np.exp(3 + level).round(2),
            "age": rng.integers(18, 90, rows),
            "share": rng.beta(2, 5, rows),
            "visits": rng.poisson(3, rows),
            "flag": rng.integers(0, 2, rows),
            "plan": rng.choice(["basic", "plus", "pro"], rows, p=[0.6, 0.3, 0.1]),
            "city": rng.choice([f"city {i}" for i in range(20)], rows),
            "sparse": np.where(rng.random(rows) < 0.4, np.nan, level),
            "y": rng.random(rows) < 1 / (1 + np.exp(-level)),
        }
    )


def run(options: Options) -> list[Row]:
    """Break every column of every table in every way."""
    counts = {mutation.name: Counts() for mutation in (*MUTATIONS, *HARMLESS)}
    clean, alarms = 0, []
    for known, frame in tables(options.share):
        folder = options.folder / known.name.replace(" ", "-")
        folder.mkdir()
        production = Production(known, frame, folder)
        rng = np.random.default_rng(options.seed)
        for number in range(1 if options.share else _CLEAN):
            clean += 1
            if (found := production.outcome(production.batch(rng), None)) != PASSED:
                alarms.append(f"{known.name} {number}: {found}")
        for name in production.features:
            batch = production.batch(rng)
            for mutation in options.of((*MUTATIONS, *HARMLESS)):
                _try(production, mutation, known.name, name, batch, rng, counts[mutation.name])
        say(render([_row(m, counts[m.name]) for m in options.of((*MUTATIONS, *HARMLESS))]))
        say(f"{known.name}: {len(production.features)} columns, {len(alarms)} false alarms")
    rows = [_row(mutation, counts[mutation.name]) for mutation in options.of(MUTATIONS)]
    rows += [_row(mutation, counts[mutation.name]) for mutation in options.of(HARMLESS)]
    figure = f"{len(alarms)} of {clean} stopped or alarmed ({len(alarms) / clean:.1%})"
    # The stated level with chance on top of it: 3 standard deviations of a binomial.
    most = _LEVEL + 3 * (_LEVEL * (1 - _LEVEL) / clean) ** 0.5
    return [*rows, Row("mutations", "clean batches", clean,
                       alarms if len(alarms) / clean > most else [], figure)]  # fmt: skip


def _try(
    production: Production,
    mutation: Mutation,
    table: str,
    name: str,
    batch: pd.DataFrame,
    rng: np.random.Generator,
    counts: Counts,
) -> None:
    broken = mutation.breaks(batch, name, rng)
    if broken is None:
        return
    began = time.monotonic()
    outcome = production.outcome(broken, name)
    counts.seconds += time.monotonic() - began
    counts.trials += 1
    counts.stopped += outcome == STOPPED
    counts.named += outcome == NAMED
    if mutation.must and outcome not in mutation.must:
        nulls = batch[name].isna().mean()
        counts.silent.append(
            f"{table}.{name} ({batch[name].nunique()} values, {nulls:.0%} null): {outcome}"
        )


def _row(mutation: Mutation, counts: Counts) -> Row:
    caught = counts.stopped + counts.named
    figure = f"contract {counts.stopped}, named {counts.named}"
    figure += (
        f", recall {caught / counts.trials:.0%}"
        if counts.trials and STOPPED in mutation.must
        else ""
    )
    return Row("mutations", mutation.name, counts.trials, counts.silent, figure, counts.seconds)

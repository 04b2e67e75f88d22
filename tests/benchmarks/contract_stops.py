"""What inferred contracts stop: untouched history never, gross faults always.

Each table is cut in time: its contract is inferred from the first part, and the rest arrives in
hourly, daily, weekly and monthly deliveries, as it is and with a fault injected. Every delivery is
written as a file, read as rows to score are read, and checked by what checks it in production.

The weather of the flights ends a day before they do: its columns are empty on that day, which is
the very fault that must be caught, so it is not among the untouched history.

The tables are Parquet and CSV files in the folder that KEEPFIT_TABLES names; the demo ``flights``
needs none:

    KEEPFIT_TABLES=… python -m tests.benchmarks.contract_stops [--tables flights,noaa_weather]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table as Grid

from expectations.contract import Contract
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.training_records import Schema
from tasks.contracts.checker_process import answer
from tasks.contracts.contract_files import known_contract
from tasks.data.column_kinds import build_schema
from tasks.training.row_windows import scoring_snapshot, training_snapshot, with_overrides

CADENCES = {"hourly": "1h", "daily": "1D", "weekly": "7D", "monthly": "30D"}
# A new category in a few rows is no recoding: a quarter of the rows may be new, by chance more.
RECODED_FROM = 7
FAULTS = ("absent", "renamed", "all null", "x1000", "recoded")


@dataclass(frozen=True)
class Known:
    """A table in time, and how it is used; `fitted` ones were looked at when limits were chosen."""

    name: str
    target: str
    time: str
    without: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    trained: float = 0.4
    cadences: tuple[str, ...] = tuple(CADENCES)
    fitted: bool = False
    until: str = "2100-01-01"


TABLES = (
    Known("demo flights", "arr_late", "time_hour",
          ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"), ("flight_id",),
          fitted=True, until="2013-12-31"),
    Known("electricity", "price_up", "timestamp", ("nswprice",), fitted=True),
    Known("bike_hourly", "cnt", "timestamp", ("casual", "registered", "instant", "dteday"),
          fitted=True),
    Known("air_quality_uci", "NO2(GT)", "when",
          ("Date", "Time", "CO(GT)", "NMHC(GT)", "C6H6(GT)", "NOx(GT)"), fitted=True),
    Known("flights", "arr_late", "time_hour",
          ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "year"),
          until="2013-12-31"),
    Known("bank_marketing", "y", "contact_month", ("duration", "seq"), cadences=("monthly",),
          fitted=True),
    Known("noaa_weather", "rain", "when", ("seq",), fitted=True),
    Known("seoul_bike_latin1", "Rented Bike Count", "when", ("Date",), fitted=True),
    Known("occupancy", "occupancy", "timestamp", ("part",)),
    Known("employment_ma", "employed", "when",
          ("prediction", "predicted_probability", "year"), ("id",), trained=0.25,
          cadences=("monthly",)),
)  # fmt: skip


@dataclass
class Counts:
    """Deliveries of one cadence: how many there were, and what became of them."""

    deliveries: int = 0
    stopped: int = 0
    aside: int = 0
    rows: list[int] = field(default_factory=list)
    faults: int = 0
    caught: int = 0
    missed: list[str] = field(default_factory=list)


def main() -> None:
    """Print a line a table and cadence."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", default="")
    parser.add_argument("--most", type=int, default=60, help="deliveries of a cadence")
    parser.add_argument("--faulty", type=int, default=4, help="deliveries with faults")
    parser.add_argument("--misses", action="store_true", help="name every fault that passed")
    arguments = parser.parse_args()
    chosen = [t for t in arguments.tables.split(",") if t]
    grid = Grid("table", "chosen on", "every", "rows", "deliveries", "stopped", "rows aside",
                "faults", "caught")  # fmt: skip
    misses: list[str] = []
    for known in TABLES:
        if chosen and known.name not in chosen:
            continue
        with tempfile.TemporaryDirectory(prefix="keepfit-stops-") as folder:
            for every, counts in _tried(known, Path(folder), arguments).items():
                grid.add_row(
                    known.name, "yes" if known.fitted else "no", every,
                    f"{int(np.median(counts.rows or [0])):,}", str(counts.deliveries),
                    str(counts.stopped), str(counts.aside), str(counts.faults),
                    str(counts.caught),
                )  # fmt: skip
                misses += counts.missed
                line = f"{known.name} {every}: {counts.deliveries} deliveries, "
                line += f"{counts.stopped} stopped, {counts.aside} rows aside, "
                line += f"{counts.caught} of {counts.faults} faults caught"
                print(line, flush=True)
    Console(width=120).print(grid)
    if arguments.misses:
        print("\n".join(misses))


def _tried(known: Known, folder: Path, arguments: argparse.Namespace) -> dict[str, Counts]:
    frame = _frame(known).sort_values(known.time, kind="stable").reset_index(drop=True)
    cut = frame[known.time].iloc[int(len(frame) * known.trained)]
    end = pd.Timestamp(known.until, tz=frame[known.time].dt.tz)
    history = frame[frame[known.time] < cut]
    later = frame[(frame[known.time] >= cut) & (frame[known.time] < end)]
    pipeline = _pipeline(known, history, folder)
    snapshot = training_snapshot(pipeline)
    roles = build_schema(snapshot, pipeline.config)
    contract = known_contract(pipeline)
    assert contract is not None
    part = contract.feature_part(
        [*roles.features, *roles.id_columns, *([roles.time_column] if roles.time_column else [])]
    )
    found = {}
    for every in known.cadences:
        found[every] = _delivered(known, every, later, pipeline, part, roles, arguments)
    return found


def _delivered(
    known: Known,
    every: str,
    later: pd.DataFrame,
    pipeline: Pipeline,
    contract: Contract,
    roles: Schema,
    arguments: argparse.Namespace,
) -> Counts:
    counts = Counts()
    places = (later[known.time] - later[known.time].iloc[0]) // pd.Timedelta(CADENCES[every])
    groups = [group for _, group in later.groupby(places)]
    for group in _spread(groups, arguments.most):
        whole, aside, causes = _checked(group, pipeline, contract)
        counts.deliveries += 1
        counts.rows.append(len(group))
        counts.stopped += whole
        counts.aside += aside
        if aside:
            counts.missed.append(f"{known.name} {every}: {aside} of {len(group)} aside: {causes}")
    columns = _columns(roles, contract)
    for group in _spread(groups, arguments.faulty):
        for fault in FAULTS:
            for name in columns[fault]:
                if len(group) < _least(contract, name, fault):
                    continue
                broken = _with_fault(group, name, fault)
                if broken is None:
                    continue
                counts.faults += 1
                _, aside, _ = _checked(broken, pipeline, contract)
                counts.caught += bool(aside)
                if not aside:
                    counts.missed.append(
                        f"{known.name} {every}: {fault} {name} in {len(group)} rows passed"
                    )
    return counts


def _spread(groups: list[Any], most: int) -> list[Any]:
    if len(groups) <= most:
        return groups
    return [groups[i] for i in np.linspace(0, len(groups) - 1, most).astype(int)]


def _columns(roles: Schema, contract: Contract, most: int = 3) -> dict[str, list[str]]:
    """Return fault to the columns that it is tried on."""
    features = [name for name in roles.features if name != roles.time_column]
    rules = contract.columns

    def some(names: list[str]) -> list[str]:
        return _spread(names, most)

    return {
        "absent": some(features),
        "renamed": some(features),
        # Where values hardly ever are missing, and where codes do not change by themselves.
        "all null": some([n for n in features if (r := rules[n].nulls) and r.empty_from]),
        "x1000": some([n for n in features if rules[n].scale]),
        "recoded": some([
            n for n in features if (c := rules[n].categories) and c.max_unseen < 1.0
        ]),
    }  # fmt: skip


def _least(contract: Contract, name: str, fault: str) -> int:
    """Return from how many rows on a fault is told from what chance or the past may bring."""
    rule = contract.columns[name].nulls
    if fault == "all null" and rule is not None:
        return rule.empty_from or 0
    return RECODED_FROM if fault == "recoded" else 0


def _with_fault(rows: pd.DataFrame, name: str, fault: str) -> pd.DataFrame | None:
    """Return `rows` with a fault; None where it would change nothing."""
    column = rows[name]
    changed: dict[str, Callable[[], pd.DataFrame]] = {
        "absent": lambda: rows.drop(columns=name),
        "renamed": lambda: rows.rename(columns={name: f"{name}_new"}),
        "all null": lambda: rows.assign(**{name: column.mask(column.notna())}),
        "x1000": lambda: rows.assign(**{name: column * 1000.0}),
        "recoded": lambda: rows.assign(**{name: "code " + column.astype("str").where(
            column.notna())}),
    }  # fmt: skip
    if fault == "x1000" and not (column.fillna(0) != 0).any():
        return None
    if fault in {"all null", "recoded"} and not column.notna().any():
        return None
    return changed[fault]()


def _checked(
    rows: pd.DataFrame, pipeline: Pipeline, contract: Contract
) -> tuple[bool, int, list[str]]:
    """Return whether a delivery is stopped whole, how many rows are set aside, and for what."""
    file = pipeline.base / "delivery.parquet"
    rows.to_parquet(file, index=False)
    snapshot = scoring_snapshot(with_overrides(pipeline, str(file), None))
    outcome = answer(
        {
            "snapshot": snapshot.path,
            "rows": snapshot.rows,
            "contract": contract.to_dict(),
            "kinds": dict(snapshot.kinds),
            "aside": [],
            "page": str(pipeline.base / "page.html"),
            "title": "",
            "faults": str(pipeline.base / "faults.npy"),
        }
    )
    Path(snapshot.path).unlink()
    causes = [
        f"{r['column']}.{r['rule']}: {r['observed']}"
        for r in outcome["rules"]
        if not r["passed"] and r["severity"] == "error"
    ]
    return outcome["whole"], outcome["aside"], causes


def _pipeline(known: Known, history: pd.DataFrame, folder: Path) -> Pipeline:
    history.to_parquet(folder / "history.parquet", index=False)
    without = [name for name in known.without if name in history]
    file = folder / "keepfit.yaml"
    file.write_text(
        f"name: t\ntarget: {known.target!r}\ntime_column: {known.time}\n"
        f"source: {{kind: parquet, path: history.parquet}}\n"
        f"exclude: {without}\nid_columns: {list(known.ids)}\nstate: state\n"
    )
    return load_pipeline(file, {})


def _frame(known: Known) -> pd.DataFrame:
    if known.name == "demo flights":
        from tasks.base.settings.sources import DemoSource
        from tasks.data.sources.source import read_source

        demo = DemoSource(kind="demo", name="flights")
        return read_source(demo, Path.cwd()).table.to_pandas()
    folder = Path(os.environ["KEEPFIT_TABLES"])
    if (folder / f"{known.name}.parquet").exists():
        return _timed(known, pd.read_parquet(folder / f"{known.name}.parquet"))
    if known.name == "air_quality_uci":
        frame = pd.read_csv(folder / "air_quality_uci.csv", sep=";", decimal=",")
        frame = frame.loc[frame["Date"].notna(), [c for c in frame if "Unnamed" not in c]]
        when = frame["Date"] + " " + frame["Time"].str.replace(".", ":", regex=False)
        frame["when"] = pd.to_datetime(when, format="%d/%m/%Y %H:%M:%S")
        return frame.replace(-200, np.nan)
    frame = pd.read_csv(folder / "seoul_bike_latin1.csv", encoding="latin-1")
    when = pd.to_datetime(frame["Date"], format="%d/%m/%Y")
    return frame.assign(when=when + pd.to_timedelta(frame["Hour"], unit="h"))


def _timed(known: Known, frame: pd.DataFrame) -> pd.DataFrame:
    if known.name == "noaa_weather":
        return frame.assign(when=pd.Timestamp("1949-01-01") + pd.to_timedelta(frame["seq"], "D"))
    if known.name == "employment_ma":
        codes = frame.select_dtypes("category").columns
        frame = frame.astype(dict.fromkeys(codes, "str"))
        # A survey of each year, spread over its days.
        number, size = (
            frame.groupby("year").cumcount(),
            frame.groupby("year")["id"].transform("size"),
        )
        days = pd.to_timedelta(number * 365 // size, unit="D")
        return frame.assign(when=pd.to_datetime(frame["year"].astype("str")) + days)
    return frame


if __name__ == "__main__":
    main()
